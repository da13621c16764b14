"""PromQL about targets: which process answers behind each, step by step. A target is all its labels.

Each expression is written for one step of a subquery, whose steps are `step` long and lie on whole multiples
of it; it gives one value per target, without `provider`, `action`, `status` and `le`.
"""

from dataclasses import dataclass

from controller.contract import ACTION_ERROR_TOTAL, ACTION_EXEC_TOTAL, ACTION_LATENCY_SECONDS
from controller.rules.scale import Scale, duration
from controller.rules.scope import Scope

PER_TARGET = "without (provider, action, status)"
"""Leaves of a counter's labels those of its target, whatever labels targets have."""
TELLING = (ACTION_EXEC_TOTAL, ACTION_ERROR_TOTAL, f"{ACTION_LATENCY_SECONDS}_sum")
"""Counters of which any may be the one that tells two processes apart: they began at once and send alike."""
SAME_START_S = 0.001
"""Starts that differ by less are one: VictoriaMetrics keeps about 15 digits, so that a longer number comes
back changed in its last ones from one reading to the next, and a whole counter would be counted again."""
START_ROUNDED_S = 1
"""How much earlier than it did a process may say that it began: Linux keeps its own boot time in whole
seconds."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The senders of one scope on one scale."""

    scope: Scope
    scale: Scale

    @property
    def step(self) -> str:
        return duration(self.scale.step_s)

    @property
    def back(self) -> str:
        return duration(self.scale.look_back_s)

    @property
    def remembered(self) -> str:
        """How long several processes behind one target are remembered: ten windows."""
        return self.scale.range(300)

    @property
    def up(self) -> str:
        return f"up{self.scope.senders()}"

    @property
    def start(self) -> str:
        return f"process_start_time_seconds{self.scope.senders()}"

    def newest(self, metric: str, *matchers: str) -> str:
        """What the scrape of this step brought; of two scrapes the later one."""
        return f"last_over_time({metric}{self.scope.senders(*matchers)}[{self.step}])"

    def before(self, metric: str) -> str:
        """What was scraped last before this step."""
        return f"last_over_time({metric}{self.scope.senders()}[{self.back}] offset {self.step})"

    @property
    def known(self) -> str:
        """Targets that answered before this step."""
        return f"max_over_time({self.up}[{self.back}] offset {self.step}) == 1"

    @property
    def started(self) -> str:
        return self.newest("process_start_time_seconds")

    @property
    def _started_before(self) -> str:
        return self.before("process_start_time_seconds")

    @property
    def same(self) -> str:
        """Targets behind which the process of the scrape before answers; where none tells its start, any."""
        return f"""\
{self.known}
unless (
  {self.started}
  unless abs({self.started} - {self._started_before}) <= {SAME_START_S:g}
)"""

    @property
    def restarted(self) -> str:
        """The start of each process that is another one than at the scrape before."""
        return f"""\
{self.started}
and abs({self.started} - {self._started_before}) > {SAME_START_S:g}"""

    @property
    def young(self) -> str:
        """Processes that are not older than two steps."""
        return f"{self.started} > time() - {2 * self.scale.step_s:g}"

    @property
    def born(self) -> str:
        """The start of each process that did not yet run when its target was last scraped."""
        return f"""\
(
  {self.started}
  > max_over_time(timestamp({self.start})[{self.back}:{self.step}] offset {self.step}) - {START_ROUNDED_S}
  > {self._started_before}
  or {self.young} unless {self._started_before}
) <= time() + {START_ROUNDED_S}"""

    @property
    def _window_end(self) -> str:
        """The end of the window in every step of it: by then each scrape has been stored whole."""
        return f"@ end() offset {duration(self.scale.delay_s)}"

    @property
    def several(self) -> str:
        """Targets behind which several processes answered lately, as it is known at the end of the window.

        The start went back, or a counter fell more often than another process began: two may begin in the
        same hundredth of a second. What shows in its last step tells of its first one too.
        """
        went_back = f"{self.start} offset {self.step} - {self.start} > {SAME_START_S:g}"
        fell = "\n".join(f"or {self._fell(counter)}" for counter in TELLING)
        return f"max_over_time(({went_back})[{self.remembered}:{self.step}] {self._window_end})\n{fell}"

    def _fell(self, counter: str) -> str:
        lately = f"[{self.remembered}] {self._window_end}"
        return f"""\
max {PER_TARGET} (resets({counter}{self.scope.senders()}{lately}))
  > (changes({self.start}{lately}) or last_over_time({self.up}{lately}) * 0)"""
