"""Redis with Sentinel, for real: a failover that controller, gate and adapter follow by themselves."""

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from kit.redis_tls import RedisCertificates
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateReason
from controller.config.settings import load_settings, shown
from controller.contract import flag_keys
from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES
from controller.journal.sinks import Journals
from controller.journal.stream import BLOCK_S, Streams
from controller.loop.manual import operate
from controller.shared.redis_pool import open_async_redis, open_redis
from controller.shared.redis_url import parse_target
from controller.store.flag_store import StoreError
from controller.store.lease import RedisLease
from controller.store.redis_store import RedisFlagStore

FAILOVER_WITHIN_S = 60.0
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@dataclass
class Watch:
    """A master, its replica, and three sentinels."""

    master: RedisServer
    replica: RedisServer
    sentinels: tuple[int, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        if tls := self.master.tls:
            return f"rediss+sentinel://{hosts}/flags/0{tls.query}"
        return f"redis+sentinel://{hosts}/flags/0"

    def promoted(self) -> bool:
        with self.replica.client() as client:
            return bool(client.info("replication")["role"] == "master")


@contextmanager
def sentinel(folder: Path, master_port: int, tls: RedisCertificates | None) -> Iterator[int]:
    port = free_port()
    config = folder / f"sentinel-{port}.conf"
    ports = tls.settings(port) if tls else {"port": str(port)}
    config.write_text(
        "".join(f"{name} {text}\n" for name, text in ports.items()) + f"bind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor flags 127.0.0.1 {master_port} 2\n"
        "sentinel down-after-milliseconds flags 800\nsentinel failover-timeout flags 4000\n",
        encoding="utf-8",
    )
    command = ["redis-server", str(config), "--sentinel"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


@pytest.fixture
def watch(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watch]:
    """Run them until the test ends; over TLS where a test asks for that."""
    tls = RedisCertificates.made_in(tmp_path) if getattr(request, "param", "") == "tls" else None
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer(tmp_path, tls=tls))
        of = ("--replicaof", "127.0.0.1", str(master.port))
        replica = stack.enter_context(RedisServer(tmp_path, *of, tls=tls))
        ports = tuple(stack.enter_context(sentinel(tmp_path, master.port, tls)) for _ in range(3))
        made = Watch(master, replica, ports)
        wait_until(lambda: all(_sees_all(port, tls) for port in ports), 30, "the sentinels to meet")
        yield made


def _sees_all(port: int, tls: RedisCertificates | None) -> bool:
    with redis.Redis(port=port, decode_responses=True, **(tls.client if tls else {})) as client:
        try:
            found = client.sentinel_master("flags")
        except redis.RedisError:
            return False
    return bool(found["num-other-sentinels"] == 2 and found["num-slaves"] == 1)


def open_store(watch: Watch) -> RedisFlagStore:
    return RedisFlagStore(open_redis(watch.url, 2.0))


def flags_say(store: RedisFlagStore, kind: Kind) -> None:
    operate(
        store,
        Journals(),
        ROLLOUT_FEATURES["microsoft"],
        kind,
        actor="ann",
        note="why",
        now=time.time(),
        percent=100.0 if kind is Kind.SET else None,
    )


def reads(store: RedisFlagStore) -> bool:
    try:
        store.read(["microsoft"])
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("watch", ["plain", "tls"], indirect=True)
def test_controller_gate_and_adapter_follow_the_master_through_a_failover(watch: Watch) -> None:
    store = open_store(watch)
    with watch.master.client() as client:
        client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "100", "false"), strict=True)))
        client.wait(1, 5000)
    lease = RedisLease(open_redis(watch.url, 2.0), lease_s=90, monotonic=time.monotonic)
    first = lease.acquire()
    with RolloutGate.start(watch.url) as gate:
        assert gate.check("microsoft", "user").open
        watch.master.kill()
        wait_until(watch.promoted, FAILOVER_WITHIN_S, "the failover")
        wait_until(lambda: gate.check("microsoft", "user").open, 15, "the gate on the new master")
        wait_until(lambda: reads(store), 15, "the store on the new master")
        flags_say(store, Kind.PAUSE)
        wait_until(lambda: gate.check("microsoft", "user").reason is GateReason.PAUSED, 5, "the pause")
    second = lease.acquire()
    assert first is not None
    assert second is not None
    assert second.epoch >= first.epoch
    asyncio.run(followed_without_waiting(watch))


