"""One record per decision: whole, plain, and enough to decide again."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds.snapshots import FEATURE, HASH, NOW, at_step, changed, proven_healthy, record, window

from controller.decision.byhand import by_hand, external_change
from controller.decision.codec import decode, encode
from controller.decision.decide import decide, rejected_write
from controller.decision.feature import RolloutFeature
from controller.decision.freeze import DatedFreeze, WeeklyFreeze
from controller.decision.model import Kind, Reason, SloState, State
from controller.decision.record import manual_record, snapshot_from, state_from_dict, state_to_dict, verify
from controller.decision.sequential.clusters import Clusters, Health
from controller.decision.sequential.wallet import Wallet
from controller.store.record_json import dump
from controller.whatif.playback import Tick, course

FIELDS = {
    "id", "at", "feature", "kind", "reason", "from", "to", "findings", "evidence", "state_before", "actor",
    "dry_run", "applied", "epoch", "revision", "config_hash",
}  # fmt: skip
FINDING_FIELDS = {
    "slo", "verdict", "n", "k", "limit", "evidence_for_breach", "evidence_for_health", "needed",
}  # fmt: skip


def through_json(plain: dict[str, Any]) -> dict[str, Any]:
    back: dict[str, Any] = json.loads(dump(plain))
    return back


def by_a_person(kind: Kind, percent: float | None = None, **changes: Any) -> dict[str, Any]:
    snapshot = at_step(**changes)
    decision = by_hand(kind, snapshot.flags, snapshot.feature, snapshot.state, NOW, percent=percent)
    return manual_record(
        decision,
        snapshot.flags,
        snapshot.feature,
        snapshot.state,
        at=NOW,
        config_hash=HASH,
        decision_id="microsoft-2-b",
        actor="alice",
        note="after the incident",
        dry_run=False,
        applied="applied",
        epoch=0,
        revision=5,
    )


def test_a_record_has_every_field_that_others_read() -> None:
    held = at_step(evidence={"windows": ()})
    plain = through_json(record(held, decide(held)))
    assert plain.keys() >= FIELDS
    assert all(finding.keys() >= FINDING_FIELDS for finding in plain["findings"])
    four = {"enabled": True, "internal_only": False, "rollout_percent": 5.0, "paused": False}
    assert plain["from"] == plain["to"] == four


def test_the_floats_of_a_state_come_back_bit_for_bit() -> None:
    wallet = Wallet((0.1 + 0.2, -1e-300, 1 / 3), 1 / 7)
    health, clusters = Health(1e17 + 1, 0.3, 2.0), Clusters(0.7, 1e-300, None, 1 / 3, 0.1)
    state = replace(State(), error_rate=SloState(wallet, (-745.13,), health, clusters, 1e17 + 1, 0.3))
    assert state_from_dict(json.loads(json.dumps(state_to_dict(state), allow_nan=False))) == state


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
def test_any_finite_state_survives_json(numbers: list[float]) -> None:
    state = replace(State(), latency=SloState(Wallet(tuple(numbers))), counted_from=numbers[0])
    assert state_from_dict(json.loads(json.dumps(state_to_dict(state), allow_nan=False))) == state


@pytest.mark.parametrize("text", ["1e999", "-1e999", "NaN", '"inf"', '"nan"', "null", "1" + 400 * "0"])
@pytest.mark.parametrize("field", ["counted_from", "tests_started"])
def test_a_state_whose_numbers_cannot_be_reckoned_with_is_refused(field: str, text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        state_from_dict(json.loads(f'{{"{field}": {text}}}'))


def test_freezes_of_both_kinds_come_back() -> None:
    feature = replace(FEATURE, freezes=(WeeklyFreeze((4,), 0, 60), DatedFreeze(1.0, 2.0, "launch")))
    assert decode(RolloutFeature, json.loads(json.dumps(encode(feature)))) == feature


def test_a_state_of_an_older_version_is_still_read() -> None:
    older = state_to_dict(at_step().state)
    del older["unplaced"], older["previous_config_hash"]
    assert state_from_dict(older) == at_step().state


def test_a_value_of_no_known_kind_is_refused() -> None:
    plain = encode(replace(FEATURE, freezes=(DatedFreeze(1.0, 2.0),)))
    plain["freezes"][0]["moon"] = "full"
    with pytest.raises(ValueError, match="moon"):
        decode(RolloutFeature, plain)


def test_each_decision_of_a_course_recomputes_from_its_record_alone() -> None:
    ticks = [
        Tick(30.0 * i, 60, 0.2 if i < 150 else 5, 0.3 * (i % 7), missing=i % 11 == 5) for i in range(220)
    ]
    kinds = set()
    for snapshot, decision in course(FEATURE, ticks, config_hash=HASH, window_s=30.0, decide=decide):
        plain = through_json(record(snapshot, decision))
        assert verify(plain) == []
        assert snapshot_from(plain) == snapshot
        kinds.add(decision.kind)
    assert kinds == {Kind.HOLD, Kind.STEP_UP, Kind.PAUSE}


@pytest.mark.parametrize("step_sends", [5e-324, 2.2e-311, 1e-300, 1e-6])
def test_a_rate_too_slow_to_reckon_with_leaves_how_long_open(step_sends: float) -> None:
    seen = SloState(sends=step_sends)
    state = {"step_sends": step_sends, "error_rate": seen, "latency": seen}
    slow = at_step(state=state, evidence={"windows": ()})
    decision = decide(slow)
    assert decision.reason is Reason.GATHERING_EVIDENCE
    assert decision.more_sends is not None
    assert decision.more_s is None
    assert verify(through_json(record(slow, decision))) == []


TAMPERED: list[tuple[str, Any, str]] = [
    ("kind", "step_up", "kind"),
    ("reason", "healthy", "reason"),
    ("detail", "all is well", "detail"),
    ("config_hash", "other", "findings"),
]


@pytest.mark.parametrize(("field", "value", "seen"), TAMPERED)
def test_a_record_that_was_changed_is_found_out(field: str, value: Any, seen: str) -> None:
    snapshot = at_step(evidence={"windows": (window(150, 1),)})
    plain = through_json(record(snapshot, decide(snapshot))) | {field: value}
    assert any(difference.startswith(f"{seen}:") for difference in verify(plain))


def test_a_count_that_was_changed_is_found_out() -> None:
    plain = through_json(record(proven_healthy(), decide(proven_healthy())))
    plain["evidence"]["windows"][0]["errors"] = 400.0
    assert verify(plain)


@pytest.mark.parametrize("reason", [Reason.CONFLICT, Reason.NOT_LEADER])
def test_a_decision_that_was_not_written_recomputes_too(reason: Reason) -> None:
    snapshot = proven_healthy()
    refused = rejected_write(snapshot, decide(snapshot), reason)
    plain = through_json(record(snapshot, refused, applied="conflict"))
    assert verify(plain) == []
    assert plain["to"] == plain["from"]


@pytest.mark.parametrize(
    ("kind", "percent", "changes"),
    [
        (Kind.PAUSE, None, {}),
        (Kind.RESUME, None, {"flags": {"paused": True}}),
        (Kind.SET, 50.0, {}),
        (Kind.ENABLE, None, {"flags": {"enabled": False}}),
        (Kind.DISABLE, None, {}),
        (Kind.APPROVE, None, {"feature": {"approval_steps": (10.0, 100.0)}}),
        (Kind.APPROVE, 100.0, {"feature": {"approval_steps": (10.0, 100.0)}}),
    ],
)
def test_what_a_person_did_is_a_whole_record_too(
    kind: Kind, percent: float | None, changes: dict[str, Any]
) -> None:
    plain = through_json(by_a_person(kind, percent, **changes))
    assert plain.keys() >= FIELDS
    assert (plain["kind"], plain["reason"], plain["actor"]) == (kind, "manual", "alice")
    assert plain["evidence"] is None
    assert verify(plain) == []


def test_a_person_s_record_that_was_changed_is_found_out() -> None:
    plain = through_json(by_a_person(Kind.PAUSE))
    plain["to"]["rollout_percent"] = 100.0
    assert verify(plain)


def test_a_change_from_outside_tells_from_what_to_what() -> None:
    snapshot = at_step(flags={"rollout_percent": 50.0})
    noticed = external_change(snapshot.state, snapshot.flags)
    assert noticed is not None
    plain = through_json(record(snapshot, noticed, actor="outside"))
    assert (plain["from"]["rollout_percent"], plain["to"]["rollout_percent"]) == (5.0, 50.0)
    assert verify(plain) == []


def test_every_field_of_a_snapshot_is_in_its_record() -> None:
    """A field that is added to Snapshot and not recorded would make a decision that cannot be recomputed."""
    snapshot = changed(
        proven_healthy(), frozen="weekend", evidence={"detail": "d", "left_out_sends": 3.0, "alerts": ("A",)}
    )
    snapshot = replace(snapshot, newer=replace(snapshot.flags, revision=9))
    back = snapshot_from(through_json(record(snapshot, decide(snapshot))))
    for field in fields(snapshot):
        assert getattr(back, field.name) == getattr(snapshot, field.name), field.name
