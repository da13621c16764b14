"""Draws the parts of docs/decisions.md that the code knows best, by asking it.

Usage: PYTHONPATH=tests python -m pages.decisions   (rewrites those parts; a test compares them)
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from worlds.snapshots import FEATURE, NOW, at_step, changed, window

from controller.contract import Flags, format_percent
from controller.decision.byhand import BY_HAND, by_hand, external_change
from controller.decision.checks import CHECKS
from controller.decision.decide import decide, rejected_write
from controller.decision.judging.outage import OUTAGE_MAILBOXES, OUTAGE_SENDS, OUTAGE_SHARE, OUTAGE_SURE
from controller.decision.judging.slo_tests import BURST_CAP, slo_test
from controller.decision.model import Cause, Comparison, Decision, Kind, Reason, SloState, Snapshot
from controller.decision.record import NOT_WRITTEN
from controller.decision.sequential.health import HEALTHY_GRID, step_error
from controller.decision.sequential.relative import POINTS
from controller.decision.sequential.wallet import (
    BREACH_TOP,
    BURST_BLIPS,
    GRIDS,
    LATE_SHARE,
    LIVE_SHARE,
    OPENING,
    RAMP_SHARE,
    Wallet,
)
from controller.decision.telling.reasons import REASONS
from controller.decision.telling.sentences import duration_text
from controller.whatif.forecast import forecast

PAGE = Path(__file__).resolve().parents[2] / "docs" / "decisions.md"

WINDOW_S = 10.0
PROVEN = {"windows": (window(1000),)}
EVIDENCE: tuple[dict[str, Any], ...] = (
    {},
    {"windows": (window(20),)},
    PROVEN,
    {"windows": (window(150, 4),)},
    {"windows": (window(0),)},
    {"windows": (window(150, 40),) * 3},
    {"windows": (window(150, 0, 80),) * 3},
    {"windows": (window(60, 40),)},
    {"problem": Reason.METRICS_UNREACHABLE, "windows": ()},
    {"problem": Reason.METRICS_STALE},
    {"problem": Reason.METRICS_INCOMPLETE, "rules_missing": ("rollout:evidence_sends",)},
    PROVEN | {"gate_revision": 1},
    PROVEN | {"alerts": ("SendHighErrorRate",)},
)
FLAGS: tuple[dict[str, Any], ...] = ({}, {"enabled": False}, {"paused": True}, {"unreadable": ("paused",)})
FEATURES: tuple[dict[str, Any], ...] = (
    {},
    {"approval_steps": FEATURE.steps},
    {"on_breach": "step_back"},
    {"max_failed_sends_per_step": 3},
)
PLACES = {
    "disabled": "Disabled",
    "paused": "Paused",
    "zero": "At 0 %",
    "step": "At a step",
    "full": "At 100 %",
}


def snapshots() -> Iterator[Snapshot]:
    """Yield a snapshot for each combination of what may be read."""
    for percent, flags, evidence, feature in product((0.0, 5.0, 50.0, 100.0), FLAGS, EVIDENCE, FEATURES):
        for frozen, since_s in (("", 3600), ("weekend", 3600), ("", 60)):
            snapshot = at_step(percent, feature=feature, evidence=evidence, frozen=frozen)
            snapshot = changed(snapshot, flags=flags, state={"counted_from": NOW - since_s})
            yield changed(snapshot, state={"flags": snapshot.flags})
    yield at_step(5.0, newer=replace(at_step().flags, revision=9, paused=True))
    yield at_step(0.0, state={"stopped_by": Cause(Reason.MANUAL, "ann", NOW, "rollout_percent 5 -> 0")})
    judged = at_step(feature={"slo_very_slow_threshold": 0.01}, state={"very_slow": SloState()})
    hanging = window(1500, 0, 70, very_slow=70)
    for percent, on_breach in product((5.0, 100.0), ("pause", "step_back")):
        changes: dict[str, Any] = {"flags": {"rollout_percent": percent}, "feature": {"on_breach": on_breach}}
        asked = changed(judged, evidence={"windows": (hanging,) * 3}, **changes)
        yield changed(asked, state={"flags": asked.flags})
    worse = Comparison("google", 1.5, Wallet((9.0,) * POINTS, 0.5))
    yield at_step(feature={"reference": "google", "delta": 1.5}, state={"comparison": worse})


def decisions() -> Iterator[tuple[Snapshot, Decision]]:
    """Yield every decision over those snapshots, and what people and other writers may do."""
    for snapshot in snapshots():
        yield snapshot, decide(snapshot)
    for percent, flags in product((0.0, 5.0, 100.0), FLAGS[:3]):
        snapshot = changed(at_step(percent), flags=flags)
        for reason in sorted(NOT_WRITTEN):
            yield snapshot, rejected_write(snapshot, decide(snapshot), reason)
        for kind in sorted(BY_HAND):
            to = 25.0 if kind is Kind.SET else None
            feature = replace(FEATURE, approval_steps=(*FEATURE.steps, 101.0))
            yield snapshot, by_hand(kind, snapshot.flags, feature, snapshot.state, NOW, percent=to)
    edited = at_step(flags={"rollout_percent": 50.0})
    outside = external_change(edited.state, edited.flags)
    if outside is not None:
        yield at_step(), outside


def place(flags: Flags) -> str:
    """Name where a feature stands."""
    if not flags.enabled:
        return "disabled"
    if flags.paused:
        return "paused"
    ends = {0.0: "zero", FEATURE.steps[-1]: "full"}
    return ends.get(flags.rollout_percent, "step")


def diagram() -> str:
    """Draw how a feature moves by itself, and what only people do."""
    moves: dict[tuple[str, str], set[str]] = defaultdict(set)
    people: dict[tuple[str, str], set[str]] = defaultdict(set)
    for snapshot, decision in decisions():
        way = place(snapshot.flags), place(decision.flags)
        if decision.kind in {Kind.HOLD, Kind.EXTERNAL_CHANGE, Kind.APPROVE}:
            continue
        if decision.reason is Reason.MANUAL:
            if way[0] != way[1] and decision.kind is not Kind.SET:
                people[way].add(decision.kind.value)
        else:
            moves[way].add(f"{decision.kind}: {decision.reason}")
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> disabled"]
    lines += [f"    {name}: {words}" for name, words in PLACES.items()]
    for way in sorted(moves.keys() | people.keys()):
        said = [*_grouped(moves[way]), *(f"a person: {kind}" for kind in sorted(people[way]))]
        lines.append(f"    {way[0]} --> {way[1]}: {'<br>'.join(said)}")
    return "\n".join([*lines, "```"])


def _grouped(moves: set[str]) -> list[str]:
    """Join the reasons of one kind: `pause (outage, slo_latency)`."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for move in sorted(moves):
        kind, _, reason = move.partition(": ")
        reasons[kind].append(reason)
    return [f"{kind} ({', '.join(several)})" for kind, several in reasons.items()]


