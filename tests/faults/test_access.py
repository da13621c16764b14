"""The Redis users of docs/operations.md, as they stand there, and TLS to Redis and Prometheus."""

import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import redis
import requests
import trustme
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until
from worlds.fault_rig import FEATURE, Rig

from adapter.gate.rollout_gate import RolloutGate
from controller.config.settings import load_settings
from controller.contract import FLAGS_CHANNEL, LEASE_KEY, LIVE_SIGHT_KEY, flag_key, live_key
from controller.decision.model import Kind
from controller.evidence.session import BoundedSession
from controller.shared.redis_pool import open_redis

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def users(redis_server: RedisServer, redis_client: redis.Redis) -> dict[str, str]:
    """Set up the users of the docs, and give a URL for each."""
    rules = re.findall(r"^user (\S+) (.*>(\S+).*)$", DOCS.read_text(), re.MULTILINE)
    for name, rule, _ in rules:
        redis_client.execute_command("ACL", "SETUSER", name, *rule.split())  # type: ignore[no-untyped-call]
    return {name: f"redis://{name}:{password}@127.0.0.1:{redis_server.port}/0" for name, _, password in rules}


def test_the_controller_can_do_its_whole_work_as_its_user(rig: Rig, users: dict[str, str]) -> None:
    rig.url = users["rollout-controller"]
    controller = rig.controller()
    rig.person(Kind.ENABLE)
    rig.tick(controller, 30)
    rig.client.delete(flag_key("microsoft", "paused"))
    report = rig.tick(controller)
    assert (report.error, report.store_problem) == ("", "")
    assert rig.texts()["paused"] == "true"
    rig.person(Kind.RESUME)
    assert len(rig.stream()) > 30
    controller.release()
    with open_redis(rig.url, 1) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.flushall()


@pytest.mark.parametrize("name", ["rollout-gate", "rollout-sender"])
def test_a_sender_reads_flags_and_hears_hints_but_changes_nothing(
    rig: Rig, users: dict[str, str], name: str
) -> None:
    rig.tick(rig.controller())
    rig.edit(enabled="true", internal_only="false", rollout_percent="100")
    with RolloutGate.connect(users[name], {"microsoft": FEATURE}, []) as gate:
        assert gate.check("microsoft", "ann").open
        assert not gate.trouble
    with open_redis(users[name], 1) as client:
        for attempt in (
            lambda: client.set(flag_key("microsoft", "paused"), "false"),
            lambda: client.delete(flag_key("microsoft", "paused")),
            lambda: client.eval("return redis.call('SET', KEYS[1], 'x')", 1, flag_key("microsoft", "paused")),
            lambda: client.set(LEASE_KEY, "mine"),
            lambda: client.xadd("rollout:decisions:microsoft", {"record": "{}"}),
            client.flushall,
        ):
            with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)):
                attempt()
    assert rig.texts()["paused"] == "false"


@pytest.mark.parametrize("name", ["rollout-gate", "rollout-sender"])
def test_a_sender_writes_live_counts_and_nothing_that_the_leader_reports(
    rig: Rig, users: dict[str, str], name: str
) -> None:
    rig.tick(rig.controller())
    with RolloutGate.start(users[name], {"microsoft": FEATURE}, []) as gate:
        gate.count("microsoft", False, 0.1, "ann")
        wait_until(lambda: rig.client.hlen(live_key("microsoft")) == 1, what="the counts")
    with open_redis(users[name], 1) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command("HSET", LIVE_SIGHT_KEY, "x", "y")


def test_a_gate_without_the_right_to_write_counts_works_all_the_same(rig: Rig, users: dict[str, str]) -> None:
    rig.tick(rig.controller())
    rig.edit(enabled="true", internal_only="false", rollout_percent="100")
    rule = "resetkeys %R~flags:* -hset"
    rig.client.execute_command("ACL", "SETUSER", "rollout-gate", *rule.split())  # type: ignore[no-untyped-call]
    with RolloutGate.start(users["rollout-gate"], {"microsoft": FEATURE}, []) as gate:
        gate.count("microsoft", True, 0.1, "ann")
        denied = rig.client.acl_log
        wait_until(lambda: any(one["object"] == "hset" for one in denied()), what="the refusal")
        assert gate.check("microsoft", "ann").open
        assert not gate.trouble
    assert not rig.client.exists(live_key("microsoft"))


