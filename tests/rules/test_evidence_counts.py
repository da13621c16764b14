"""The evidence rules count every send that was scraped once, whatever happens to senders and scrapes."""

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.examples import examples

from controller.alertcheck.cases.counts import (
    CHILD,
    SLOTS,
    Life,
    Scrape,
    count_checks,
    exported,
    interval_s,
    several,
    truth,
    worlds,
)
from controller.alertcheck.promtool import input_series, run
from controller.contract import ACTION_EXEC_TOTAL, EVIDENCE_SENDS
from controller.rules.evidence_rules import evidence_group
from controller.rules.scale import Scale

SCALE = Scale()
EXPR = next(rule.expr for rule in evidence_group(SCALE).rules if rule.name == EVIDENCE_SENDS)
LABELS = "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(CHILD.items())) + "}"
WINDOW = round(SCALE.window_s / SCALE.step_s) * SLOTS


def check(lives: Sequence[Life], times_s: Sequence[float]) -> None:
    """Ask for the evidence at each time, and compare with the truth."""
    expected = []
    for at_s in times_s:
        end = int(round((at_s - SCALE.delay_s) / SCALE.step_s, 6)) * SLOTS
        known_to = (at_s - SCALE.delay_s) / SCALE.step_s * SLOTS
        counts = [truth(life, end - WINDOW, end, SCALE, known_to) for life in lives]
        seen = [count for count in counts if count is not None]
        wanted = [{"labels": LABELS, "value": sum(seen)}] if seen else []
        expected.append({"expr": EXPR, "eval_time": f"{round(at_s * 1000)}ms", "exp_samples": wanted})
    samples = exported(lives, ACTION_EXEC_TOTAL, SCALE)
    test = {"interval": "1s", "input_series": input_series(samples), "promql_expr_test": expected}
    complaints = run({"rule_files": [], "evaluation_interval": "30s", "tests": [test]}, "promtool")
    assert complaints == []


@st.composite
def a_senders_life(draw: st.DrawFn) -> Life:
    """Scrapes with jitter and gaps of a sender that restarts, creates its counter late, and sends."""
    phase = draw(st.integers(2, 9))
    first = draw(st.integers(0, 4))
    started = float(draw(st.integers(-100, first * SLOTS)))
    value: float | None = draw(st.none() | st.integers(0, 40))
    scrapes: list[Scrape] = []
    for i in range(first, draw(st.integers(12, 24))):
        at = phase + i * SLOTS + draw(st.integers(-2, 2))
        # Exactly on a step, Prometheus 2 and 3 differ in whether silence is 0 or absent: not drawn.
        at += at % SLOTS == 0
        waits_for_child = bool(scrapes) and value is None and not scrapes[-1].failed
        if not waits_for_child and draw(st.integers(0, 7)) == 0:
            scrapes.append(Scrape(at, 0, None, failed=True))
            continue
        # Of two scrapes in one step only the second counts. That loses sends where the process started again
        # between them, or where the first was the first of all: not drawn.
        before = [scrape.at for scrape in scrapes if not scrape.failed]
        own_step = not before or -(-before[-1] // SLOTS) < -(-at // SLOTS)
        if not own_step and len(before) == 1:
            continue
        if own_step and draw(st.integers(0, 5)) == 0:
            started, value = at - draw(st.integers(1, 9)) + 0.25, None
        if value is not None or draw(st.booleans()):
            value = (value or 0) + draw(st.integers(0, 50))
        scrapes.append(Scrape(at, started, value))
    return Life(tuple(scrapes))


@examples(200)
@given(
    lives=st.lists(a_senders_life(), min_size=1, max_size=3),
    phase_ms=st.sampled_from([0, 1, 4_999, 5_000, 5_001, 7_321, 9_999]),
)
def test_each_window_holds_the_truth_whatever_happens(lives: list[Life], phase_ms: int) -> None:
    check(lives, [k * SCALE.window_s + phase_ms / 1000 for k in range(1, 11)])


def test_neighbouring_windows_add_up_to_all_that_was_scraped_of_one_process_at_a_time() -> None:
    for name, lives in worlds(phase=3).items():
        known = [life for life in lives if life.job == "rollout-sender"]
        last = max(scrape.at for life in known for scrape in life.scrapes)
        windows = [(end - WINDOW, end) for end in range(WINDOW, last + 2 * WINDOW, WINDOW)]
        known = [one for one in known if not any(several(one, end, SCALE) for _, end in windows)]
        parts = [truth(life, *window, SCALE, window[1]) or 0 for window in windows for life in known]
        assert sum(parts) == sum(truth(life, 0, last, SCALE, last) or 0 for life in known), name


def test_the_validation_asks_at_every_part_of_a_step() -> None:
    residues = {round(at_s % SCALE.step_s, 3) for one in count_checks(SCALE) for at_s, _ in one.windows}
    assert {0.0, 5.0} <= {
        round((residue - SCALE.delay_s) % SCALE.step_s, 3) for residue in residues
    } | residues
    assert interval_s(SCALE) % SCALE.step_s != 0


def test_a_start_that_its_storage_rounds_is_one_at_long_scrape_intervals_too() -> None:
    scale = Scale.of(window_s=600)
    step_s = scale.step_s
    rounded = worlds(9)["a start that its storage rounds"]
    samples = exported(rounded, ACTION_EXEC_TOTAL, scale)
    [start] = [one for one in samples.series if one.name == "process_start_time_seconds"]
    told = {value for value in start.values if value is not None and not math.isnan(value)}
    assert step_s == 200
    assert max(told) - min(told) == pytest.approx(1e-5, rel=0.01)
