"""Redis Cluster, for real: failovers and moved slots that all follow by themselves; where the keys lie."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from cryptography.fernet import Fernet
from kit.redis_cluster import SLOT, TAG, RedisCluster, running_cluster, told
from kit.redis_tls import RedisCertificates
from kit.sending import open_flags, open_sender
from kit.servers import RedisServer
from kit.serving import SIGNED, serving
from kit.waiting import patience, wait_until
from redis.crc import key_slot
from worlds.fault_rig import Rig

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateReason
from adapter.sandbox.graph import Sandbox
from adapter.sending.idempotency import redis_key
from adapter.settings import Settings, SettingsError
from adapter.signin.encryption import TokenCipher
from adapter.signin.grant import AccessToken, Account, Grant
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.store import TokenStore
from controller.cli import rollout
from controller.config.receivers import Receiver
from controller.config.settings import ControllerSettings, load_settings, shown
from controller.contract import FLAG_NAMES, live_key
from controller.decision.model import Kind
from controller.doctor.redis import look_at_redis
from controller.features import ROLLOUT_FEATURES
from controller.journal.stream import BLOCK_S, Streams
from controller.notify.delivery import Notifier
from controller.shared.config_file import ConfigError
from controller.shared.redis_pool import key_prefix, open_async_redis, open_redis
from controller.shared.redis_url import parse_target
from controller.shared.tasks import end
from controller.store.flag_store import StoreError
from controller.store.redis_store import RedisFlagStore

FAILOVER_WITHIN_S = 60.0
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
ALL_KEYS = {
    *(f"flags:{name}:{flag}" for name in ROLLOUT_FEATURES for flag in FLAG_NAMES),
    "flags:microsoft:revision",
    "rollout:lease",
    "rollout:epoch",
    "rollout:state:microsoft",
    "rollout:applied:microsoft",
    *(f"rollout:decisions:{name}" for name in ROLLOUT_FEATURES),
    f"rollout:reply:{sha256(chr(10).join(('ann', 'the-key')).encode()).hexdigest()}",
    "rollout:notice:ops:leader-1",
    live_key("microsoft"),
    redis_key("outlook.send", "u1", "the-key"),
    *(f"oauth:microsoft:{kind}:ann" for kind in ("access_token", "refresh_token", "lock")),
    *(f"oauth:microsoft:{kind}:{sha256(b'secret').hexdigest()}" for kind in ("link", "state")),
}
"""What is in Redis, by the contract, once each part was used; a mailbox's places are given back."""


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    """Yield a cluster of the test's own, whose nodes it may kill and whose slots it may move."""
    tls = RedisCertificates.made_in(tmp_path) if getattr(request, "param", "") == "tls" else None
    with running_cluster(tmp_path, tls) as made:
        yield made


@pytest.fixture
def rig(cluster: RedisCluster, tmp_path: Path) -> Iterator[Rig]:
    with open_redis(cluster.url, 2.0) as client:
        yield Rig(cluster.url, client, tmp_path / "decisions.jsonl")


async def use_all(url: str, folder: Path) -> None:
    """Use every part of the product that keeps something in Redis."""
    with open_redis(url, 2.0) as client:
        rig = Rig(url, client, folder / "decisions.jsonl")
        assert rig.tick(rig.controller(), 2).store_problem == ""
        await asyncio.to_thread(ask_the_api, url)
        await tell_receivers(url, client)
        open_flags(client)
    async with Sandbox() as graph, open_sender(url, graph) as sender:
        assert (await sender.send(idempotency_key="the-key")).success
        await published(url)
    await keep_tokens(url)


async def published(url: str) -> None:
    """Wait until a sender's live counts are there: it writes them once a second."""
    with open_redis(url, 2.0) as client:
        key = key_prefix(client) + live_key("microsoft")
        await asyncio.to_thread(wait_until, lambda: client.exists(key))


def ask_the_api(url: str) -> None:
    with serving(url) as served:
        headers = {**SIGNED, "Idempotency-Key": "the-key"}
        assert served.act("pause", reason="why", headers=headers).json() == (
            served.act("pause", reason="why", headers=headers).json()
        )
        assert served.http.get("/readyz").json()["redis"]
        assert len(served.http.get("/api/v1/features/microsoft/decisions").json()["decisions"]) == 3


