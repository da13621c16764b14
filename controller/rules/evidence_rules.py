"""The evidence group: what was sent in each window, counted exactly, for every feature at once."""

import textwrap

from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    ROLLOUT_GATE_REVISION,
)
from controller.rules.doubt_rules import doubt_rules
from controller.rules.model import Group, Recording
from controller.rules.scale import Scale, duration
from controller.rules.scope import DEFAULT_SCOPE, Scope
from controller.rules.targets import Targets

_CONTROLLER = "the controller"
_BUCKET = f"{ACTION_LATENCY_SECONDS}_bucket"

HEADER = """\
Counts since the evaluation before, for every feature at once: a new feature needs no new rule here.
increase() will not do: it extrapolates, and it drops what lies between two windows. These expressions
walk through the window in steps of a scrape interval and add up, per series, what each step brought that is
sure: the newest value less that of the scrape before, where the same process answered both; the whole
value, where its process began after the scrape before, or where the child is new in a process that was
already being scraped. Anything else brings nothing, which is the `* 0`, and is a doubt (below). A process is
known by its start, a target by all its labels. The steps lie on whole multiples of their length,
one outer step picks the last of them, and the window is a millisecond short, so that neighbouring windows
share no step and leave none out, whether ranges include their older end (Prometheus 2) or do not
(Prometheus 3); the -1 keeps the outer step from falling back on an older one when nothing was scraped.
All of it stays a little behind the present, so that every scrape it needs has been stored.
A doubt is recorded where a window may hold less than was sent, and names the target: such a window proves
no health. Doubts come first in the group, so that they are there when the counts are."""


def evidence_group(scale: Scale, scope: Scope = DEFAULT_SCOPE) -> Group:
    """Return the group whose interval is the window, so that windows are disjoint at any scale."""
    targets, labels = Targets(scope, scale), dict(scope.labels)
    return Group(
        name="rollout_evidence",
        interval_s=scale.window_s,
        rules=(
            *doubt_rules(targets, labels),
            Recording(
                EVIDENCE_SENDS,
                counted(ACTION_EXEC_TOTAL, "", targets),
                "Sends of one window, by provider and action; 0 in silence, absent when no sender is seen.",
                _CONTROLLER,
                labels,
            ),
            Recording(
                EVIDENCE_ERRORS,
                counted(ACTION_ERROR_TOTAL, "", targets),
                "Failed sends of one window, by provider and action.",
                _CONTROLLER,
                labels,
            ),
            Recording(
                EVIDENCE_LATENCY_BUCKET,
                counted(_BUCKET, ", le", targets),
                "Sends of one window that took at most `le` seconds; `+Inf` counts every timed send.",
                _CONTROLLER,
                labels,
            ),
            Recording(
                EVIDENCE_GATE_REVISION,
                f"min by (feature) ({ROLLOUT_GATE_REVISION}{scope.senders()})",
                "The lowest revision of a feature's flags that any sender obeys.",
                _CONTROLLER,
                labels,
            ),
        ),
    )


def counted(counter: str, more: str, targets: Targets) -> str:
    """Return what one window brought, by provider, action and `more` labels."""
    scale, step, labels = targets.scale, targets.step, f"provider, action{more}"
    now, every = targets.newest(counter), f"{counter}{targets.scope.senders()}"
    of_target = f"ignoring (provider, action, status{more})"
    return f"""\
last_over_time(
  (
    sum_over_time(
      sum by ({labels}) (
        (
          (
            clamp_min(
              {now}
              - (
                {every} offset {step}
                or {targets.before(counter)} unless {of_target} {targets.up} offset {step} == 1
              ),
              0
            )
            and {of_target} (
{indent(targets.same, 14)}
            )
            or {now}
            and {of_target} (
{indent(targets.same, 14)}
{indent("or " + targets.born, 14)}
            )
          )
          unless {of_target} (
{indent(targets.several, 12)}
          )
        )
        or {now} * 0
      )[{duration(scale.window_s - 0.001)}:{step}]
    )
    or -group by ({labels}) (last_over_time({every}[{targets.back}]))
  )[{step}:{step}] offset {duration(scale.delay_s)}
) >= 0"""


def indent(text: str, by: int) -> str:
    return textwrap.indent(text, " " * by)
