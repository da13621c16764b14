"""Notices: what is told, in which shape, signed; and that each arrives, whatever a receiver does."""

import asyncio
import hmac
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until
from prometheus_client.parser import text_string_to_metric_families
from worlds.fault_rig import Rig

from controller.commands.notify import notify
from controller.config.receivers import EVENTS, KINDS, Receiver, parse_receivers
from controller.contract import ROLLOUT_TICKS_TOTAL
from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES
from controller.journal.stream import BLOCK_S
from controller.notify import delivery as notifier
from controller.notify.delivery import Notifier
from controller.notify.messages import message, notices_of, sentence, signature
from controller.notify.together import tick_of
from controller.shared.config_file import ConfigError, Table
from controller.shared.redis_pool import open_async_redis
from controller.shared.tasks import end

HANG, TWICE = 0, -1
ROLLOUT = Path(sys.executable).with_name("rollout")


@dataclass
class Inbox:
    """A receiver that answers as a test says: a status, HANG until it is let go, or TWICE in one breath."""

    answers: list[int] = field(default_factory=list)
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def ids(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.taken]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.taken]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = box.answers.pop(0) if box.answers else 200
            box.taken.append((dict(self.headers), body))
            if status == HANG:
                box.let_go.wait(20)
                self.close_connection = True
                return
            for code in (200, 200) if status == TWICE else (status,):
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    box.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield box
    box.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rig(redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path) -> Rig:
    return Rig(redis_server.url, redis_client, tmp_path / "decisions.jsonl")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait of the notifier."""
    monkeypatch.setattr(notifier, "PATIENCE_S", 0.5)
    monkeypatch.setattr(notifier, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(notifier, "_LONGEST_PAUSE_S", 0.05)


@asynccontextmanager
async def telling(rig: Rig, receiver: Receiver) -> AsyncIterator[None]:
    client = open_async_redis(rig.url, 1.0, blocks_s=BLOCK_S)
    task = asyncio.create_task(Notifier(receiver, client, lambda: ROLLOUT_FEATURES).run())
    try:
        await until(lambda: rig.client.exists("rollout:decisions:google"))
        yield
    finally:
        await end([task])
        await client.aclose()


async def until(holds: Any, within_s: float = 10.0) -> None:
    await asyncio.to_thread(wait_until, holds, within_s)


def webhook(inbox: Inbox, **more: Any) -> Receiver:
    return Receiver(name="ops", kind="webhook", url=inbox.url, **more)


async def test_what_somebody_else_put_into_the_stream_ends_no_notices(rig: Rig, inbox: Inbox) -> None:
    async with telling(rig, webhook(inbox)):
        for field, text in (("note", "hello"), ("record", "no JSON"), ("record", '{"id": "x"}')):
            rig.client.xadd("rollout:decisions:microsoft", {field: text})
        done = await asyncio.to_thread(rig.person, Kind.ENABLE)
        await until(lambda: inbox.taken)
    assert [told["id"] for told in inbox.bodies] == [done["id"]]


@pytest.mark.parametrize("before", [True, False], ids=["before it begins", "while it reads"])
async def test_a_feature_whose_records_are_of_another_type_keeps_no_other_from_being_told(
    rig: Rig, inbox: Inbox, before: bool
) -> None:
    def poison() -> None:
        rig.client.delete("rollout:decisions:google", "rollout:epoch")
        rig.client.hset("rollout:decisions:google", "a", "b")
        rig.client.hset("rollout:epoch", "a", "b")

    if before:
        poison()
    async with telling(rig, webhook(inbox)):
        poison()
        done = await asyncio.to_thread(rig.person, Kind.ENABLE)
        await until(lambda: inbox.taken)
    assert [told["id"] for told in inbox.bodies] == [done["id"]]


async def test_what_a_person_does_is_told_with_the_whole_record(rig: Rig, inbox: Inbox) -> None:
    async with telling(rig, webhook(inbox, link="https://rollout.example")):
        done = await asyncio.to_thread(rig.person, Kind.ENABLE)
        await until(lambda: inbox.taken)
    [told] = inbox.bodies
    assert told["record"] == json.loads(json.dumps(done))
    assert (told["id"], told["event"], told["feature"]) == (done["id"], "enable", "microsoft")
    assert told["text"] == "microsoft: switched on at 0 %. why By hand: enabled false -> true."
    assert told["link"] == "https://rollout.example/features/microsoft"


async def test_holds_are_not_told_and_what_is_not_asked_for_is_not(rig: Rig, inbox: Inbox) -> None:
    async with telling(rig, webhook(inbox, on=("pause",))):
        await asyncio.to_thread(rig.person, Kind.ENABLE)
        await asyncio.to_thread(rig.tick, rig.controller(), 3)
        last = await asyncio.to_thread(rig.person, Kind.PAUSE)
        await until(lambda: inbox.taken)
    assert inbox.ids == [last["id"]]


async def test_a_receiver_that_fails_hangs_and_answers_late_gets_every_notice_under_its_id(
    rig: Rig, inbox: Inbox, quick: None
) -> None:
    inbox.answers = [500, 503, HANG, 429, 200]
    async with telling(rig, webhook(inbox)):
        kinds = (Kind.ENABLE, Kind.PAUSE, Kind.RESUME)
        done = [(await asyncio.to_thread(rig.person, kind))["id"] for kind in kinds]
        await until(lambda: inbox.ids and inbox.ids[-1] == done[-1])
    assert list(dict.fromkeys(inbox.ids)) == done
    assert inbox.ids.count(done[0]) >= 5


async def test_a_receiver_that_answers_twice_gets_every_notice_and_in_order(
    rig: Rig, inbox: Inbox, quick: None
) -> None:
    inbox.answers = [TWICE] * 4
    async with telling(rig, webhook(inbox)):
        kinds = (Kind.ENABLE, Kind.PAUSE, Kind.RESUME, Kind.DISABLE)
        done = [(await asyncio.to_thread(rig.person, kind))["id"] for kind in kinds]
        await until(lambda: inbox.ids and inbox.ids[-1] == done[-1])
    assert list(dict.fromkeys(inbox.ids)) == done


def test_no_tick_waits_for_a_receiver_that_hangs(
    redis_server: RedisServer, inbox: Inbox, tmp_path: Path
) -> None:
    inbox.answers = [HANG] * 100
    address, config = f"127.0.0.1:{free_port()}", tmp_path / "rollout.toml"
    config.write_text(
        f'[controller]\nredis_url = "{redis_server.url}"\nprometheus_url = "http://127.0.0.1:1"\n'
        f'listen = "{address}"\ninterval_s = 1\n[notify.ops]\nkind = "webhook"\nurl = "{inbox.url}"\n'
    )
    log = (tmp_path / "log").open("wb")
    command = [str(ROLLOUT), "run", "--no-adapter", "--config", str(config)]
    daemon = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_until(lambda: ticks_of(address) > 0, within_s=30, what="the daemon's first tick")
        subprocess.run(
            [ROLLOUT, "enable", "microsoft", "--reason", "x", "--config", config], check=True, stdout=log
        )
        wait_until(lambda: inbox.taken, within_s=10, what="the notice")
        so_far = ticks_of(address)
        wait_until(lambda: ticks_of(address) > so_far + 3, within_s=20, what="the ticks after it")
        assert not inbox.let_go.is_set()
    finally:
        daemon.terminate()
        daemon.wait(10)
        log.close()


def ticks_of(address: str) -> float:
    """Return how many ticks a daemon has made; 0 before it answers."""
    try:
        text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    except httpx.HTTPError:
        return 0
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return sum(one.value for one in samples if one.name == ROLLOUT_TICKS_TOTAL)


async def test_a_receiver_that_says_never_is_not_asked_again(rig: Rig, inbox: Inbox, quick: None) -> None:
    inbox.answers = [410]
    async with telling(rig, webhook(inbox)):
        await asyncio.to_thread(rig.person, Kind.ENABLE)
        last = await asyncio.to_thread(rig.person, Kind.PAUSE)
        await until(lambda: last["id"] in inbox.ids)
    assert len(inbox.taken) == 2


async def test_what_was_decided_while_nobody_ran_is_told_at_the_next_start(rig: Rig, inbox: Inbox) -> None:
    async with telling(rig, webhook(inbox)):
        await asyncio.to_thread(rig.person, Kind.ENABLE)
        await until(lambda: inbox.taken)
    missed = rig.person(Kind.PAUSE)["id"]
    async with telling(rig, webhook(inbox)):
        await until(lambda: len(inbox.taken) == 2)
    assert inbox.ids[1] == missed


async def test_what_a_dead_process_left_unsent_another_one_sends(
    rig: Rig, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "_ABANDONED_MS", 50)
    monkeypatch.setattr(notifier, "_LOOK_FOR_ABANDONED_S", 0.05)
    inbox.answers = [HANG]
    async with telling(rig, webhook(inbox)):
        done = await asyncio.to_thread(rig.person, Kind.ENABLE)
        await until(lambda: inbox.taken)
    async with telling(rig, webhook(inbox)):
        await until(lambda: len(inbox.taken) == 2)
    assert inbox.ids == [done["id"], done["id"]]


async def test_two_processes_tell_each_notice_once(rig: Rig, inbox: Inbox) -> None:
    async with telling(rig, webhook(inbox)), telling(rig, webhook(inbox)):
        kinds = (Kind.ENABLE, Kind.PAUSE, Kind.RESUME, Kind.DISABLE) * 5
        done = [(await asyncio.to_thread(rig.person, kind))["id"] for kind in kinds]
        await until(lambda: len(inbox.taken) >= len(done))
    assert sorted(inbox.ids) == sorted(done)


async def test_a_lost_redis_loses_no_notice(
    rig: Rig, inbox: Inbox, redis_server: RedisServer, quick: None
) -> None:
    async with telling(rig, webhook(inbox)):
        await asyncio.to_thread(redis_server.freeze)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(redis_server.thaw)
        done = await asyncio.to_thread(rig.person, Kind.ENABLE)
        await until(lambda: done["id"] in inbox.ids)


async def test_a_hold_that_lasts_is_told_once_and_a_new_leader_too(rig: Rig, inbox: Inbox) -> None:
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    rig.weather.sends = 0
    rig.tick(controller, 3)
    async with telling(rig, webhook(inbox, on=("long_hold", "leader"))):
        rig.weather.now += 100_000
        await asyncio.to_thread(rig.tick, controller, 3)
        await until(lambda: inbox.taken)
        controller.release()
        await asyncio.to_thread(rig.tick, rig.controller(), 3)
        await until(lambda: len(inbox.taken) == 2)
    assert [body["event"] for body in inbox.bodies] == ["long_hold", "leader"]


def both_fail_in_one_tick(rig: Rig) -> None:
    """Ramp two features, then let all their sends fail until one tick pauses both."""
    for rig.feature in ROLLOUT_FEATURES.values():
        rig.person(Kind.ENABLE)
    controller = rig.controller()
    controller.use(ROLLOUT_FEATURES)
    rig.tick(controller, 4)
    rig.weather.errors = rig.weather.sends
    rig.tick(controller, 2)


async def test_features_that_one_tick_pauses_are_told_in_one_notice_each_with_its_own_record(
    rig: Rig, inbox: Inbox
) -> None:
    receiver = webhook(inbox, on=("pause",), link="https://rollout.example")
    async with telling(rig, receiver), telling(rig, receiver):
        await asyncio.to_thread(both_fail_in_one_tick, rig)
        await until(lambda: inbox.taken)
        alone = await asyncio.to_thread(rig.person, Kind.RESUME)
        again = await asyncio.to_thread(rig.person, Kind.PAUSE)
        await until(lambda: len(inbox.taken) == 2)
    together, later = inbox.bodies
    records = [together["record"], *together["others"]]
    assert {record["feature"] for record in records} == {"google", "microsoft"}
    assert {record["reason"] for record in records} == {"outage"}
    assert together["text"].startswith("Stopped in one tick, so a common cause is likely: ")
    assert together["text"].count("paused at 1 %") == 2
    assert together["link"] == "https://rollout.example"
    assert (alone["kind"], later["id"], later["others"]) == ("resume", again["id"], [])


async def test_what_only_one_of_two_receivers_hears_of_is_told_alone(rig: Rig, inbox: Inbox) -> None:
    async with telling(rig, webhook(inbox, on=("pause",), features=("google",))):
        await asyncio.to_thread(both_fail_in_one_tick, rig)
        await until(lambda: inbox.taken)
    [told] = inbox.bodies
    assert (told["feature"], told["others"]) == ("google", [])


async def test_features_told_together_are_told_again_together_when_the_process_dies(
    rig: Rig, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "_ABANDONED_MS", 50)
    monkeypatch.setattr(notifier, "_LOOK_FOR_ABANDONED_S", 0.05)
    inbox.answers = [HANG]
    async with telling(rig, webhook(inbox, on=("pause",))):
        await asyncio.to_thread(both_fail_in_one_tick, rig)
        await until(lambda: inbox.taken)
    async with telling(rig, webhook(inbox, on=("pause",))):
        await until(lambda: len(inbox.taken) == 2)
    assert inbox.ids[0] == inbox.ids[1]
    assert inbox.bodies[0]["others"] == inbox.bodies[1]["others"] != []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "email"])
def test_many_features_of_one_tick_fit_into_one_message(rig: Rig, kind: str) -> None:
    [notice] = notices_of(rig.person(Kind.PAUSE) | {"detail": "x" * 900}, 60)
    many = tuple(dict(notice.record) | {"feature": f"feature-{number}"} for number in range(300))
    receiver = Receiver(name="r", kind=kind, url="http://x.example")
    text = sentence(replace(notice, others=many), receiver)
    assert "feature-0" in text
    assert len(text) <= 2500
    assert message(replace(notice, others=many), receiver, 0.0).body


def test_a_webhook_stays_small_however_many_features_one_tick_stops_and_however_much_it_saw(rig: Rig) -> None:
    windows = {"windows": ["x" * 130] * 120}
    [notice] = notices_of(rig.person(Kind.PAUSE) | {"evidence": windows, "detail": "It broke. " * 40}, 60)
    receiver = Receiver(name="r", kind="webhook", url="http://x.example")

    def body(others: int) -> dict[str, Any]:
        many = tuple(dict(notice.record) | {"feature": f"f{one}", "id": f"f{one}-1"} for one in range(others))
        written = message(replace(notice, others=many), receiver, 0.0).body
        assert len(written) < 250_000
        return dict(json.loads(written))

    told, more = body(99), body(2000)
    assert told["record"]["evidence"] == windows
    assert [one["id"] for one in told["others"]] == [f"f{number}-1" for number in range(99)]
    assert told["others"][0]["detail"].startswith("It broke.")
    assert "evidence" not in told["others"][0]
    assert (told["others_left_out"], more["others_left_out"] + len(more["others"])) == (0, 2000)


def test_live_pauses_of_one_look_are_of_one_tick_though_written_one_after_the_other(rig: Rig) -> None:
    pause = rig.person(Kind.PAUSE) | {"actor": "controller"}
    one, two = (pause | {"at": at, "evidence": {"source": "live", "now": 7.0}} for at in (7.01, 7.02))
    assert tick_of(one) == tick_of(two) != ""
    assert tick_of(one | {"evidence": {"source": "prometheus", "now": 7.0}}) != tick_of(one)
    assert tick_of(pause) == ""


def test_a_dry_run_and_what_was_not_written_are_not_told(rig: Rig) -> None:
    record = rig.person(Kind.PAUSE)
    assert [notice.event for notice in notices_of(record, 60)] == ["pause"]
    for unwritten in ({"applied": "conflict"}, {"applied": "failed"}, {"dry_run": True}):
        assert notices_of(record | unwritten, 60) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "email"])
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_words_for_every_kind_of_receiver(rig: Rig, kind: str, event: str) -> None:
    receiver = Receiver(name="r", kind=kind, url="http://x.example", link="http://page.example")
    [notice] = notices_of(rig.person(Kind.PAUSE), 60)
    written = message(type(notice)(notice.id, event, notice.record), receiver, 0.0)
    assert "microsoft" in written.body.decode()
    assert "http://page.example/features/microsoft" in written.body.decode()
    assert written.headers["Idempotency-Key"] == notice.id


def test_slack_reads_no_markup_from_a_reason(rig: Rig) -> None:
    record = rig.person(Kind.PAUSE) | {"note": "<!channel> & <http://evil.example|x>"}
    [notice] = notices_of(record, 60)
    body = message(notice, Receiver(name="r", kind="slack", url="http://x.example"), 0.0).body.decode()
    assert "<!channel>" not in body
    assert "&lt;!channel&gt; &amp;" in body


@given(secret=st.text(min_size=1), body=st.binary(), now=st.integers(0, 2**33))
def test_a_signature_is_an_hmac_over_the_time_and_the_body(secret: str, body: bytes, now: int) -> None:
    told = dict(part.split("=") for part in signature(secret, body, now).split(","))
    expected = hmac.new(secret.encode(), f"{told['t']}.".encode() + body, sha256).hexdigest()
    assert told == {"t": str(now), "v1": expected}


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "needs a kind"),
        ({"kind": "pager"}, "not one of"),
        ({"kind": "slack"}, "needs url"),
        ({"kind": "slack", "url": "ftp://x"}, "https://"),
        ({"kind": "email", "to": ["a@b.example"]}, "needs to and user_id"),
        ({"kind": "slack", "url": "https://x.example", "secret": "s"}, "only a webhook"),
        ({"kind": "webhook", "url": "https://x.example", "on": ["hold"]}, "'hold', which is not one of"),
        ({"kind": "webhook", "url": "https://x.example", "template": "{nobody}"}, "unknown nobody"),
        ({"kind": "webhook", "url": "https://x.example", "template": "{feature.__class__}"}, "unknown"),
        ({"kind": "webhook", "url": "https://x.example", "template": "{"}, "cannot be read"),
        ({"kind": "webhook", "url_file": "/nowhere"}, "cannot be read"),
        ({"kind": "webhook", "urls": "x"}, "unknown key"),
        (7, "must be a table"),
    ],
)
def test_a_mistake_in_a_receiver_is_refused_with_the_reason(table: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_receivers(Table("notify", {"ops": table}))


def test_a_secret_stands_in_no_text_of_a_receiver(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://hooks.example/T0/SECRET\n")
    [receiver] = parse_receivers(
        Table("notify", {"ops": {"kind": "slack", "url_file": str(tmp_path / "url")}})
    )
    assert receiver.url.endswith("SECRET")
    assert "SECRET" not in repr(receiver)


def test_a_sample_is_shown_and_sent_from_the_command_line(tmp_path: Path, inbox: Inbox) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text(f'[notify.ops]\nkind = "webhook"\nurl = "{inbox.url}"\nsecret = "s"\n')
    shown = CliRunner().invoke(notify, ["test", "ops", "--print", "--config", str(config)])
    assert "This is a test" in shown.output
    assert inbox.taken == []
    sent = CliRunner().invoke(notify, ["test", "ops", "--event", "step_up", "--config", str(config)])
    assert sent.exit_code == 0
    assert inbox.taken[0][0]["X-Rollout-Signature"].startswith("t=")
    assert CliRunner().invoke(notify, ["test", "oops", "--config", str(config)]).exit_code == 2
    inbox.answers = [500]
    assert CliRunner().invoke(notify, ["test", "ops", "--config", str(config)]).exit_code == 1
