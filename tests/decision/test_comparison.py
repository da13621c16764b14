"""With `delta` a feature that is proven worse than its reference takes no step up, limit or not."""

from dataclasses import replace
from functools import cache
from math import log
from random import Random

import pytest
from kit.examples import share_of
from msgspec import UNSET
from worlds.snapshots import FEATURE, at_step, changed, record, window

from controller.decision.byhand import by_hand
from controller.decision.codec import encode
from controller.decision.decide import decide
from controller.decision.feature import RolloutFeature
from controller.decision.model import Decision, Kind, Reason, Snapshot
from controller.decision.record import state_from_dict, state_to_dict, verify
from controller.decision.sequential.relative import RATIOS, relative_bets
from controller.decision.telling.common_cause import reference_of
from controller.features import config_hash
from controller.whatif.playback import Tick, course
from controller.whatif.simulate import binomial

GOOGLE = RolloutFeature("google", "google", "gmail.send")
COMPARED = replace(FEATURE, reference="google", delta=1.5, steps=(50.0, 100.0))
WINDOW_S = 10.0


def ramp(
    own: float, other: float, *, feature: RolloutFeature = COMPARED, seed: int = 1, hours: float = 0.5
) -> list[tuple[Snapshot, Decision]]:
    """Return a ramp at 5 sends a second of each, with these rates."""
    rng, n = Random(seed), 50
    ticks = [Tick(0.0, reference=(0.0, 0.0))] + [
        Tick(WINDOW_S * i, n, binomial(rng, n, own), 0, reference=(n, binomial(rng, n, other)))
        for i in range(1, int(hours * 3600 / WINDOW_S))
    ]
    return list(course(feature, ticks, config_hash="c", window_s=WINDOW_S, decide=decide, reference=GOOGLE))


def reasons(ended: list[tuple[Snapshot, Decision]]) -> set[Reason]:
    return {decision.reason for _, decision in ended}


def test_a_feature_within_its_limit_and_nine_times_as_bad_as_its_reference_is_held_and_told() -> None:
    ended = ramp(0.009, 0.001)
    held = [one for one in ended if one[1].reason is Reason.WORSE_THAN_REFERENCE]
    assert held
    assert not any(decision.kind is Kind.PAUSE for _, decision in ended)
    assert ended[-1][1].flags.rollout_percent == 50
    snapshot, decision = held[-1]
    assert decision.kind is Kind.HOLD
    assert "proven to fail more than 1.5 x as often as google" in decision.detail
    assert verify(record(snapshot, decision)) == []


@pytest.mark.parametrize(("own", "other"), [(0.003, 0.003), (0.003, 0.002), (0.001, 0.009)])
def test_a_feature_that_is_no_worse_than_delta_allows_goes_on(own: float, other: float) -> None:
    ended = ramp(own, other)
    assert Reason.WORSE_THAN_REFERENCE not in reasons(ended)
    assert ended[-1][1].flags.rollout_percent == 100


def test_a_cause_that_both_share_is_no_reason_to_hold_whatever_it_does() -> None:
    rng = Random(3)
    ticks = [Tick(0.0, reference=(0.0, 0.0))]
    for number in range(1, 300):
        rate = 0.004 * rng.choice((0.0, 0.1, 1.0, 5.0))
        errors, others = binomial(rng, 50, rate), binomial(rng, 400, rate)
        ticks.append(Tick(WINDOW_S * number, 50, errors, 0, reference=(400, others)))
    loose = replace(COMPARED, slo_error_rate_threshold=0.2)
    ended = list(course(loose, ticks, config_hash="c", window_s=WINDOW_S, reference=GOOGLE))
    assert Reason.WORSE_THAN_REFERENCE not in reasons(ended)


def test_the_hold_ends_when_the_feature_is_as_good_as_its_reference_again() -> None:
    worse = ramp(0.009, 0.001)[-1][1]
    assert worse.reason is Reason.WORSE_THAN_REFERENCE
    state, freed = worse.state, 0
    for number in range(1, 2000):
        at = 1e4 + WINDOW_S * number
        one = window(500, 0, at=at)
        evidence = replace(at_step().evidence, now=at, windows=(one,), judged_to=at)
        beside = reference_of(GOOGLE, replace(evidence, windows=(replace(one, errors=5.0),)), compared=True)
        snapshot = Snapshot(at, COMPARED, worse.flags, evidence, state, "c", WINDOW_S, reference=beside)
        decision = decide(snapshot)
        if decision.kind is Kind.STEP_UP:
            freed = number
            break
        state = decision.state
    assert 0 < freed < 30


def test_a_blip_of_failures_alone_never_holds() -> None:
    ticks = [Tick(WINDOW_S * i, 50, 0, 0, reference=(50, 0)) for i in range(20)]
    ticks[10:12] = [replace(one, errors=25.0) for one in ticks[10:12]]
    loose = replace(COMPARED, slo_error_rate_threshold=0.3)
    decided = course(loose, ticks, config_hash="c", window_s=WINDOW_S, reference=GOOGLE)
    assert Reason.WORSE_THAN_REFERENCE not in reasons(list(decided))