async def tell_receivers(url: str, client: redis.Redis) -> None:
    told_by = open_async_redis(url, 1.0, blocks_s=BLOCK_S)
    receiver = Receiver(name="ops", kind="webhook", url="http://127.0.0.1:1")
    task = asyncio.create_task(Notifier(receiver, told_by, lambda: ROLLOUT_FEATURES).run())
    made = [f"{key_prefix(client)}rollout:{key}" for key in ("decisions:google", "notice:ops:leader-1")]
    await asyncio.to_thread(wait_until, lambda: client.exists(*made) == 2)
    await end([task])
    await told_by.aclose()


async def keep_tokens(url: str) -> None:
    store = TokenStore(open_async_redis(url, 1.0), TokenCipher([Fernet.generate_key().decode()]), MICROSOFT)
    grant = Grant("r", AccessToken("a", 0.0, 3600.0), Account("s", "t", "n"), (), 0.0, 0.0)
    await store.put("ann", grant)
    for kind, secret in (("link", "secret"), ("state", "secret"), ("state", "other")):
        await store.put_once(kind, secret, {})
    assert await store.take_once("state", "other") == {}
    claim = await store.claim("ann", "me", 60.0, "", any_new=False)
    assert await store.commit("ann", claim.sealed_grant or "", grant, "me").once() == "done"
    assert (await store.claim("ann", "me", 60.0, "", any_new=False)).sealed_grant
    assert min(await store.ttls_s("ann")) > 0
    await store.aclose()


