"""Which windows come next: each stretch of time is judged once, however clocks and servers jump. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.contract import evidence_reach_s, evidence_step_ms
from controller.decision.model import State, Window

_WHOLE_SHARE = 0.9
"""Windows end at least so much of their length apart: an evaluation may come a little early."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """The scale on which the rules run, seconds."""

    window_s: float
    scrape_s: float

    reach_s: float = field(init=False)
    """How much older than its time the oldest send of a recorded window may be."""
    begun_s: float = field(init=False)
    """How much older than its time the beginning of a recorded window may be."""
    oldest_sample_s: float = field(init=False)
    """Two windows and a bit: one evaluation may come late, two may not."""
    oldest_input_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Reckon once what every feature of every tick asks for."""
        reach_s = evidence_reach_s(self.window_s, self.scrape_s)
        step_s = evidence_step_ms(self.window_s, self.scrape_s) / 1000
        object.__setattr__(self, "reach_s", reach_s)
        object.__setattr__(self, "begun_s", reach_s - step_s)
        object.__setattr__(self, "oldest_sample_s", max(2.5 * self.window_s, self.window_s + 3))
        object.__setattr__(self, "oldest_input_s", max(3 * self.scrape_s, self.scrape_s + 3))


class Progress(NamedTuple):
    """What lies behind the last judged instant."""

    counted: tuple[Window, ...]
    judged_to: float
    unmeasured_s: float = 0.0
    left_out_sends: float = 0.0
    """Sends of windows that began too early to count."""


def progress_of(
    state: State,
    stamps: Sequence[float],
    behind: Sequence[Window],
    now: float,
    lengths: Lengths,
    *,
    ahead: bool,
) -> Progress:
    """Return the windows behind the last judged instant, each of which is judged once.

    Without a judged instant judging starts now; so it does with one in the future, where the source's clock
    was set back, unless `ahead` says that it still holds samples from after its own time, `now`.
    """
    newest = stamps[-1] if stamps else state.judged_to
    if state.judged_to == 0:
        return Progress((), newest)
    if was_set_back(state, now, lengths):
        if ahead or not stamps:
            return Progress((), state.judged_to)
        begun_ahead = state.counted_from > now
        return Progress((), newest, newest - state.judged_to if begun_ahead else 0.0)
    begins = state.counted_from + lengths.reach_s
    return Progress(
        counted=tuple([window for window in behind if window.at >= begins]),
        judged_to=behind[-1].at if behind else state.judged_to,
        unmeasured_s=_unmeasured_s(state, behind, lengths),
        left_out_sends=math.fsum([window.sends for window in behind if window.at < begins]),
    )


def disjoint(stamps: Sequence[float], judged_to: float, lengths: Lengths) -> list[float]:
    """Return the moments behind an instant whose windows share no time, neither with each other nor with it.

    One server evaluates them so; another one behind the same address, or a rule that is evaluated too
    often, does not.
    """
    behind: list[float] = []
    for at in stamps:
        if at - judged_to > _WHOLE_SHARE * lengths.window_s:
            behind.append(at)
            judged_to = at
    return behind


def _unmeasured_s(state: State, behind: Sequence[Window], lengths: Lengths) -> float:
    """Return for how long, since the last judged instant and within this step, there is no window."""
    since = max(state.judged_to, state.counted_from)
    ends = [window.at for window in behind if window.at > since]
    return max(round(ends[-1] - since - len(ends) * lengths.window_s, 3), 0.0) if ends else 0.0


def was_set_back(state: State, now: float, lengths: Lengths) -> bool:
    """Whether the last judged instant lies in the source's future."""
    return state.judged_to > now + lengths.window_s