def test_at_most_alpha_of_the_ramps_at_delta_times_the_reference_are_ever_held() -> None:
    many = share_of(600, 12)
    held = sum(
        Reason.WORSE_THAN_REFERENCE in reasons(ramp(0.006, 0.004, seed=seed, hours=1)) for seed in range(many)
    )
    assert held <= max(2, 0.05 * many)


def test_a_bet_at_delta_times_the_reference_is_fair_for_any_rates_and_sizes() -> None:
    rng = Random(5)
    for n, m, q in ((50, 50, 0.004), (5, 500, 0.02), (200, 20, 0.3)):
        p = min(1.5 * q, 1.0)
        worth = [0.0] * len(RATIOS)
        for _ in range(4000):
            own, other = (n, binomial(rng, n, p)), (m, binomial(rng, m, q))
            bets = relative_bets((own[0], own[1]), (other[0], other[1]), 1.5, 1.0)
            worth = [held + min(2.718281828**bet, 1e6) for held, bet in zip(worth, bets, strict=True)]
        # the lowest ratio alone: the others are won too rarely to be averaged
        assert worth[0] / 4000 < 1.1


def test_without_delta_neither_state_nor_record_nor_configuration_says_anything_of_it() -> None:
    snapshot = at_step(feature={"reference": "google"}, reference=reference_of(GOOGLE, at_step().evidence))
    decision = decide(snapshot)
    assert "comparison" not in state_to_dict(decision.state)
    written = record(snapshot, decision)
    assert "windows" not in written["reference"]
    assert "delta" not in written["config"]


def test_the_comparison_survives_a_restart_and_another_reference_begins_it_again() -> None:
    state = ramp(0.009, 0.001)[-1][1].state
    assert state_from_dict(encode(state)) == state
    beside = reference_of(replace(GOOGLE, name="aws"), at_step().evidence, compared=True)
    other = decide(
        changed(at_step(), state={"comparison": state.comparison}, feature=COMPARED, reference=beside)
    )
    assert other.state.comparison
    assert other.state.comparison.reference == "aws"
    assert other.state.comparison.wallet.evidence() < log(2)


@cache
def worse_ramp() -> tuple[Snapshot, Decision]:
    return ramp(0.009, 0.001)[-1]


def held_snapshot(**feature: object) -> Snapshot:
    """Return a held feature at its next tick, with windows of its own and a reference that is silent."""
    snapshot, worse = worse_ramp()
    assert worse.reason is Reason.WORSE_THAN_REFERENCE
    changes = {"feature": replace(COMPARED, **feature), "state": worse.state, "reference": None}  # type: ignore[arg-type]
    return changed(snapshot, **changes, config_hash=worse.state.config_hash)


def test_a_hold_says_how_it_ends_and_lasts_while_its_reference_is_silent() -> None:
    decision = decide(held_snapshot())
    assert decision.reason is Reason.WORSE_THAN_REFERENCE
    assert "ends when new sends of both say otherwise, or a person pauses and resumes" in decision.detail


@pytest.mark.parametrize("changed_to", [{"delta": 50.0}, {"reference": "aws"}])
def test_a_raised_delta_and_another_reference_are_read_at_once_though_the_reference_is_silent(
    changed_to: dict[str, object],
) -> None:
    assert decide(held_snapshot(**changed_to)).reason is not Reason.WORSE_THAN_REFERENCE


def test_what_is_proven_for_a_delta_stays_proven_for_a_lower_one() -> None:
    silent = decide(held_snapshot(delta=1.2))
    assert silent.reason is Reason.WORSE_THAN_REFERENCE
    snapshot = held_snapshot(delta=1.2)
    beside = reference_of(GOOGLE, snapshot.evidence, compared=True)
    told = decide(changed(snapshot, reference=beside))
    assert told.reason is Reason.WORSE_THAN_REFERENCE
    assert "more than 1.2 x as often as google" in told.detail


def test_a_comparison_that_is_switched_off_and_on_again_stakes_only_the_cash_that_is_left() -> None:
    on = held_snapshot()
    off = decide(changed(on, feature={"delta": UNSET})).state
    assert off.comparison
    assert off.comparison.wallet.bets == ()
    beside = reference_of(GOOGLE, on.evidence, compared=True)
    again = decide(changed(on, state=off, reference=beside)).state.comparison
    assert again
    assert again.wallet.cash < off.comparison.wallet.cash < 1


@pytest.mark.parametrize("again", [Kind.RESUME, Kind.ENABLE])
def test_a_ramp_that_begins_again_from_zero_is_not_held_by_what_an_earlier_one_proved(again: Kind) -> None:
    held = held_snapshot()
    stopped = by_hand(Kind.SET, held.flags, COMPARED, held.state, held.now, percent=0.0)
    begun = by_hand(again, stopped.flags, COMPARED, stopped.state, held.now)
    first = decide(changed(held, flags=begun.flags, state=begun.state))
    assert (first.kind, first.reason) == (Kind.STEP_UP, Reason.FIRST_STEP)
    assert first.state.comparison is UNSET


def test_metrics_with_a_problem_are_not_compared() -> None:
    doubtful = replace(at_step().evidence, problem=Reason.METRICS_INCOMPLETE)
    assert not reference_of(GOOGLE, doubtful, compared=True).windows


def test_delta_is_no_part_of_what_a_ramp_is_weighed_by() -> None:
    assert config_hash(COMPARED) == config_hash(replace(COMPARED, delta=3.0))