@pytest.mark.parametrize("name", ["rollout-controller", "rollout-sender", "rollout-gate"])
def test_nobody_reads_redis_s_configuration_and_the_controller_alone_the_names_of_its_keys(
    users: dict[str, str], name: str
) -> None:
    asked = (
        *("CONFIG GET requirepass", "CONFIG GET *", "ACL LIST", "ACL GETUSER default", "COMMAND"),
        *("KEYS *", "RANDOMKEY", "DBSIZE", "CLIENT LIST", "MONITOR", "SWAPDB 0 1"),
        *("SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "MODULE LIST", "SAVE", "FUNCTION LIST", "SORT rollout:x"),
    )
    scans = () if name == "rollout-controller" else ("SCAN 0",)
    with open_redis(users[name], 1) as client:
        for command in (*asked, *scans):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


def test_an_endless_script_of_a_sender_opens_nothing_and_the_next_pause_ends_it(
    rig: Rig, users: dict[str, str]
) -> None:
    rig.client.config_set("busy-reply-threshold", 200)
    rig.edit(enabled="true", internal_only="false", rollout_percent="100")
    rig.url = users["rollout-controller"]
    controller = rig.controller()
    rig.tick(controller)
    with RolloutGate.connect(users["rollout-gate"], {"microsoft": FEATURE}, []) as gate:
        assert gate.check("microsoft", "ann").open
        with open_redis(users["rollout-sender"], 0.1) as sender, pytest.raises(redis.exceptions.TimeoutError):
            sender.eval("while true do end", 0)
        wait_until(lambda: not gate.check("microsoft", "ann").open, 20)
        assert rig.tick(controller).error == ""
        rig.person(Kind.PAUSE)
    assert rig.texts()["paused"] == "true"


def test_a_sender_may_keep_its_own_keys(users: dict[str, str]) -> None:
    with open_redis(users["rollout-sender"], 1) as client:
        for key in ("oauth:microsoft:lock:ann", "rollout:idempotency:outlook.send:0", "rollout:mailbox:ms:0"):
            client.eval("return redis.call('SET', KEYS[1], '1', 'PX', 1000)", 1, key)
            assert client.get(key) == "1"


def test_nobody_hears_or_tells_of_other_channels(users: dict[str, str]) -> None:
    for url in users.values():
        with open_redis(url, 1) as client:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.publish("other", "x")
            client.pubsub().subscribe(FLAGS_CHANNEL)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return the files of an authority, of a certificate for loopback, and of its key."""
    issuer = trustme.CA()
    issued = issuer.issue_cert("127.0.0.1", "localhost")
    paths = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    issuer.cert_pem.write_to_path(paths[0])
    issued.cert_chain_pems[0].write_to_path(paths[1])
    issued.private_key_pem.write_to_path(paths[2])
    return paths


def test_redis_is_reached_over_tls_with_an_authority_of_ones_own(
    tmp_path: Path, authority: tuple[Path, Path, Path]
) -> None:
    ca, certificate, key = authority
    secured = free_port()
    options = ["--tls-port", str(secured), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    options += ["--tls-ca-cert-file", str(ca), "--tls-auth-clients", "no"]
    with RedisServer(tmp_path, *options) as server, server.client() as client:
        url = f"rediss://127.0.0.1:{secured}/0?ssl_ca_certs={ca}"
        rig = Rig(url, client, tmp_path / "decisions.jsonl")
        assert rig.tick(rig.controller()).leader
        untrusted = Rig(f"rediss://127.0.0.1:{secured}/0", client, tmp_path / "other.jsonl")
        assert "CERTIFICATE_VERIFY_FAILED" in untrusted.tick(untrusted.controller()).error


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=[False, True], ids=["", "of known clients"])
def https_url(request: pytest.FixtureRequest, authority: tuple[Path, Path, Path]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Hello)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority[1], authority[2])
    if request.param:
        context.load_verify_locations(authority[0])
        context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_prometheus_is_asked_with_the_certificates_of_the_settings(
    https_url: str, authority: tuple[Path, Path, Path]
) -> None:
    names = ("CA", "CERT", "KEY")
    given = {
        f"ROLLOUT_PROMETHEUS_{name}_FILE": str(path) for name, path in zip(names, authority, strict=True)
    }
    settings = load_settings(environ=given | {"ROLLOUT_PROMETHEUS_URL": https_url})
    assert BoundedSession(settings.access_to_prometheus).get(https_url).text == "hi"
    with httpx.Client(verify=settings.access_to_prometheus.trust, trust_env=False) as client:
        assert client.get(https_url).text == "hi"


@pytest.mark.parametrize("https_url", [False], indirect=True)
def test_prometheus_is_trusted_by_the_authority_of_ssl_cert_file(
    https_url: str, authority: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        BoundedSession().get(https_url)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    assert BoundedSession().get(https_url).text == "hi"
