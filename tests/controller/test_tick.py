"""Stories of ticks under a test's clock: who wins, what is written, and what is never lost."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import fakeredis
import pytest
import redis
from structlog.testing import capture_logs

from controller.contract import EPOCH_KEY, LEASE_KEY, flag_key
from controller.decision.decide import decide
from controller.decision.freeze import DatedFreeze
from controller.decision.model import Evidence, Kind, Reason, Snapshot, Window
from controller.decision.record import record_of, verify
from controller.evidence.windows import EvidenceRequest
from controller.features import ROLLOUT_FEATURES, RolloutFeature
from controller.journal.verify import inconsistencies
from controller.loop.manual import operate
from controller.loop.tick import Controller, Report
from controller.store.flag_store import DryRunStore, FlagStore, StoreError, Write, WriteOutcome
from controller.store.lease import Lease, NoLease, RedisLease
from controller.store.record_json import dump
from controller.store.redis_store import RedisFlagStore

TICK_S = 30.0
FEATURE = ROLLOUT_FEATURES["microsoft"]


@dataclass
class Kept:
    """A journal in memory, of what a file would hold."""

    records: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, *records: Mapping[str, Any]) -> None:
        self.records += [json.loads(dump(record)) for record in records]


@dataclass
class Weather:
    """A source whose every window is as a story says; `meanwhile` happens while it is read."""

    sends: float = 300.0
    errors: float = 0.0
    problem: Reason | None = None
    ahead_s: float = 0.0
    """How far its clock is ahead of the controller's."""
    meanwhile: Callable[[], object] = lambda: None

    def read(
        self, questions: Sequence[EvidenceRequest], now: float, deadline_s: float
    ) -> dict[str, Evidence]:
        self.meanwhile()
        return {question.feature.name: self._evidence(question, now + self.ahead_s) for question in questions}

    def _evidence(self, question: EvidenceRequest, now: float) -> Evidence:
        if self.problem is Reason.METRICS_UNREACHABLE:
            return Evidence(now=now, judged_to=question.state.judged_to, problem=self.problem, detail="away")
        window = Window(at=now, sends=self.sends, errors=self.errors, timed=self.sends, slow=0.0)
        fresh = question.state.judged_to and now - TICK_S >= question.state.counted_from
        return Evidence(now=now, windows=(window,) if fresh else (), judged_to=now, problem=self.problem)


@dataclass
class Story:
    """One controller on a Redis in memory, and its clock."""

    client: redis.Redis
    weather: Weather = field(default_factory=Weather)
    now: float = 1_000_000.0
    kept: Kept = field(default_factory=Kept)
    features: Mapping[str, RolloutFeature] = field(default_factory=lambda: {"microsoft": FEATURE})

    @property
    def store(self) -> RedisFlagStore:
        return RedisFlagStore(self.client)

    def controller(
        self, *, store: FlagStore | None = None, lease: Lease | None = None, dry: bool = False
    ) -> Controller:
        return Controller(
            self.features,
            store=store or self.store,
            source=self.weather,
            lease=lease or RedisLease(self.client, lease_s=90, monotonic=lambda: self.now),
            journal=self.kept,
            wall=lambda: self.now,
            monotonic=lambda: self.now,
            window_s=TICK_S,
            deadline_s=20,
            dry_run=dry,
        )

    def ticks(self, controller: Controller, count: int = 1) -> Report:
        report = Report()
        for _ in range(count):
            self.now += TICK_S
            report = controller.tick()
            assert not report.error
        return report

    def person(self, kind: Kind, percent: float | None = None) -> dict[str, Any]:
        feature = self.features["microsoft"]
        return operate(
            self.store, self.kept, feature, kind, actor="ann", note="why", now=self.now, percent=percent
        )

    def edit(self, **flags: str) -> None:
        """Edit flags as redis-cli would."""
        for name, text in flags.items():
            self.client.set(flag_key("microsoft", name), text)

    def texts(self) -> tuple[str | None, ...]:
        return self.store.read(["microsoft"])[0].texts

    def history(self) -> list[dict[str, Any]]:
        return list(self.store.history("microsoft"))


@pytest.fixture
def story() -> Story:
    return Story(cast("redis.Redis", fakeredis.FakeStrictRedis(decode_responses=True, version=(7, 0))))