async def followed_without_waiting(watch: Watch) -> None:
    """The event loop's clients (the API's, the adapter's) reach the new master too."""
    client = open_async_redis(watch.url, 2.0, blocks_s=BLOCK_S)
    assert [entry.record["kind"] for entry in await Streams(client).after("microsoft", "0-0", 10)] == [
        "pause"
    ]
    await client.aclose()
    adapters = open_async_redis(watch.url, 0.5, connections=1)
    assert await adapters.get(flag_keys("microsoft")[3]) == "true"
    await adapters.aclose()


def test_a_master_that_was_demoted_is_given_up_at_the_first_refusal(watch: Watch) -> None:
    """What it takes until it is told of its demotion is lost, as no client can know; so pause again."""
    store = open_store(watch)
    flags_say(store, Kind.ENABLE)
    with watch.master.client() as client:
        client.wait(1, 5000)
    with redis.Redis(port=watch.sentinels[0]) as asked:
        asked.execute_command("SENTINEL", "FAILOVER", "flags")
    wait_until(watch.promoted, FAILOVER_WITHIN_S, "the failover")
    wait_until(lambda: paused_there(store, watch), FAILOVER_WITHIN_S, "a pause on the new master")


def paused_there(store: RedisFlagStore, watch: Watch) -> bool:
    """Pause, and say whether the new master has it."""
    with suppress(StoreError):
        flags_say(store, Kind.PAUSE)
    with watch.replica.client() as client:
        return bool(client.get(flag_keys("microsoft")[3]) == "true")


def test_a_user_of_the_docs_needs_role_besides(watch: Watch) -> None:
    [rule] = re.findall(r"^user rollout-gate on >\S+ (.*)$", OPERATIONS.read_text(), re.MULTILINE)
    with watch.master.client() as client:
        for name, more in (("ann", ["+role"]), ("bob", [])):
            client.execute_command("ACL", "SETUSER", name, "on", ">hush", *rule.split(), *more)
    for name, trouble in (("ann", ""), ("bob", "Redis does not allow")):
        with RolloutGate.start(watch.url.replace("//", f"//{name}:hush@")) as gate:
            assert gate.trouble[: len("Redis does not allow")] == trouble


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
        "redis+sentinel://a:x/flags",
        "redis+sentinel://a:1/flags/x",
    ],
)
def test_a_sentinel_url_that_says_too_little_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\+sentinel://|HOST:PORT"):
        parse_target(url)


def test_a_sentinel_url_names_sentinels_master_database_and_password() -> None:
    home = parse_target("redis+sentinel://ann:s%40fe@one:1,two,[::1]:3/flags/5")
    assert home is not None
    assert home.asked == (("one", 1), ("two", 26379), ("::1", 3))
    assert (home.name, home.login) == ("flags", {"db": 5, "username": "ann", "password": "s@fe"})
    assert (home.asked_login, home.tls) == ({}, None)


def test_a_tls_url_names_the_authority_and_how_the_sentinels_know_us() -> None:
    login = "sentinel_username=watch&sentinel_password=s%40fe"
    home = parse_target(
        f"rediss+sentinel://one:1/flags?{login}&ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=no"
    )
    assert home is not None
    assert home.asked_login == {"username": "watch", "password": "s@fe"}
    assert home.tls == {"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False}


def test_sentinels_that_know_nothing_are_told_of_as_a_redis_that_is_away() -> None:
    store = RedisFlagStore(open_redis("redis+sentinel://127.0.0.1:1/flags", 0.5))
    with pytest.raises(StoreError, match="no sentinel tells where the master 'flags' is"):
        store.read(["microsoft"])


@pytest.mark.parametrize("hosts", ["one:1,two", "[::1]:3,one:1", "one:1,[::1]:3"])
def test_a_sentinel_url_is_taken_as_a_setting_and_shown_without_its_password(hosts: str) -> None:
    url = f"redis+sentinel://ann:s%40fe@{hosts}/flags"
    assert load_settings(environ={"ROLLOUT_REDIS_URL": url}).redis_url == url
    assert shown(url) == f"redis+sentinel://ann:***@{hosts}/flags"
