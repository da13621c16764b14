"""The evidence rules count every send that was scraped once, whatever happens to senders and scrapes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import promtool
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.contract import EVIDENCE_ERRORS, EVIDENCE_LATENCY_BUCKET, EVIDENCE_SENDS
from controller.rules.evidence import evidence_group
from controller.rules.scale import Scale

SCALE = Scale()
EXPR = {rule.name: rule.expr for rule in evidence_group(SCALE).rules}
SCRAPE_S, WINDOW_S = 10, 30
CHILD = {"provider": "microsoft", "action": "outlook.send"}
PAIR = '{action="outlook.send", provider="microsoft"}'


@dataclass(frozen=True)
class Scrape:
    """What one scrape of one sender saw: the start of its process, and its counter (None: not there)."""

    at: int
    started: float
    value: float | None
    failed: bool = False


def exported(instance: str, scrapes: Iterable[Scrape], **labels: str) -> list[dict[str, str]]:
    """Give what Prometheus stores of one sender's scrapes; what a scrape no longer shows is marked stale."""
    target = {"job": "rollout-sender", "instance": instance}
    up: dict[int, float | str] = {}
    process: dict[int, float | str] = {}
    counter: dict[int, float | str] = {}
    for scrape in scrapes:
        up[scrape.at] = 0 if scrape.failed else 1
        process[scrape.at] = promtool.STALE if scrape.failed else scrape.started
        counter[scrape.at] = promtool.STALE if scrape.value is None else scrape.value
    name = labels.pop("name", "action_exec_total")
    return [
        promtool.series("up", target, up),
        promtool.series("process_start_time_seconds", target, process),
        promtool.series(name, target | CHILD | labels, counter),
    ]


def check(
    inputs: list[dict[str, str]], windows: Mapping[float, float | None], expr: str = EXPR[EVIDENCE_SENDS]
) -> None:
    """Ask for the evidence at each time; None is expected to be absent."""
    expected = [
        promtool.expect(expr, at, {} if count is None else {PAIR: count}) for at, count in windows.items()
    ]
    complaint = promtool.run([{"interval": "1s", "input_series": inputs, "promql_expr_test": expected}])
    assert not complaint, complaint


def steady(values: Iterable[float | None], *, start: int = 3, started: float = -1e6) -> list[Scrape]:
    return [Scrape(start + i * SCRAPE_S, started, value) for i, value in enumerate(values)]


def test_neighbouring_windows_share_no_send_and_leave_none_out() -> None:
    scrapes = steady([7, 10, 20, 21, 24, 24, 30, 100, 101])
    # A window at t ends at the last multiple of 10 s that is at least 5 s old.
    check(exported("a", scrapes), {36: 13, 66: 4, 96: 77})


def test_silence_is_zero_while_a_sender_is_seen_and_absent_when_none_is() -> None:
    scrapes = steady([5.0] * 8)
    check(exported("a", scrapes), {66: 0, 96: 0, 126: None})


def test_a_counter_that_began_anew_counts_whole_even_beyond_its_old_value() -> None:
    old, new = -1e6, 28.0
    scrapes = [*steady([50, 60, 70], started=old), *steady([90, 95], start=33, started=new)]
    check(exported("a", scrapes), {36: 20, 66: 95})


def test_a_counter_that_fell_counts_whole_without_the_time_of_its_process() -> None:
    inputs = exported("a", steady([50, 60, 70, 4, 6]))
    check([one for one in inputs if "process" not in one["series"]], {36: 20, 66: 6})


def test_the_first_failure_of_a_child_that_it_creates_counts() -> None:
    inputs = exported("a", steady([None, None, None, 3, 5]), name="action_error_total")
    check(inputs, {36: None, 66: 5}, EXPR[EVIDENCE_ERRORS])


def test_a_process_that_has_just_started_counts_from_its_first_scrape() -> None:
    check(exported("a", steady([12, 15], start=33, started=25.0)), {66: 15})


def test_an_old_process_that_is_met_for_the_first_time_brings_only_what_comes_after() -> None:
    check(exported("a", steady([1200, 1207], start=33, started=-500.0)), {66: 7})


def test_a_scrape_gap_is_one_larger_step() -> None:
    scrapes = steady([10, 20, None, None, 50, 60, 70])
    gap = [Scrape(s.at, s.started, s.value, failed=s.value is None) for s in scrapes]
    check(exported("a", gap), {36: 10, 66: 40, 96: 10})


