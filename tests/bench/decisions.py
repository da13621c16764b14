"""Measures how the policies decide, beside Argo's and Flagger's rules: section "Decisions" of the benchmarks.

Usage: PYTHONPATH=tests python -m bench.decisions [--ramps 1000]
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from bench.decision_plot import plot
from bench.decision_rules import FEATURE, RULES, WINDOW_S, Counts, End, Trace
from bench.decision_traces import SCENARIOS, TRAFFIC, Scenario, late_change
from bench.report import ROOT, machine, median, quantile, say, table, write_section

from controller.decision.decide import decide
from controller.decision.model import Decision, Kind, Snapshot
from controller.whatif.outcome import outcome_of
from controller.whatif.playback import Tick, course

CHUNK = 25
PLOT = ROOT / "docs" / "benchmarks-decisions.svg"
LATE = (late_change(10.0), late_change(3.0))
BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, *LATE)}
OURS = "sequential (ours)"

Ends = dict[str, list[End]]


def main() -> None:
    """Run every rule over the same seeded traces, and write table and plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ramps", type=int, default=1000, help="seeded ramps per cell")
    ramps = parser.parse_args().ramps
    started = time.perf_counter()
    speed = measure_speed()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        cells = {scenario.name: _cell(pool, scenario, ramps) for scenario in BY_NAME.values()}
    PLOT.write_text(plot(_false_pauses(cells)), encoding="utf-8")
    write_section("decisions", section(cells, ramps, speed))
    say(f"decisions: {time.perf_counter() - started:.0f} s")


def _cell(pool: ProcessPoolExecutor, scenario: Scenario, ramps: int) -> Ends:
    merged: Ends = defaultdict(list)
    for ends in pool.map(partial(_chunk, scenario.name, min(CHUNK, ramps)), range(0, ramps, CHUNK)):
        for name, several in ends.items():
            merged[name] += several
    say(f"{scenario.name}: {', '.join(f'{name}: {_share(ends)} %' for name, ends in merged.items())} paused")
    return dict(merged)


def _chunk(name_of_scenario: str, many: int, first: int) -> Ends:
    """Run some ramps in another process, which is told the name, because functions do not travel."""
    scenario = BY_NAME[name_of_scenario]
    ends: Ends = defaultdict(list)
    for seed in range(first, first + many):
        trace = Trace(scenario.windows(seed))
        if scenario.begins_at:
            ends[OURS].append(_late(trace, scenario.begins_at))
            continue
        for name, rule in RULES.items():
            ends[name].append(rule(trace))
    return dict(ends)


def _late(trace: Iterable[Counts], begins_at: int) -> End:
    """Go on at 100 % until the change is noticed. The analysis of the peers has ended by then."""
    ticks = [Tick(0.0), *(Tick(WINDOW_S * i, n, k, s) for i, (n, k, s) in enumerate(trace, start=1))]
    failed = 0.0
    decided = course(FEATURE, ticks, config_hash="bench", window_s=WINDOW_S)
    for number, (_, decision) in enumerate(decided):
        failed += ticks[number].errors if number > begins_at else 0.0
        if decision.kind is Kind.PAUSE:
            return End("paused", number - begins_at, failed)
    return End("unfinished", len(ticks), failed)


def measure_speed() -> str:
    """Measure one whole decision, and a replay without words."""
    ticks = [Tick(WINDOW_S * i, 150, i % 3, i % 5) for i in range(20_000)]
    took: list[float] = []

    def timed(snapshot: Snapshot) -> Decision:
        began = time.perf_counter()
        decision = decide(snapshot)
        took.append(time.perf_counter() - began)
        return decision

    settled = dict.fromkeys(range(4000))
    for _ in zip(
        course(FEATURE, ticks, config_hash="b", window_s=WINDOW_S, decide=timed), settled, strict=False
    ):
        pass
    began = time.process_time()
    outcome_of(course(FEATURE, ticks, config_hash="b", window_s=WINDOW_S))
    per_s = len(ticks) / (time.process_time() - began)
    return (
        f"One decision of one feature, with its words: median {1e6 * median(took):.0f} us, "
        f"p99 {1e6 * quantile(took, 0.99):.0f} us. A replay decides {per_s:,.0f} ticks a second of "
        "processor time."
    )