@pytest.mark.parametrize("ahead_s", [86_400.0, 0.0, -86_400.0])
def test_a_clock_that_was_set_leads_out_of_no_freeze(story: Story, ahead_s: float) -> None:
    day = DatedFreeze(story.now + ahead_s, story.now + ahead_s + 3600, "launch")
    story.weather.ahead_s = ahead_s
    story.features = {"microsoft": replace(FEATURE, freezes=(day,))}
    story.person(Kind.ENABLE)
    story.ticks(story.controller(), 3)
    assert {record["reason"] for record in story.history() if record["kind"] == "hold"} == {"frozen"}
    assert story.texts()[2] == "0"


def test_a_healthy_feature_climbs_to_100_percent_one_step_at_a_time(story: Story) -> None:
    controller = story.controller()
    story.ticks(controller)
    story.person(Kind.ENABLE)
    story.ticks(controller, 140)
    ups = [record["to"]["rollout_percent"] for record in story.history() if record["kind"] == "step_up"]
    assert ups == [1, 5, 10, 25, 50, 100]
    assert story.texts() == ("true", "true", "100", "false")
    assert story.history()[-1]["reason"] == "complete"


def test_every_tick_makes_one_record_per_feature_in_stream_and_journal(story: Story) -> None:
    story.features = ROLLOUT_FEATURES
    story.ticks(story.controller(), 5)
    assert len(story.history()) == 5
    assert len(list(story.store.history("google"))) == 5
    assert [r for r in story.kept.records if r["feature"] == "microsoft"] == story.history()


def test_every_record_of_a_ramp_can_be_decided_again_with_the_same_outcome(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 60)
    story.weather.errors = 60
    story.ticks(controller, 5)
    story.weather.errors = 0
    story.person(Kind.RESUME)
    story.edit(rollout_percent="7")
    story.ticks(controller, 40)
    kinds = {record["kind"] for record in story.history()}
    assert kinds >= {"enable", "step_up", "hold", "pause", "resume", "external_change"}
    assert [verify(record) for record in story.history()] == [[]] * len(story.history())


def test_a_breach_pauses_and_stays_paused_until_a_person_resumes(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 10)
    story.weather.errors = 200
    story.ticks(controller)
    assert story.texts()[3] == "true"
    story.weather.errors = 0
    story.ticks(controller, 100)
    assert story.texts() == ("true", "true", "1", "true")
    story.person(Kind.RESUME)
    story.ticks(controller, 60)
    assert story.texts()[2] != "1"


def test_a_persons_pause_during_a_tick_wins(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.weather.meanwhile = lambda: story.edit(paused="true")
    story.ticks(controller)
    assert story.texts() == ("true", "true", "0", "true")
    refused = story.history()[-1]
    assert (refused["kind"], refused["reason"], refused["applied"]) == ("hold", "conflict", "conflict")
    assert verify(refused) == []


def test_a_hand_edit_is_recorded_as_a_change_from_outside_and_obeyed(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 3)
    revision = story.history()[-1]["revision"]
    story.edit(paused="true")
    story.ticks(controller, 2)
    change, hold, _ = story.history()[-3:]
    assert (change["kind"], change["actor"], change["from"]["paused"]) == (
        "external_change",
        "outside",
        False,
    )
    assert change["to"]["paused"]
    assert (hold["kind"], hold["reason"]) == ("hold", "paused")
    assert hold["revision"] == revision


def test_a_hand_edit_that_a_person_undoes_before_a_tick_is_recorded_too(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 2)
    story.client.set(flag_key("microsoft", "paused"), "true")
    story.person(Kind.RESUME)
    story.ticks(controller)
    edited, resumed, hold = story.history()[-3:]
    assert [edited["kind"], edited["actor"], resumed["kind"], hold["kind"]] == [
        "external_change",
        "outside",
        "resume",
        "hold",
    ]
    assert [record["to"]["paused"] for record in (edited, resumed, hold)] == [True, False, False]
    assert [verify(record) for record in (edited, resumed)] == [[], []]
    assert list(inconsistencies(story.history())) == []


def test_a_hand_edit_before_an_approval_is_recorded_once(story: Story) -> None:
    feature = replace(FEATURE, approval_steps=(25.0,))
    story.features = {"microsoft": feature}
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 3)
    story.edit(rollout_percent="10")
    story.person(Kind.APPROVE, percent=25.0)
    story.ticks(controller, 2)
    assert [record["kind"] for record in story.history()].count("external_change") == 1
    assert list(inconsistencies(story.history())) == []
    assert story.history() == story.kept.records