async def test_in_one_redis_the_keys_are_those_of_the_contract(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> None:
    await use_all(redis_server.url, tmp_path)
    assert set(redis_client.scan_iter("*", 1000)) == ALL_KEYS


async def test_in_a_cluster_they_all_lie_in_one_slot_behind_the_tag(
    redis_cluster: RedisCluster, tmp_path: Path
) -> None:
    await use_all(redis_cluster.url, tmp_path)
    keys = redis_cluster.keys()
    assert keys == {f"{{{TAG}}}{key}" for key in ALL_KEYS}
    assert {key_slot(key.encode()) for key in keys} == {SLOT}


async def test_users_who_may_do_nothing_beyond_the_tag_do_the_whole_work(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    """Those of docs/operations.md, as docs/scale.md has them for a cluster; Redis logs what it refuses."""
    rules = dict(re.findall(r"^user (\S+) on >\S+ (.*)$", OPERATIONS.read_text(), re.MULTILINE))
    words = [*rules["rollout-controller"].split(), "~oauth:microsoft:*", "+cluster|slots"]
    for node in cluster.nodes:
        tagged = [word.replace("~", f"~{{{TAG}}}") for word in words]
        told(node, "ACL", "SETUSER", "ann", "on", ">hush", *tagged)
        told(node, "ACL", "SETUSER", "bob", "on", ">hush", *words)
    url = cluster.url_of(TAG, "ann:hush@")
    await use_all(url, tmp_path)
    with RolloutGate.start(url) as gate:
        assert not gate.trouble
    assert [told(node, "ACL", "LOG") for node in cluster.nodes] == [[]] * 4
    assert looked_at(url)["redis rights"].verdict == "ok"
    assert looked_at(cluster.url_of(TAG, "bob:hush@"))["redis rights"].verdict == "bad"


@pytest.mark.parametrize("cluster", ["plain", "tls"], indirect=True)
def test_controller_gate_and_adapter_follow_the_slot_through_a_failover(
    cluster: RedisCluster, rig: Rig
) -> None:
    controller = rig.controller()
    rig.tick(controller)
    open_flags(rig.client)
    first = rig.tick(controller)
    rig.client.wait(1, 5000)
    with RolloutGate.start(cluster.url) as gate:
        assert gate.check("microsoft", "user").open
        cluster.masters[0].kill()
        assert rig.tick(controller).error
        wait_until(cluster.promoted, FAILOVER_WITHIN_S, "the failover")
        wait_until(lambda: gate.check("microsoft", "user").open, 15, "the gate on the new master")
        wait_until(lambda: not rig.tick(controller).error, 15, "a tick on the new master")
        wait_until(lambda: paused(rig), 15, "a person's pause")
        wait_until(lambda: gate.check("microsoft", "user").reason is GateReason.PAUSED, 5, "the pause")
    assert first.leader
    assert rig.tick(controller).leader
    asyncio.run(followed_without_waiting(cluster.url))


async def followed_without_waiting(url: str) -> None:
    """The event loop's clients (the API's, the adapter's) reach the new master too."""
    client = open_async_redis(url, 2.0 * patience(), blocks_s=BLOCK_S)
    kinds = [entry.record["kind"] for entry in await Streams(client).after("microsoft", "0-0", 100)]
    assert "pause" in kinds
    await client.aclose()
    adapters = open_async_redis(url, 0.5 * patience(), connections=1)
    assert await adapters.get(f"{{{TAG}}}flags:microsoft:paused") == "true"
    await adapters.aclose()


def test_a_master_that_was_demoted_is_given_up_at_its_first_answer(cluster: RedisCluster, rig: Rig) -> None:
    rig.tick(rig.controller())
    open_flags(rig.client)
    with RolloutGate.start(cluster.url) as gate:
        told(cluster.replica, "CLUSTER", "FAILOVER")
        wait_until(cluster.promoted, FAILOVER_WITHIN_S, "the failover")
        wait_until(lambda: paused(rig), 15, "a pause on the new master")
        assert told(cluster.replica, "GET", f"{{{TAG}}}flags:microsoft:paused") == "true"
        wait_until(lambda: gate.check("microsoft", "user").reason is GateReason.PAUSED, 5, "the gate")


def paused(rig: Rig) -> bool:
    """Pause, unless the node that was asked does not know the new master yet."""
    with suppress(StoreError):
        rig.person(Kind.PAUSE)
        return True
    return False


def test_a_slot_that_moves_to_another_master_is_followed(cluster: RedisCluster, rig: Rig) -> None:
    controller = rig.controller()
    rig.tick(controller, 3)
    open_flags(rig.client)
    source, target = cluster.masters[:2]
    kept = rig.store()
    assert kept.read(["microsoft"])
    with RolloutGate.start(cluster.url) as gate:
        under_way = [rig.tick(controller).error for _ in cluster.move_slot(source, target)]
        assert "AskError" in str(under_way)
        with pytest.raises(StoreError, match="MovedError"):
            kept.read(["microsoft"])
        wait_until(lambda: reads(kept), 15, "the same store where the slot went")
        wait_until(lambda: not rig.tick(controller).error, 15, "a tick where the slot went")
        wait_until(lambda: gate.age_s < 1 and gate.check("microsoft", "user").open, 15, "the gate")
        rig.person(Kind.PAUSE)
        wait_until(lambda: gate.check("microsoft", "user").reason is GateReason.PAUSED, 5, "the pause")
    assert told(source, "KEYS", "*") == []
    ids = [record["id"] for record in rig.stream()]
    assert len(ids) == len(set(ids))


def test_a_part_of_the_cluster_that_is_alone_closes_the_gate_until_the_rest_is_back(
    cluster: RedisCluster, rig: Rig
) -> None:
    controller = rig.controller()
    rig.tick(controller)
    open_flags(rig.client)
    with RolloutGate.start(cluster.url) as gate:
        for node in cluster.masters[1:]:
            node.freeze()
        wait_until(lambda: gate.check("microsoft", "user").reason is GateReason.STALE, 30, "the closing")
        assert "ClusterDownError" in gate.trouble
        assert rig.tick(controller).error
        for node in cluster.masters[1:]:
            node.thaw()
        wait_until(lambda: gate.check("microsoft", "user").open, 30, "the opening")
        wait_until(lambda: not rig.tick(controller).error, 30, "a tick")


def reads(store: RedisFlagStore) -> bool:
    with suppress(StoreError):
        return bool(store.read(["microsoft"]))
    return False


def test_two_installations_with_tags_of_their_own_share_a_cluster(
    redis_cluster: RedisCluster, tmp_path: Path
) -> None:
    urls = [redis_cluster.url_of(tag) for tag in ("one", "other")]
    with open_redis(urls[0], 2.0) as one, open_redis(urls[1], 2.0) as other:
        rigs = [Rig(urls[0], one, tmp_path / "one.jsonl"), Rig(urls[1], other, tmp_path / "other.jsonl")]
        assert all(rig.tick(rig.controller()).leader for rig in rigs)
        for client in (one, other):
            open_flags(client)
        with RolloutGate.start(urls[1]) as gate:
            rigs[0].person(Kind.PAUSE)
            time.sleep(0.1)
            assert gate.check("microsoft", "user").open
        assert rigs[0].flags().paused
        assert not rigs[1].flags().paused


@pytest.mark.parametrize("told_as", ["ip", "hostname", "unknown-endpoint"])
def test_nodes_that_tell_a_port_alone_mean_their_own_host(redis_cluster: RedisCluster, told_as: str) -> None:
    option = "cluster-preferred-endpoint-type"
    for node in redis_cluster.nodes:
        told(node, "CONFIG", "SET", option, told_as)
    try:
        assert reads(RedisFlagStore(open_redis(redis_cluster.url, 2.0)))
    finally:
        for node in redis_cluster.nodes:
            told(node, "CONFIG", "SET", option, "ip")


def test_the_command_line_pauses_in_a_cluster(redis_cluster: RedisCluster) -> None:
    env = {"ROLLOUT_REDIS_URL": redis_cluster.url}
    done = CliRunner().invoke(rollout, ["pause", "microsoft", "--reason", "why"], env=env)
    assert (done.exit_code, "never seen a controller" in done.output) == (1, True), done.output
    assert "pause manual" in CliRunner().invoke(rollout, ["status"], env=env).output
    asked = CliRunner().invoke(rollout, ["gate", "microsoft", "user"], env=env)
    assert (asked.exit_code, asked.output.split()[0]) == (1, "closed")


def looked_at(url: str) -> dict[str, Any]:
    return {finding.subject: finding for finding in look_at_redis(ControllerSettings(redis_url=url))}


def test_doctor_tells_how_the_cluster_is_and_who_forgot_the_tag(redis_cluster: RedisCluster) -> None:
    found = looked_at(redis_cluster.url)
    assert found["redis cluster"].verdict == "ok"
    assert f"{{{TAG}}}" in found["redis cluster"].seen
    assert {found[name].verdict for name in ("redis role", "redis rights", "redis eviction")} == {"ok"}
    assert redis_cluster.keys() == set()
    found = looked_at(redis_cluster.masters[0].url)
    assert found["redis cluster"].verdict == "away"
    assert "redis+cluster://" in found["redis cluster"].do


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://a:1",
        "redis+cluster://a:1/",
        "redis+cluster://a:1/{tag}",
        "redis+cluster://a:1/0/1",
        "redis+cluster:///tag",
        "redis+cluster://a:x/tag",
    ],
)
def test_a_cluster_url_without_a_tag_or_hosts_is_refused_by_all_who_read_one(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\+cluster://HOST|HOST:PORT"):
        load_settings(environ={"ROLLOUT_REDIS_URL": url})
    with pytest.raises(SettingsError, match=r"ROLLOUT_REDIS_URL.* must"):
        Settings.from_environment({"ROLLOUT_REDIS_URL": url})
    with pytest.raises(ValueError, match="must"):
        RolloutGate.connect(url)


def test_a_cluster_url_names_nodes_tag_and_password() -> None:
    url = "redis+cluster://ann:s%40fe@one:1,two,[::1]:3/mail-eu"
    home = parse_target(url)
    assert home is not None
    assert home.asked == (("one", 1), ("two", 6379), ("::1", 3))
    assert (home.prefix, home.login) == ("{mail-eu}", {"username": "ann", "password": "s@fe"})
    assert load_settings(environ={"ROLLOUT_REDIS_URL": url}).redis_url == url
    assert shown(url) == "redis+cluster://ann:***@one:1,two,[::1]:3/mail-eu"


def test_a_cluster_that_is_away_or_refuses_is_told_of_with_its_reason(redis_server: RedisServer) -> None:
    away = RedisFlagStore(open_redis("redis+cluster://127.0.0.1:1/rollout", 0.5))
    with pytest.raises(StoreError, match=r"no node of the cluster tells .*\{rollout\}.* Connection"):
        away.read(["microsoft"])
    no_cluster = RedisFlagStore(open_redis(f"redis+cluster://127.0.0.1:{redis_server.port}/rollout", 0.5))
    with pytest.raises(StoreError, match="cluster support disabled"):
        no_cluster.read(["microsoft"])