def _share(ends: Sequence[End], what: str = "paused") -> str:
    share = 100 * sum(end.what == what for end in ends) / len(ends)
    return f"{share:.1f}".removesuffix(".0") if share < 10 else f"{share:.0f}"


def _minutes(ends: Sequence[End], what: str) -> str:
    lengths = [end.windows * WINDOW_S / 60 for end in ends if end.what == what]
    if not lengths:
        return "-"
    middle = median(lengths)
    return (
        f"{middle:.1f} min"
        if middle < 10
        else f"{middle:.0f} min"
        if middle < 180
        else f"{middle / 60:.1f} h"
    )


def _failed(ends: Sequence[End]) -> str:
    """Return the mean of the sends that failed until the ramp ended, however it did."""
    return f"{sum(end.failed for end in ends) / len(ends):.0f}"


def _false_pauses(cells: dict[str, Ends]) -> dict[str, list[float]]:
    return {
        rule: [
            100 * sum(end.what == "paused" for end in ends) / len(ends)
            for ends in (cells[f"healthy, {traffic:g}/s"][rule] for traffic in TRAFFIC)
        ]
        for rule in RULES
    }


def _rows(cells: dict[str, Ends], good: str) -> list[tuple[str, ...]]:
    """Return for each trace and rule: the share that went wrong, when the right thing came, at what harm."""
    wrong, right = ("paused", "completed") if good == "complete" else ("completed", "paused")
    return [
        (scenario.name, *(f"{_share(e, wrong)} % / {_minutes(e, right)} / {_failed(e)}" for e in ends))
        for scenario in SCENARIOS
        if scenario.good == good
        for ends in (list(cells[scenario.name].values()),)
    ]


def _late_rows(cells: dict[str, Ends]) -> list[tuple[str, ...]]:
    return [
        (scenario.name, f"{_share(ends)} %", _minutes(ends, "paused"), _failed(ends))
        for scenario in LATE
        for ends in (cells[scenario.name][OURS],)
    ]


def section(cells: dict[str, Ends], ramps: int, speed: str) -> str:
    """Write the section."""
    names = [name.replace(" (", "<br>(") for name in RULES]
    return f"""## Decisions

{machine()} `make bench-decisions` measures this part alone.

{speed}

Each cell: {ramps:,} seeded ramps over 1 5 10 25 50 100 %, error limit 1 %, windows of 30 s, the same
traffic at every step, the same traces for every rule. Our policies run the code that decides live; the
rules of Argo Rollouts and Flagger are written again from their documentation
(`tests/bench/decision_rules.py`) and are judged on errors alone, in their favour. Argo and ours wait 10 min
at a step; Flagger takes a step with each good check, so that its ramps are short.

Where the feature is healthy enough: *paused all the same* / median time of a completed ramp / failed sends.
"At the limit" is cut off after 6 h; to go on, to hold and to pause are all defensible there.

{table(("trace", *names), _rows(cells, "complete"))}

![Healthy ramps that were aborted]({PLOT.name})

Where it is broken: *completed all the same* / median time until the pause / mean of failed sends.

{table(("trace", *names), _rows(cells, "pause"))}

A feature that breaks after 4 h of health, long after the ramp, at 5 sends/s. The analysis of the peers is
over by then; ours keeps monitoring:

| change | paused | median time | failed sends |
| --- | ---: | ---: | ---: |
{chr(10).join("| " + " | ".join(row) + " |" for row in _late_rows(cells))}

**Where we lose.** A rate just above the limit (1.5x) takes thousands of sends to tell from the limit itself:
the tests let many more sends fail than a rule that compares a point with the limit; that rule however aborts
most ramps *at* the limit too. With windows of 30 s a rate of 10x takes three of them, because what may be a
blip is never believed; with windows of 10 s, as in the table of promises, it costs a third. A healthy ramp at
0.05 sends/s takes hours, where the rules that do not ask for proof are done in one, or in six minutes.
"""


if __name__ == "__main__":
    main()
