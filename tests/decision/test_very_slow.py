"""A limit of very slow sends: what a p95 does not see, 4.9 % of the sends that hang, breaches it."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner
from kit.examples import share_of
from msgspec import UNSET
from worlds.snapshots import FEATURE, at_step, changed, record, window

from controller.cli import rollout
from controller.decision.byhand import by_hand
from controller.decision.codec import encode
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.judging.judge import feature_tests
from controller.decision.model import Decision, Kind, Reason, Snapshot, State
from controller.decision.ramp import begin_ramp
from controller.decision.record import state_from_dict, verify
from controller.features import config_hash
from controller.whatif.playback import Tick, course
from controller.whatif.simulate import Traffic, binomial, ramp

JUDGED = replace(FEATURE, slo_very_slow_threshold=0.01)
WINDOW_S = 10.0


def slow_ramp(
    feature: RolloutFeature, slow: float, very_slow: float, *, seed: int = 1, hours: float = 1.0
) -> list[tuple[Snapshot, Decision]]:
    """Return a ramp at 5 sends a second without failures, of which so many are slow and very slow."""
    rng, n = Random(seed), 50
    ticks = [Tick(0.0, very_slow=0.0)]
    for number in range(1, int(hours * 3600 / WINDOW_S)):
        of_all = binomial(rng, n, slow)
        far = binomial(rng, of_all, very_slow / slow)
        ticks.append(Tick(WINDOW_S * number, n, 0, of_all, very_slow=far))
    return list(course(feature, ticks, config_hash="v", window_s=WINDOW_S, decide=decide))


def pauses(ended: list[tuple[Snapshot, Decision]]) -> list[tuple[Snapshot, Decision]]:
    return [one for one in ended if one[1].kind is Kind.PAUSE]


def test_sends_that_hang_below_five_in_a_hundred_pause_where_very_slow_ones_are_judged() -> None:
    assert pauses(slow_ramp(FEATURE, 0.045, 0.045)) == []
    [(snapshot, decision)] = pauses(slow_ramp(JUDGED, 0.045, 0.045))
    assert decision.reason is Reason.SLO_VERY_SLOW
    assert "sends took over 4 x the p95 limit" in decision.detail
    assert [finding.slo for finding in decision.findings] == ["error_rate", "latency", "very_slow"]
    assert verify(record(snapshot, decision)) == []


def test_a_healthy_ramp_takes_no_longer_with_it() -> None:
    def complete_at(ended: list[tuple[Snapshot, Decision]]) -> float:
        return next(s.now for s, d in ended if d.reason is Reason.COMPLETE)

    with_it, without = (slow_ramp(one, 0.015, 0.002, hours=3) for one in (JUDGED, FEATURE))
    assert complete_at(with_it) <= complete_at(without) + 600


def test_alpha_is_shared_by_three_so_that_the_limit_of_each_kept_pauses_seldom_enough() -> None:
    many = share_of(400, 8)
    paused = sum(bool(pauses(slow_ramp(JUDGED, 0.05, 0.01, seed=seed, hours=2))) for seed in range(many))
    assert paused <= max(2, 0.05 * many)


def test_windows_that_do_not_tell_very_slow_sends_prove_nothing_of_them() -> None:
    ticks = [Tick(WINDOW_S * number, 50, 0, 0) for number in range(300)]
    ended = list(course(JUDGED, ticks, config_hash="v", window_s=WINDOW_S))
    assert ended[-1][1].flags.rollout_percent == 1.0
    assert ended[-1][1].reason is Reason.GATHERING_EVIDENCE


def test_without_the_limit_neither_state_nor_record_nor_hash_knows_of_it() -> None:
    snapshot = at_step()
    written = record(snapshot, decide(snapshot))
    assert "very_slow" not in json.dumps(written)
    assert config_hash(FEATURE) != config_hash(JUDGED)


def test_a_limit_that_is_set_in_the_middle_of_a_ramp_begins_with_the_cash_that_is_left() -> None:
    before = slow_ramp(FEATURE, 0.015, 0.002, hours=0.5)[-1][1].state
    begun = begin_ramp(before, JUDGED, before.flags, 2000.0, "other")
    assert begun.very_slow
    assert begun.very_slow.wallet.cash == begun.error_rate.wallet.cash < before.error_rate.wallet.cash
    assert state_from_dict(encode(begun)) == begun
    left = begin_ramp(begun, FEATURE, begun.flags, 2000.0, "third")
    assert left.very_slow is UNSET


@cache
def running(feature: RolloutFeature) -> tuple[Snapshot, Decision]:
    return slow_ramp(feature, 0.004, 0.002, hours=0.5)[-1]


@pytest.mark.parametrize("kind", [Kind.SET, Kind.RESUME, Kind.OPEN, Kind.CLOSE])
@pytest.mark.parametrize("theirs", [{"slo_very_slow_threshold": UNSET}, {"slo_error_rate_threshold": 0.0005}])
def test_a_command_whose_configuration_has_other_limits_takes_no_slo_from_the_controller(
    kind: Kind, theirs: dict[str, Any]
) -> None:
    snapshot, before = running(JUDGED)
    person = replace(JUDGED, **theirs)
    flags = replace(before.flags, paused=kind is Kind.RESUME, internal_only=kind is Kind.OPEN)
    state = replace(before.state, flags=flags)
    done = by_hand(kind, flags, person, state, snapshot.now, percent=5.0 if kind is Kind.SET else None)
    read = changed(snapshot, flags=done.flags, state=done.state, feature=JUDGED)
    decision = decide(read)
    assert [finding.slo for finding in decision.findings] == ["error_rate", "latency", "very_slow"]
    assert decision.state.very_slow
    assert decision.state.error_rate.wallet.cash < before.state.error_rate.wallet.cash
    assert verify(record(read, decision)) == []
    hanging = ({"at": snapshot.now + WINDOW_S * i, "very_slow": 3.0, "slow": 3.0} for i in range(1, 60))
    reasons = set()
    for one in hanging:
        evidence = replace(
            snapshot.evidence, now=one["at"], windows=(window(50, **one),), judged_to=one["at"]
        )
        decision = decide(changed(read, now=one["at"], evidence=evidence, state=decision.state))
        reasons.add(decision.reason)
        if decision.kind is Kind.PAUSE:
            break
    assert Reason.SLO_VERY_SLOW in reasons


def test_a_limit_that_only_a_person_has_begins_nothing_again() -> None:
    snapshot, before = running(FEATURE)
    done = by_hand(Kind.SET, before.flags, JUDGED, before.state, snapshot.now, percent=25.0)
    decision = decide(changed(snapshot, flags=done.flags, state=done.state))
    assert [finding.slo for finding in decision.findings] == ["error_rate", "latency"]
    assert decision.state.error_rate.wallet == done.state.error_rate.wallet


def test_tests_without_the_limit_are_those_of_always() -> None:
    assert feature_tests(FEATURE, 10.0).very_slow is None
    assert feature_tests(JUDGED, 10.0).error_rate == feature_tests(FEATURE, 10.0).error_rate
    assert State().very_slow is UNSET


def test_a_simulated_ramp_judges_very_slow_sends_too() -> None:
    healthy = ramp(JUDGED, Traffic(50, 0.001, 0.01), seed="a", hours=6, window_s=30)
    assert healthy.completed
    hanging = ramp(JUDGED, Traffic(50, 0.001, 0.2), seed="a", hours=6, window_s=30)
    assert hanging.paused_at is not None


def test_a_replay_reads_very_slow_sends_and_asks_for_them(tmp_path: Path) -> None:
    trace, config = tmp_path / "trace.jsonl", tmp_path / "rollout.toml"
    config.write_text("[features.microsoft]\nslo_very_slow_threshold = 0.01\n")
    lines = [{"t": 30 * i, "sends": 150, "errors": 0, "slow": 6, "very_slow": 6} for i in range(60)]
    trace.write_text("\n".join(json.dumps(line) for line in lines))
    command = ["replay", "microsoft", "--trace", str(trace), "--config", str(config)]
    told = CliRunner().invoke(rollout, [*command, "--json"])
    assert '"reason":"slo_very_slow"' in told.stdout.replace(" ", "")
    trace.write_text("\n".join(json.dumps({**line, "very_slow": None}) for line in lines))
    refused = CliRunner().invoke(rollout, command)
    assert refused.exit_code == 2
    assert 'no line has "very_slow"' in refused.stderr
    trace.write_text(json.dumps({**lines[0], "very_slow": 500}))
    assert "500 very slow sends cannot be among 150" in CliRunner().invoke(rollout, command).stderr