def reasons() -> str:
    """Tell each reason in its sentence, and with which kinds of decision it comes."""
    kinds: dict[Reason, set[str]] = defaultdict(set)
    for _, decision in decisions():
        kinds[decision.reason].add(decision.kind.value)
    rows = [
        f"| `{reason}` | {', '.join(sorted(kinds[reason]))} | {sentence} |"
        for reason, sentence in REASONS.items()
    ]
    return "\n".join(["| reason | with | it says |", "| --- | --- | --- |", *rows])


def order() -> str:
    """List the checks in the order in which they are asked."""
    return "\n".join(
        f"{number}. `{check.__name__.strip('_')}`: {_first_line(check.__doc__)}"
        if check.__doc__
        else f"{number}. `{check.__name__.strip('_')}`"
        for number, check in enumerate(CHECKS, start=1)
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def figures() -> str:
    """Tell the figures of the tests, as the code has them, for the built-in features."""
    test = slo_test(FEATURE.slo_error_rate_threshold, FEATURE, WINDOW_S)
    steps = (step_error(FEATURE.step_up_error, to) for to in FEATURE.steps[1:])
    (small, many, lowest), (_, points, bottom) = GRIDS
    caps = test.breach.cap, test.late_cap
    rows = {
        "rates that breach bets on": f"{points}, from {bottom} x limit to {BREACH_TOP}",
        f"the same for limits below {small:.1%}": f"{many}, from {lowest} x limit",
        "rates that health bets on": "margin x limit x "
        + ", ".join(f"{share:g}" for share, _ in HEALTHY_GRID),
        "stake of the first step": f"{OPENING:g} of the wallet",
        "a window of 10 s brings a breach / a late change at most (ln)": f"{caps[0]:.2f} / {caps[1]:.2f}",
        "forgiven by the breach test": f"{FEATURE.blip_s:g} s (`blip_s`)",
        "forgiven by the late-change test": f"{BURST_BLIPS:g} x `blip_s`, {BURST_CAP:g} of the way",
        "alpha of the ramp / late change / live counts": f"{RAMP_SHARE:g} / {LATE_SHARE:g} / {LIVE_SHARE:g}",
        "breach alarm, late alarm (ln)": f"{test.breach.needed:.2f}, {test.late_needed:.2f}",
        "chance of error of the steps up": ", ".join(f"{error:.2g}" for error in steps),
        "outage": f"{OUTAGE_SHARE:.0%} and a standard deviation of {OUTAGE_SURE} sends; "
        f"of {OUTAGE_SENDS} in two windows in a row; or just half, of {OUTAGE_MAILBOXES} mailboxes",
    }
    return "\n".join(
        ["| figure | value |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def example() -> str:
    """Return the forecast at 5 sends/s as a table."""
    rows = [
        f"| {format_percent(step.percent)} % | {step.sends_per_s:g} "
        f"| {'stays' if step.percent == FEATURE.steps[-1] else duration_text(step.lasts_s)} "
        f"| {step.smallest.error_rate:.1%} | {step.smallest.failed:,.0f} |"
        for step in forecast(FEATURE, 5.0, WINDOW_S).steps
        if step.smallest is not None
    ]
    head = "| step | sends/s | lasts | smallest breach it can prove in that time | failed until then |"
    return "\n".join([head, "| ---: | ---: | ---: | ---: | ---: |", *rows])


PARTS = {"diagram": diagram, "reasons": reasons, "order": order, "figures": figures, "example": example}


def drawn(text: str) -> str:
    """Return the page with every drawn part as the code has it now."""
    for name, draw in PARTS.items():
        begin, end = f"<!-- {name}: drawn from the code -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"docs/decisions.md has no place for {name}")
        text = f"{before}{begin}\n{draw()}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is drawn\n")