def test_the_last_scrape_of_a_sender_that_dies_counts() -> None:
    alive = steady([10, 20, 30, 38])
    dead = [Scrape(at, 0, None, failed=True) for at in (43, 53, 63)]
    check(exported("a", [*alive, *dead]), {36: 20, 66: 8, 96: None})


def test_senders_add_up() -> None:
    inputs = [
        *exported("a", steady([0, 1, 2, 3, 4, 5])),
        *exported("b", steady([100, 110, 120, 130, 140, 150], start=8)),
    ]
    check(inputs, {36: 22, 66: 33})


def test_buckets_keep_their_edge_as_it_is_spelled() -> None:
    bucket = "action_latency_seconds_bucket"
    inputs = [
        *exported("a", steady([0, 1, 2, 3]), name=bucket, le="0.5"),
        *exported("a", steady([0, 2, 4, 6]), name=bucket, le="+Inf")[2:],
    ]
    labels = '{action="outlook.send", le="%s", provider="microsoft"}'
    expected = promtool.expect(EXPR[EVIDENCE_LATENCY_BUCKET], 36, {labels % "0.5": 2, labels % "+Inf": 4})
    complaint = promtool.run([{"interval": "1s", "input_series": inputs, "promql_expr_test": [expected]}])
    assert not complaint, complaint


@st.composite
def a_senders_life(draw: st.DrawFn) -> list[Scrape]:
    """Scrapes with jitter and gaps of a sender that restarts, creates its counter late, and sends."""
    phase = draw(st.integers(2, 9))
    steps = draw(st.integers(12, 24))
    first = draw(st.integers(0, 4))
    started = float(draw(st.integers(-100, first * SCRAPE_S)))
    value: float | None = draw(st.none() | st.integers(0, 40))
    scrapes: list[Scrape] = []
    for i in range(first, steps):
        at = phase + i * SCRAPE_S + draw(st.integers(-2, 2))
        # Exactly on a step, Prometheus 2 and 3 differ in whether silence is 0 or absent: not drawn.
        at += at % SCRAPE_S == 0
        waits_for_child = bool(scrapes) and value is None and not scrapes[-1].failed
        if not waits_for_child and draw(st.integers(0, 7)) == 0:
            scrapes.append(Scrape(at, 0, None, failed=True))
            continue
        # Of two scrapes in one step only the second counts. That loses sends where the process began anew
        # between them, or where the first was the first of all: not drawn.
        before = [scrape.at for scrape in scrapes if not scrape.failed]
        own_step = not before or -(-before[-1] // SCRAPE_S) < -(-at // SCRAPE_S)
        if not own_step and len(before) == 1:
            continue
        if own_step and draw(st.integers(0, 5)) == 0:
            started, value = at - draw(st.integers(1, 9)) + 0.25, None
        if value is not None or draw(st.booleans()):
            value = (value or 0) + draw(st.integers(0, 50))
        scrapes.append(Scrape(at, started, value))
    return scrapes


def truth(scrapes: list[Scrape], after: int, until: int) -> float | None:
    """Count what the scrapes in (after, until] brought; None when none of them saw the counter."""
    total, seen = 0.0, False
    before: Scrape | None = None
    for scrape in (one for one in scrapes if not one.failed):
        step = -(-scrape.at // SCRAPE_S) * SCRAPE_S
        if scrape.value is not None and after < scrape.at <= until:
            seen = True
            if before and before.started == scrape.started:
                total += scrape.value - (before.value or 0)
            elif before or scrape.started > step - 2 * SCRAPE_S:
                total += scrape.value
        before = scrape
    return total if seen else None


@settings(max_examples=60, deadline=None)
@given(
    lives=st.lists(a_senders_life(), min_size=1, max_size=3),
    phase_ms=st.sampled_from([0, 1, 4_999, 5_000, 5_001, 7_321, 9_999]),
)
def test_windows_add_up_to_the_truth_whatever_happens(lives: list[list[Scrape]], phase_ms: int) -> None:
    inputs = [one for i, life in enumerate(lives) for one in exported(f"sender-{i}", life)]
    windows = {}
    for k in range(1, 11):
        at = k * WINDOW_S + phase_ms / 1000
        end = int((at - SCALE.delay_s) // SCRAPE_S * SCRAPE_S)
        counts = [truth(life, end - WINDOW_S, end) for life in lives]
        windows[at] = None if set(counts) == {None} else sum(count or 0 for count in counts)
    check(inputs, windows)
