"""Each doubt is recorded in the windows that it concerns, names its target, and is over with its cause."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from controller.alertcheck.cases.synthetic_series import Samples, Series
from controller.alertcheck.promtool import input_series, run
from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    EVIDENCE_DOUBT,
    EVIDENCE_SENDS,
    Doubt,
)
from controller.rules.evidence_rules import evidence_group
from controller.rules.model import Recording
from controller.rules.scale import Scale
from controller.rules.scope import Scope

SCALE = Scale()
SCRAPES = 60
PAIR = {"provider": "microsoft", "action": "outlook.send"}
Values = Sequence[float | None]
LONG_AGO = -9e5


class Target:
    """One target, scraped every 10 s: per scrape its start, its sends, and whether it answered."""

    def __init__(self, instance: str = "a:9100", job: str = "rollout-sender", **labels: str) -> None:
        self.labels = {"job": job, "instance": instance, **labels}
        self.started: list[float | None] = [LONG_AGO] * SCRAPES
        self.sends: list[float | None] = [10.0 * k for k in range(SCRAPES)]
        self.up: list[float | None] = [1.0] * SCRAPES
        self.errors: Values = [0.0] * SCRAPES
        self.timed_share = 1.0
        self.edges: tuple[str, ...] = ("0.5", "+Inf")
        self.of_counters: dict[str, str] = {}

    def series(self) -> list[Series]:
        child = self.labels | PAIR | self.of_counters
        timed = [None if one is None else one * self.timed_share for one in self.sends]
        return [
            Series("up", self.labels, every_ten_s(self.up)),
            Series("process_start_time_seconds", self.labels, every_ten_s(self.started)),
            Series(ACTION_EXEC_TOTAL, child | {"status": "ok"}, every_ten_s(self.sends)),
            Series(ACTION_ERROR_TOTAL, child, every_ten_s(self.errors)),
            *(
                Series(
                    f"{ACTION_LATENCY_SECONDS}_bucket",
                    child | {"status": "ok", "le": edge},
                    every_ten_s(timed),
                )
                for edge in self.edges
            ),
        ]


def every_ten_s(values: Values) -> list[float | None]:
    """Write one value per scrape; None marks the series stale."""
    nothing = float("nan")
    return [nothing] * 3 + [one for value in values for one in (value, *[nothing] * 9)]


def doubts(*targets: Target, scope: Scope | None = None) -> dict[int, set[tuple[str, str]]]:
    """Return (why, instance) of each window's doubts, by the number of the window."""
    rules = [one for one in evidence_group(SCALE, scope or Scope()).rules if one.name == EVIDENCE_DOUBT]
    every = " or ".join(
        f'label_replace({rule.expr}, "why", "{rule.labels["why"]}", "", "")'
        for rule in rules
        if isinstance(rule, Recording)
    )
    found: dict[int, set[tuple[str, str]]] = {}
    for at, labels in asked(every, targets):
        found.setdefault(at, set()).add((labels["why"], labels.get("instance", labels.get("le", ""))))
    return found


