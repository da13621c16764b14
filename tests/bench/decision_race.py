"""Races our tests with those of peers, on the same traces: section "Tests beside peers'" of the benchmarks.

Usage: PYTHONPATH=tests python -m bench.decision_race [--ramps 200]

The packages of the peers install into an environment of this race alone, `.venv/bench-decisions`. confseq has
no wheel, and on Python 3.11 its source does not build as it is: it asks for a pybind11 that is too old, and
for the headers of Boost 1.70. With a newer pybind11, scikit-build, CMake 3 and these headers there, and
CMAKE_POLICY_VERSION_MINIMUM=3.5, `pip install --no-build-isolation confseq` does.
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Sequence
from math import log
from random import Random
from statistics import median
from typing import Any

from bench.peers import peers_python
from bench.report import ROOT, machine, say, table, write_section

from controller.decision.feature import RolloutFeature
from controller.decision.judging.slo_tests import slo_test, with_window
from controller.decision.model import Kind, SloState
from controller.decision.sequential.relative import POINTS, relative_bets
from controller.decision.sequential.wallet import Wallet, capped, most_of_a_window
from controller.whatif.playback import Tick, course
from controller.whatif.simulate import binomial

PACKAGES = ("confseq==0.0.11", "gbstats==0.8.0")
WINDOW_S, SENDS, LIMIT, ALPHA = 10.0, 50, 0.01, 0.05
TIMES = (1.0, 2.0, 3.0, 10.0)
HOURS = 3
FEATURE = RolloutFeature("bench", "bench", "bench.send")

Windows = Sequence[tuple[int, int, int, int]]
Until = Callable[[Windows], int | None]


def trace(times: float, seed: int) -> Windows:
    """Draw windows of 50 sends at `times` the limit, beside a reference that is at the limit."""
    rng = Random(f"{times}/{seed}")
    return [
        (SENDS, binomial(rng, SENDS, times * LIMIT), SENDS, binomial(rng, SENDS, LIMIT))
        for _ in range(int(HOURS * 3600 / WINDOW_S))
    ]


def bet(windows: Windows) -> int | None:
    """Our breach test alone, with all of alpha."""
    test = slo_test(LIMIT, FEATURE, WINDOW_S)
    state = SloState(wallet=Wallet().staked(1, len(test.breach.worths)))
    for number, (n, k, *_) in enumerate(windows, start=1):
        state = with_window(test, state, n, k, proves_health=False)
        if state.wallet.evidence() >= log(1 / ALPHA):
            return number
    return None


def live(windows: Windows) -> int | None:
    """The code that pauses: two SLOs, steps, late change, outage."""
    ticks = [Tick(0.0)] + [Tick(WINDOW_S * i, n, k) for i, (n, k, *_) in enumerate(windows, start=1)]
    decided = course(FEATURE, ticks, config_hash="b", window_s=WINDOW_S)
    return next((place for place, (_, one) in enumerate(decided) if one.kind is Kind.PAUSE), None)


def comparison(windows: Windows) -> int | None:
    """Our comparison with the reference, delta 1."""
    wallet, cap = Wallet().staked(1, POINTS), most_of_a_window(ALPHA, WINDOW_S, FEATURE.blip_s)
    for number, (n, k, m, other) in enumerate(windows, start=1):
        wallet = wallet.with_bets(capped(relative_bets((n, k), (m, other), 1.0, 1.0), cap))
        if wallet.evidence() >= log(1 / ALPHA):
            return number
    return None


OURS: dict[str, Until] = {
    "ours, the bet alone": bet,
    "ours, as it pauses": live,
    "ours, beside a reference": comparison,
}


def cell(found: Sequence[int | None], times: float) -> str:
    """Return the median of the sends until the alarm; at the limit the share of false alarms."""
    if times == 1:
        return f"{100 * sum(one is not None for one in found) / len(found):.1f} %"
    missed = sum(one is None for one in found)
    sends = median(SENDS * (one if one is not None else 1e9) for one in found)
    return f"{sends:,.0f}" + (f" ({missed} missed)" if missed else "")


def main() -> None:
    """Run ours and the peers' over the same traces, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ramps", type=int, default=200)
    ramps = parser.parse_args().ramps
    traces = {f"{times:g}": [trace(times, seed) for seed in range(ramps)] for times in TIMES}
    found: dict[str, Any] = {
        name: {case: [until(one) for one in some] for case, some in traces.items()}
        for name, until in OURS.items()
    }
    python = peers_python("decisions", PACKAGES)
    command = [str(python), str(ROOT / "tests" / "bench" / "decision_peers.py")]
    done = subprocess.run(command, input=json.dumps(traces), capture_output=True, text=True, check=True)
    found |= {f"{name}, its own code": told for name, told in json.loads(done.stdout).items()}
    rows = [
        (name, *(cell(told[f"{times:g}"], times) for times in TIMES))
        if isinstance(told, dict)
        else (f"{name}: {told}", *["-"] * len(TIMES))
        for name, told in found.items()
    ]
    for row in rows:
        say(" | ".join(row))
    write_section("tests", section(rows, ramps))


def section(rows: Sequence[tuple[str, ...]], ramps: int) -> str:
    """Write the section."""
    return f"""## Tests beside peers'

{machine()} `python -m bench.decision_race` measures this part alone.

Median sends until the alarm at so many times the limit of 1 %, {ramps} traces of 50 sends a window, looked at
after each; at the limit the share of traces with an alarm within {HOURS} h, where 5 % are allowed. Ours caps
what one window may bring, so that a blip never pauses, stakes half of its capital at a ramp's first step, and
divides by the clusters it sees: so it takes longer than confseq's, which has none of the three. "As it
pauses" shares alpha with latency too.
GrowthBook's test and "beside a reference" compare with a reference at the limit, which takes more sends than
a limit does. GrowthBook's is asymptotic: it takes a normal distribution for granted, also of few failures.

{table(("test", "1x: false alarms", *(f"{times:g}x" for times in TIMES[1:])), rows)}
"""


if __name__ == "__main__":
    main()
