"""The doubts of a window: recorded where its counts may be less than what was sent, and nowhere else."""

import textwrap
from collections.abc import Iterator

from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    EVIDENCE_DOUBT,
    Doubt,
)
from controller.rules.model import Recording
from controller.rules.scale import duration
from controller.rules.targets import PER_TARGET, Targets

_BUCKET = f"{ACTION_LATENCY_SECONDS}_bucket"
_EVERY = 'le="+Inf"'
_UNEQUAL_SENDS, _UNEQUAL_SHARE = 10, 0.01
"""Counters of one send are not raised in one instant: so far may they differ over a process's whole life."""

ABOUT = {
    Doubt.SEVERAL: "Targets behind which several processes answer; nothing of them is counted.",
    Doubt.LABELS: "Counters with labels that their target has not; nothing of them is counted.",
    Doubt.UNEQUAL: "Targets whose sends, timed sends and failed sends do not fit together.",
    Doubt.EDGE: "Edges of the latency histogram that not every sender has.",
    Doubt.LATE: "Targets that were not scraped for two steps; the age of the last scrape, seconds.",
    Doubt.FAILED: "Targets of which a scrape failed.",
    Doubt.MET: "Targets that are new, of a process that is not.",
    Doubt.RESTARTED: "Targets behind which another process answered than before; its start.",
    Doubt.GONE: "Targets that are no longer scraped.",
}


def doubt_rules(targets: Targets, labels: dict[str, str]) -> Iterator[Recording]:
    """Yield one rule for each doubt; `labels` are those of every recorded series."""
    window, step = duration(targets.scale.window_s), targets.step
    for why, expr in _exprs(targets).items():
        steps = f"[{window}:{step}] offset {duration(targets.scale.delay_s)}"
        yield Recording(
            EVIDENCE_DOUBT,
            f"max_over_time((\n{textwrap.indent(expr, '  ')}\n){steps})",
            ABOUT[why],
            "the controller",
            {**labels, "why": why.value},
        )


def _exprs(targets: Targets) -> dict[Doubt, str]:
    """Return what is doubtful in one step."""
    up, step = targets.up, targets.step
    return {
        Doubt.SEVERAL: targets.several,
        Doubt.LABELS: f"group {PER_TARGET} ({targets.newest(ACTION_EXEC_TOTAL)})"
        f" unless last_over_time({up}[{targets.back}])",
        Doubt.UNEQUAL: _unequal(targets),
        Doubt.EDGE: _edge(targets),
        Doubt.LATE: f"time() - timestamp({up}) > {2 * targets.scale.step_s:g}",
        Doubt.FAILED: f"min_over_time({up}[{step}]) == 0",
        Doubt.MET: f"{targets.newest('up')} == 1 unless {targets.known} unless {targets.young}",
        Doubt.RESTARTED: targets.restarted,
        Doubt.GONE: f"{up} offset {step} unless {up}",
    }


def _unequal(targets: Targets) -> str:
    sends = f"sum without (status) ({targets.newest(ACTION_EXEC_TOTAL)})"
    timed = f"sum without (status, le) ({targets.newest(_BUCKET, _EVERY)})"
    more = f"{_UNEQUAL_SENDS} + {_UNEQUAL_SHARE:g} * {sends}"
    return f"""\
abs({sends} - ({timed} or {sends} * 0))
  > {more}
or {targets.newest(ACTION_ERROR_TOTAL)} - {sends}
  > {more}"""


def _edge(targets: Targets) -> str:
    """Count the senders that have an edge, where others of the same histogram have it not."""
    return f"""\
count by (provider, action, le) (group without (status) ({targets.newest(_BUCKET)}))
< on (provider, action) group_left ()
count by (provider, action) (group without (status, le) ({targets.newest(_BUCKET, _EVERY)}))"""