def asked(expr: str, targets: Sequence[Target]) -> list[tuple[int, Mapping[str, str]]]:
    """Ask at the end of each window, by expecting nothing: promtool then says what there is."""
    windows = range(1, SCRAPES // 3)
    samples = Samples(1.0, tuple(series for target in targets for series in target.series()))
    checks: list[dict[str, Any]] = [
        {"expr": expr, "eval_time": f"{30 * k + 6}s", "exp_samples": []} for k in windows
    ]
    test = {"interval": "1s", "input_series": input_series(samples), "promql_expr_test": checks}
    complaints = run({"rule_files": [], "evaluation_interval": "30s", "tests": [test]}, "promtool")
    return [
        ((one.at_ms - 6000) // 30_000, json.loads("{" + labels.replace("=", ":") + "}"))
        for one in complaints
        for labels in label_sets(one.got)
    ]


def label_sets(got: str) -> list[str]:
    """Read the label sets of promtool's `got: [Labels:{a="b"} Value: 1E+00, ...]`, with names quoted."""
    sets = [part.partition("}")[0] for part in got.partition("got:")[2].split("{")[1:]]
    return [
        ",".join(f'"{name}"={value}' for name, _, value in (pair.partition("=") for pair in one.split(", ")))
        for one in sets
    ]


def test_a_healthy_sender_is_doubted_only_when_it_is_met() -> None:
    assert doubts(Target()) == {1: {("met", "a:9100")}}


def test_workers_behind_one_address_are_several_while_they_alternate_and_ten_windows_after() -> None:
    target = Target()
    for k in range(10, 20):
        target.started[k] = LONG_AGO + k % 2
        target.sends[k] = 90_000.0 * (k % 2) + k
    found = doubts(target)
    assert [k for k in found if ("several", "a:9100") in found[k]] == list(range(5, 17))


def test_workers_that_began_at_once_are_several_by_their_counters() -> None:
    target = Target()
    for k in range(10, 20):
        target.sends[k] = 90_000.0 * (k % 2) + k
    found = doubts(target)
    assert all(("several", "a:9100") in found[k] for k in range(5, 16))


def test_a_restart_is_doubtful_in_its_own_window_alone() -> None:
    target = Target()
    for k in range(31, SCRAPES):
        target.started[k], target.sends[k] = 10.0 * 31 + 1, 10.0 * (k - 31)
    assert doubts(target) == {1: {("met", "a:9100")}, 11: {("restarted", "a:9100")}}


def test_a_new_label_is_a_target_that_is_gone_and_one_that_is_met() -> None:
    before, after = Target(), Target(pod="mail-7")
    before.up[30:] = before.started[30:] = before.sends[30:] = before.errors = [None] * 30
    before.errors = [0.0] * 30 + [None] * 30
    after.up[:30] = after.started[:30] = after.sends[:30] = [None] * 30
    after.errors = [None] * 30 + [0.0] * 30
    found = doubts(before, after)
    assert {k: {why for why, _ in found[k]} for k in found} == {1: {"met"}, 11: {"met", "gone"}}


def test_a_failed_scrape_is_doubtful_in_the_windows_that_it_reaches_into() -> None:
    target = Target()
    target.up[31], target.started[31], target.sends[31] = 0.0, None, None
    assert doubts(target) == {1: {("met", "a:9100")}, 11: {("failed", "a:9100")}}


def test_a_target_that_is_scraped_once_a_minute_is_late_in_every_window() -> None:
    target = Target()
    nothing = float("nan")
    for values in (target.up, target.started, target.sends):
        values[:] = [one if k % 6 == 0 else nothing for k, one in enumerate(values)]
    found = doubts(target)
    assert all(("late", "a:9100") in found[k] for k in range(2, 18))


def test_an_edge_that_one_of_two_senders_has_not_is_doubtful_and_one_that_both_have_is_not() -> None:
    old, new = Target("a:9100"), Target("b:9100")
    new.edges = ("0.5", "0.7", "+Inf")
    found = doubts(old, new)
    assert all(found[k] - {("met", "a:9100"), ("met", "b:9100")} == {("edge", "0.7")} for k in range(1, 18))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, 1.03, 2.0])
def test_sends_that_are_not_all_timed_are_unequal(share: float) -> None:
    target = Target()
    target.sends = [1000.0 * k for k in range(SCRAPES)]
    target.timed_share = share
    assert ("unequal", "a:9100") in doubts(target)[10]


def test_more_failed_sends_than_sends_are_unequal() -> None:
    target = Target()
    target.errors = [20.0 * k for k in range(SCRAPES)]
    assert ("unequal", "a:9100") in doubts(target)[10]


def test_counters_with_a_label_that_their_target_has_not_are_named_and_not_counted() -> None:
    target = Target()
    target.of_counters = {"pool": "x"}
    assert ("labels", "a:9100") in doubts(target)[10]
    sends = next(rule.expr for rule in evidence_group(SCALE).rules if rule.name == EVIDENCE_SENDS)
    assert asked(f"({sends}) > 0", [target]) == []


def test_two_targets_of_one_instance_are_told_apart_by_their_other_labels() -> None:
    steady, restarted = Target(cluster="a"), Target(cluster="b")
    for k in range(31, SCRAPES):
        restarted.started[k], restarted.sends[k] = 10.0 * 31 + 1, 10.0 * (k - 31)
    assert doubts(steady, restarted)[11] == {("restarted", "a:9100")}


def test_what_is_outside_the_scope_is_in_no_doubt() -> None:
    ours, staging, another = Target(env="prod"), Target("b:9100", env="staging"), Target("c:9100", job="x")
    for other in (staging, another):
        other.up[31] = 0.0
    found = doubts(ours, staging, another, scope=Scope(labels=(("env", "prod"),)))
    assert {instance for some in found.values() for _, instance in some} == {"a:9100"}


def test_every_doubt_has_a_rule() -> None:
    rules = [one for one in evidence_group(SCALE).rules if one.name == EVIDENCE_DOUBT]
    assert [rule.labels["why"] for rule in rules] == [doubt.value for doubt in Doubt]
