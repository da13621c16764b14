"""The evidence group: what was sent in each window, counted exactly, for every feature at once."""

from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    ROLLOUT_GATE_REVISION,
    SENDER_JOB,
)
from controller.rules.model import Group, Recording
from controller.rules.scale import Scale, duration

_JOB = f'{{job="{SENDER_JOB}"}}'
_PROCESS_START = f"process_start_time_seconds{_JOB}"
_CONTROLLER = "the controller"
_SAME_START_S = 0.001
"""Starts that differ by less are one: VictoriaMetrics keeps about 15 digits, so that a longer number comes
back changed in its last ones from one reading to the next, and a whole counter would be counted again."""

HEADER = """\
Counts since the evaluation before, for every feature at once: a new feature needs no new rule here.
increase() will not do: it extrapolates, and it drops what lies between two windows. These expressions
walk through the window in steps of a scrape interval and add up, per series, what each step brought:
the newest value less that of the scrape before (after failed scrapes: the newest within the look-back);
or the whole value, when the counter or its process started again (at a start that differs by more than a
millisecond: a storage of few digits changes the last ones), or when the child is new in a process that was
already being scraped or that has just started. A child of an old process that Prometheus meets
for the first time brings nothing, which is the `* 0`. The steps lie on whole multiples of their length,
one outer step picks the last of them, and the window is a millisecond short, so that neighbouring windows
share no step and leave none out, whether ranges include their older end (Prometheus 2) or do not
(Prometheus 3); the -1 keeps the outer step from falling back on an older one when nothing was scraped.
All of it stays a little behind the present, so that every scrape it needs has been stored."""


def evidence_group(scale: Scale) -> Group:
    """Return the group whose interval is the window, so that windows are disjoint at any scale."""
    pair = "provider, action"
    return Group(
        name="rollout_evidence",
        interval_s=scale.window_s,
        rules=(
            Recording(
                EVIDENCE_SENDS,
                _counted(ACTION_EXEC_TOTAL, pair, scale),
                "Sends of one window, by provider and action; 0 in silence, absent when no sender is seen.",
                _CONTROLLER,
            ),
            Recording(
                EVIDENCE_ERRORS,
                _counted(ACTION_ERROR_TOTAL, pair, scale),
                "Failed sends of one window, by provider and action.",
                _CONTROLLER,
            ),
            Recording(
                EVIDENCE_LATENCY_BUCKET,
                _counted(f"{ACTION_LATENCY_SECONDS}_bucket", f"{pair}, le", scale),
                "Sends of one window that took at most `le` seconds; `+Inf` counts every timed send.",
                _CONTROLLER,
            ),
            Recording(
                EVIDENCE_GATE_REVISION,
                f"min by (feature) ({ROLLOUT_GATE_REVISION}{_JOB})",
                "The lowest revision of a feature's flags that any sender obeys.",
                _CONTROLLER,
            ),
        ),
    )


def _counted(counter: str, labels: str, scale: Scale) -> str:
    step, back = duration(scale.step_s), duration(scale.look_back_s)
    now = f"last_over_time({counter}{_JOB}[{step}])"
    started = f"last_over_time({_PROCESS_START}[{step}])"
    return f"""\
last_over_time(
  (
    sum_over_time(
      sum by ({labels}) (
        (
          {now}
          - (
            {counter}{_JOB} offset {step}
            or (
              last_over_time({counter}{_JOB}[{back}] offset {step})
              unless on (job, instance) up{_JOB} offset {step} == 1
            )
          ) >= 0
          unless on (job, instance)
            abs(
              {started}
              - last_over_time({_PROCESS_START}[{back}] offset {step})
            ) > {_SAME_START_S:g}
        )
        or (
          {now}
          and on (job, instance) (
            max_over_time(up{_JOB}[{back}] offset {step}) == 1
            or {started} > time() - {2 * scale.step_s:g}
          )
        )
        or {now} * 0
      )[{duration(scale.window_s - 0.001)}:{step}]
    )
    or -group by ({labels}) (last_over_time({counter}{_JOB}[{back}]))
  )[{step}:{step}] offset {duration(scale.delay_s)}
) >= 0"""