@pytest.mark.parametrize("place", ["controller.loop.tick.decide", "controller.loop.writes.record_of"])
def test_a_mistake_in_one_feature_keeps_no_other_from_being_decided(
    story: Story, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    story.features = {"google": replace(FEATURE, name="google"), "microsoft": FEATURE}
    controller = story.controller()
    story.person(Kind.ENABLE)
    right = decide if place.endswith("decide") else record_of

    def mistaken(snapshot: Snapshot, *args: Any, **named: Any) -> Any:
        if snapshot.feature.name == "google":
            raise ArithmeticError("a mistake of ours")
        return right(snapshot, *args, **named)

    monkeypatch.setattr(place, mistaken)
    with capture_logs() as logs:
        report = story.ticks(controller, 3)
    assert [record["feature"] for record in report.records] == ["microsoft"]
    assert [line["feature"] for line in logs if line["event"] == "decision_failed"] == ["google"]


def test_a_log_that_cannot_be_written_to_keeps_no_feature_from_being_decided(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.features = {"google": replace(FEATURE, name="google"), "microsoft": FEATURE}
    controller = story.controller()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("controller.loop.tick.decide", full)
    monkeypatch.setattr(controller, "_log", SimpleNamespace(error=full))
    assert story.ticks(controller, 2).error == ""
    monkeypatch.setattr("controller.loop.tick.decide", decide)
    assert len(story.ticks(controller, 1).records) == 2


def test_an_act_that_changes_nothing_breaks_no_chain_of_revisions(story: Story) -> None:
    controller = story.controller()
    for kind in (Kind.ENABLE, Kind.RESUME, Kind.PAUSE, Kind.PAUSE, Kind.RESUME, Kind.ENABLE):
        story.person(kind)
        story.ticks(controller)
    by_hand = [record for record in story.history() if record["actor"] == "ann"]
    assert len(by_hand) == 6
    assert list(inconsistencies(story.history())) == []


def test_unreachable_metrics_hold_and_forget_nothing(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 8)
    percent = story.texts()[2]
    story.weather.problem = Reason.METRICS_UNREACHABLE
    story.ticks(controller, 50)
    assert {record["reason"] for record in story.history()[-50:]} == {"metrics_unreachable"}
    assert story.texts()[2] == percent
    story.weather.problem = None
    story.ticks(controller, 30)
    assert story.texts()[2] != percent


@pytest.mark.parametrize(
    "problem", [Reason.METRICS_STALE, Reason.METRICS_INCOMPLETE, Reason.METRICS_UNREACHABLE]
)
def test_no_step_is_taken_while_metrics_are_unusable(story: Story, problem: Reason) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 2)
    story.weather.problem = problem
    story.ticks(controller, 100)
    assert story.texts()[2] == "1"


def test_a_restart_goes_on_bit_for_bit(story: Story) -> None:
    story.weather.errors = 1
    story.person(Kind.ENABLE)
    story.ticks(story.controller(), 6)
    restarted = Story(story.client, replace(story.weather), story.now)
    lease = RedisLease(story.client, lease_s=90, monotonic=lambda: story.now)
    story.client.delete(LEASE_KEY)
    [stored] = story.store.read(["microsoft"])
    restarted.ticks(restarted.controller(lease=lease), 1)
    assert story.history()[-1]["state_before"] == json.loads(stored.state or "")


def test_a_standby_writes_nothing_while_all_is_well(story: Story) -> None:
    leader, standby = story.controller(), story.controller()
    story.person(Kind.ENABLE)
    story.ticks(leader)
    count = len(story.history())
    assert not standby.tick().leader
    assert len(story.history()) == count


def test_a_standby_pauses_when_the_leader_does_not(story: Story) -> None:
    leader, standby = story.controller(), story.controller()
    story.person(Kind.ENABLE)
    story.ticks(leader, 5)
    story.weather.errors = 250
    story.now += TICK_S
    story.client.pexpire(LEASE_KEY, 60_000)
    standby.tick()
    assert story.texts()[3] == "true"


def test_a_standby_with_another_configuration_pauses_on_harm_that_its_own_proves(story: Story) -> None:
    strict = replace(FEATURE, slo_error_rate_threshold=0.01)
    story.features = {"microsoft": replace(FEATURE, slo_error_rate_threshold=0.3)}
    leader = story.controller()
    story.features = {"microsoft": strict}
    standby = story.controller()
    story.person(Kind.ENABLE)
    story.weather.errors = 12
    for _ in range(8):
        story.ticks(leader)
        story.client.pexpire(LEASE_KEY, 60_000)
        assert not standby.tick().leader
    assert story.texts()[3] == "true"
    [pause] = [record for record in story.history() if record["kind"] == "pause"]
    assert (pause["reason"], pause["config"]["slo_error_rate_threshold"]) == ("slo_error_rate", 0.01)
    assert verify(pause) == []
    assert not [record for record in story.history() if record["kind"] == "external_change"]


def test_a_leader_that_slept_through_its_lease_is_refused_and_stands_down(story: Story) -> None:
    sleeper, other = story.controller(), story.controller()
    story.person(Kind.ENABLE)

    def sleep() -> None:
        story.weather.meanwhile = lambda: None
        story.client.delete(LEASE_KEY)
        other.tick()

    story.weather.meanwhile = sleep
    story.now += TICK_S
    sleeper.tick()
    assert story.client.get(EPOCH_KEY) == "2"
    assert story.texts()[2] == "1"
    assert len([r for r in story.history() if r["kind"] == "step_up"]) == 1
    assert not sleeper.tick().leader


def test_an_answer_that_is_lost_is_asked_for_again_and_written_once(story: Story) -> None:
    class Lossy(RedisFlagStore):
        lost = False

        def write(self, writes: Iterable[Write]) -> list[WriteOutcome]:
            outcomes = super().write(writes)
            if not Lossy.lost:
                Lossy.lost = True
                raise StoreError("Redis: TimeoutError")
            return outcomes

    story.person(Kind.ENABLE)
    story.ticks(story.controller(store=Lossy(story.client)))
    assert story.texts()[2] == "1"
    assert [r["kind"] for r in story.history()] == ["enable", "step_up"]


def test_a_redis_that_is_away_is_told_and_nothing_is_raised(story: Story) -> None:
    class Away(RedisFlagStore):
        def read(self, features: Sequence[str]) -> list[Any]:
            raise StoreError("Redis: ConnectionError")

    report = story.controller(store=Away(story.client)).tick()
    assert "Redis" in report.error
    assert report.records == ()


def test_a_dry_run_changes_no_key_and_still_adds_up_evidence(story: Story) -> None:
    story.person(Kind.ENABLE)
    story.person(Kind.SET, 1)
    before = {key: story.client.dump(key) for key in sorted(cast("list[str]", story.client.keys("*")))}
    dry = story.controller(store=DryRunStore(story.store), lease=NoLease(), dry=True)
    report = story.ticks(dry, 30)
    assert {
        key: story.client.dump(key) for key in sorted(cast("list[str]", story.client.keys("*")))
    } == before
    [record] = report.records
    assert (record["kind"], record["applied"], record["dry_run"]) == ("step_up", "skipped", True)


def test_a_pause_that_was_lost_with_its_key_stays_a_pause(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 3)
    story.person(Kind.PAUSE)
    story.ticks(controller)
    story.client.delete(flag_key("microsoft", "paused"))
    story.ticks(controller, 2)
    assert story.texts()[3] == "true"


def test_a_redis_that_was_emptied_starts_closed(story: Story) -> None:
    controller = story.controller()
    story.person(Kind.ENABLE)
    story.ticks(controller, 3)
    story.client.flushall()
    story.ticks(controller, 3)
    assert story.texts()[:3] == ("false", "true", "0")


def test_a_persons_acts_are_records_with_name_and_reason(story: Story) -> None:
    story.ticks(story.controller())
    for kind in (Kind.ENABLE, Kind.PAUSE, Kind.RESUME, Kind.DISABLE):
        record = story.person(kind)
        assert (record["kind"], record["reason"], record["actor"], record["note"]) == (
            kind,
            "manual",
            "ann",
            "why",
        )
        assert story.history()[-1] == json.loads(json.dumps(record))
    assert story.history()[-1]["revision"] == 4


def test_what_a_person_asks_for_that_is_so_already_is_a_record_and_no_new_revision(story: Story) -> None:
    story.ticks(story.controller())
    story.person(Kind.ENABLE)
    again = story.person(Kind.ENABLE)
    assert (again["kind"], again["applied"], again["revision"]) == ("enable", "applied", 1)
    assert again["detail"] == "Already enabled; nothing changed."
    story.edit(enabled="yes")
    assert story.person(Kind.DISABLE)["revision"] == 2
    assert story.texts()[0] == "false"
