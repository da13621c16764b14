"""Strange configurations, commands, contents of Redis, answers of Prometheus: no traceback, no unsafe step.

Each input has a number, which makes it again. `make soak` asks for many (SOAK_CONFIGS, SOAK_COMMANDS,
SOAK_CONTENTS, SOAK_ANSWERS); HTTP has a course of its own in tests/server/test_malformed.py (SOAK_REQUESTS).
"""

import contextlib
import json
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from click.testing import CliRunner
from fuzz.mutations import IMPOSSIBLE, TEXTS, Mutator
from kit.examples import amount
from kit.servers import RedisServer
from kit.serving import TOKEN, serving
from kit.waiting import wait_until
from structlog.testing import capture_logs
from worlds.strange import BROKEN, STRANGE, World
from worlds.tick import tick_world

from adapter.settings import Settings
from controller import cli
from controller.commands.init import TEMPLATE
from controller.config.settings import load_settings, shown
from controller.contract import EVIDENCE_ERRORS, FLAG_NAMES, decisions_key, flag_key, state_key
from controller.daemon.wiring import assemble
from controller.decision.model import Kind
from controller.shared.config_file import ConfigError
from controller.shared.environment import VARIABLES
from controller.shared.redis_pool import open_redis
from controller.store.record_json import dump, read_record

CONFIGS = amount("CONFIGS", soak=20_000, usually=150)
COMMANDS = amount("COMMANDS", soak=5000, usually=60)
CONTENTS = amount("CONTENTS", soak=5000, usually=30)
ANSWERS = amount("ANSWERS", soak=10_000, usually=60)
SEED = amount("SEED", soak=17, usually=17)


@contextlib.contextmanager
def number(seed: int, shown: object) -> Iterator[None]:
    """Name the input that a failure comes from."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"input {seed}: {shown!r:.2000}")
        raise


CONFIG = TEMPLATE.format(
    redis_url="redis://127.0.0.1:1/0",
    prometheus_url="http://127.0.0.1:1",
    feature="microsoft",
    provider="microsoft",
    action="outlook.send",
).replace("\n# ", "\n")
"""Every key there is, none of them commented out."""


def test_a_strange_configuration_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    text = "\n".join(line for line in CONFIG.splitlines() if "=" in line or line.startswith("["))
    sound = tomllib.loads(text)
    path = tmp_path / "rollout.toml"
    refused = 0
    for seed in range(SEED, SEED + CONFIGS):
        mutator = Mutator(seed)
        data = (
            mutator.bytes_of(text.encode())
            if seed % 2
            else toml_of(mutator.json_of(sound)).encode("utf-8", "replace")
        )
        path.write_bytes(data)
        with number(seed, data):
            try:
                read = load_settings(path, {})
            except ConfigError as error:
                refused += 1
                told = str(error)
            else:
                told = "sound"
                for feature in read.features.values():
                    assert all(0 <= percent <= 100 for percent in feature.steps)
                    assert list(feature.steps) == sorted(set(feature.steps))
                    assert 0 < feature.slo_error_rate_threshold < 1
                assert read.interval_s > 0
            assert 0 < len(told) < 20_000
    assert refused > CONFIGS / 4


def toml_of(value: Any, prefix: str = "") -> str:
    """Write tables as TOML; what TOML has no word for is written as JSON has it, and is to be refused."""
    if not isinstance(value, dict):
        return json.dumps(value)
    lines = [f"{json.dumps(key)} = {inline(one)}" for key, one in value.items() if not isinstance(one, dict)]
    for key, one in value.items():
        if isinstance(one, dict):
            name = f"{prefix}{json.dumps(key)}"
            lines += [f"[{name}]", toml_of(one, f"{name}.")]
    return "\n".join(lines)


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return json.dumps(value)


def test_a_strange_environment_is_read_or_refused_and_what_is_read_can_be_used(tmp_path: Path) -> None:
    refused = 0
    for seed in range(SEED, SEED + 4 * CONFIGS):
        mutator = Mutator(seed)
        names = mutator.sample(sorted(VARIABLES - {"ROLLOUT_CONFIG"}), 2)
        environ = {name: strange_setting(mutator) for name in names}
        with number(seed, environ):
            try:
                settings = load_settings(None, environ)
                Settings.from_environment(environ)
                open_redis(settings.redis_url, 0.1).close()
                assert shown(settings.prometheus_url).isprintable()
                assert settings.listen_address
                with contextlib.suppress(requests.RequestException, OSError):
                    url = f"{settings.prometheus_url}/api/v1/query"
                    requests.Request("GET", url, settings.access_to_prometheus.headers).prepare()
                told = ""
            except ValueError as error:
                refused += 1
                told = str(error)
            assert told.count("\n") <= 1
    assert refused > CONFIGS


def strange_setting(mutator: Mutator) -> str:
    """Return a text that an environment can hold, or a sound setting damaged."""
    sound = (
        "redis://:secret@127.0.0.1:6379/0",
        "http://127.0.0.1:9090",
        "30",
        "true",
        "127.0.0.1:8003",
        "a:b,c:d",
    )
    if mutator.random() < 0.4:
        return mutator.choice([text for text in TEXTS if "\x00" not in text])
    return (
        mutator.bytes_of(mutator.choice(sound).encode())
        .replace(b"\x00", b"")
        .decode("utf-8", "surrogateescape")
    )


LONG_RUNNING = {"run", "serve", "demo", "validate-alerts", "reload", "auth"}
"""They serve until they are stopped, signal a daemon or wait for a browser; they read arguments alike."""
OPTIONS = (
    "--json", "--config", "--reason", "--since", "--changes", "--verify", "--yes", "--server", "--rps",
    "--help", "--error-rate", "--policy", "--trace", "--prometheus", "--out", "--window-s", "--interval-s",
    "--scrape-s",
    "--recipient", "--event", "--print", "--to", "--subject", "--text", "--user", "--plot", "--", "-", "-h",
)  # fmt: skip
WORDS = (
    *TEXTS[1:],
    "5",
    "101",
    "1e9",
    "-1",
    "7d",
    "verify",
    "list",
    "check",
    "show",
    "render",
    "x",
    "/dev/null",
    ".",
)


def test_a_strange_command_line_ends_with_an_exit_code_and_one_line(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [name for name in cli.COMMANDS if name not in LONG_RUNNING]
    env = {"ROLLOUT_REDIS_URL": redis_server.url, "ROLLOUT_PROMETHEUS_URL": "http://127.0.0.1:1"}
    env["PROVIDER_MICROSOFT_ENABLED"] = "false"
    for seed in range(SEED, SEED + COMMANDS):
        mutator = Mutator(seed)
        rest = mutator.choices((*OPTIONS, *WORDS), k=mutator.randint(0, 5))
        feature = mutator.choice(("microsoft", "google", "micro\udce9", "\x1b[2J", ""))
        words = [mutator.choice(names), *([feature] if mutator.random() < 0.7 else []), *rest]
        if mutator.random() < 0.5:
            words += ["--reason", mutator.choice(TEXTS), "--yes"]
        with number(seed, words):
            done = CliRunner().invoke(cli.rollout, words, env=env, input="")
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
            assert done.exit_code in {0, 1, 2, 3}
            assert "Traceback" not in done.output
            assert "\x1b" not in done.output


def test_a_strange_trace_is_replayed_or_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for seed in range(SEED, SEED + COMMANDS):
        mutator = Mutator(seed)
        lines = [{"t": 30.0 * n, "sends": 900, "errors": 290 * (n > 20), "slow": 3} for n in range(30)]
        told = [json.dumps(line).encode() for line in lines]
        for at in mutator.sample(range(len(told)), 2):
            told[at] = mutator.text_of(lines[at]).encode() if seed % 2 else mutator.bytes_of(told[at])
        path.write_bytes(b"\n".join(told))
        words = ["replay", "microsoft", "--trace", str(path), *(["--json"] if seed % 3 else [])]
        with number(seed, told):
            done = CliRunner().invoke(cli.rollout, words)
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
            assert done.exit_code in {0, 1, 2}
            assert done.exit_code == 0 or done.stderr.count("\n") == 1


def test_no_content_of_redis_stops_the_watch_or_a_pause(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as server,
        redis.Redis(port=server.port, socket_timeout=5) as raw,
        capture_logs() as logs,
    ):
        world = World(server.url, raw)
        for seed in range(SEED, SEED + CONTENTS):
            mutator = Mutator(seed)
            world.begin()
            damage = [spoil(world, mutator) for _ in range(mutator.randint(1, 4))]
            with number(seed, damage):
                world.weather.errors = 290.0
                world.tick(world.controller())
                world.tick(world.controller())
                assert world.flags(BROKEN).paused
                assert world.pause(STRANGE)["to"]["paused"] is True
                for words in (
                    ("status",),
                    ("history", STRANGE),
                    ("journal", "verify"),
                    ("history", BROKEN, "--json"),
                ):
                    done = CliRunner().invoke(cli.rollout, list(words), env={"ROLLOUT_REDIS_URL": server.url})
                    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert [one for one in logs if one["event"] == "decision_failed" and one["feature"] == BROKEN] == []


def spoil(world: World, mutator: Mutator) -> tuple[str, str]:
    """Damage what the controller has written of the strange feature itself: a value, a state, a record."""
    kind = mutator.choice(("flag", "state", "state", "record", "record", "record"))
    if kind == "flag":
        key = flag_key(STRANGE, mutator.choice(FLAG_NAMES))
        data = mutator.bytes_of(mutator.choice((b"true", b"false", b"50")))
        world.raw.set(key, data)
    elif kind == "state":
        key, before = state_key(STRANGE), world.raw.get(state_key(STRANGE)) or b"{}"
        assert isinstance(before, bytes)
        data = damaged(mutator, before)
        world.raw.set(key, data)
    else:
        key = decisions_key(STRANGE)
        newest: Any = world.raw.xrevrange(key, count=1)
        data = damaged(mutator, newest[0][1][b"record"])
        world.raw.xadd(key, {b"record": data})
    return key, data.decode("latin-1")


def damaged(mutator: Mutator, data: bytes) -> bytes:
    if mutator.random() < 0.3:
        return mutator.bytes_of(data)
    try:
        return mutator.text_of(json.loads(data)).encode()
    except ValueError:
        return mutator.bytes_of(data)


class Liar(ThreadingHTTPServer):
    """Stands before Prometheus and damages about half of what it answers."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Lies)
        self.target = target
        self.mutator = Mutator(SEED, IMPOSSIBLE, spares_digits=True)
        self.told = 0
        self.honest = False
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def lie(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        with self.lock:
            how = self.mutator.random()
            if how < 0.5 or self.honest:
                return 200, body, {}
            self.told += 1
            if how < 0.8:
                return 200, self.mutator.text_of(json.loads(body)).encode(), {}
            if how < 0.9:
                return 200, self.mutator.bytes_of(body), {}
            if how < 0.95:
                return self.mutator.choice((204, 301, 400, 401, 404, 422, 429, 500, 503)), body, {}
            return (
                200,
                body,
                self.mutator.choice(
                    (
                        {"Content-Encoding": "gzip"},
                        {"Content-Length": "9999999"},
                        {"Content-Type": "text/html; charset=utf-16"},
                    )
                ),
            )


class _Lies(BaseHTTPRequestHandler):
    server: Liar
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, sent: bytes | None) -> None:
        headers = {"Content-Type": self.headers.get("Content-Type", "")} if sent is not None else {}
        request = urllib.request.Request(self.server.target + self.path, data=sent, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        status, lie, extra = self.server.lie(body)
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(lie))} | extra
        ).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(lie)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def lying(target: str) -> Iterator[Liar]:
    server = Liar(target)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_no_answer_of_prometheus_makes_an_unsafe_step_or_a_mistake(tmp_path: Path) -> None:
    """The truth is a broken feature; what is damaged on the way never makes it step up."""
    with (
        tick_world(tmp_path, 2) as world,
        lying(world.settings.prometheus_url) as liar,
        capture_logs() as logs,
    ):
        page = tmp_path / "metrics.txt"
        lines = page.read_text().splitlines()
        page.write_text(
            "\n".join(line[:-1] + "290" if line.startswith(EVIDENCE_ERRORS) else line for line in lines)
            + "\n"
        )
        features = {name: replace(one, bake_s=0.0) for name, one in world.settings.features.items()}
        settings = replace(world.settings, features=features, prometheus_url=liar.url)
        controller = assemble(settings, dry_run=False).controller
        kinds: dict[str, int] = {}
        with world.redis.client() as client:
            while liar.told < ANSWERS:
                report = controller.tick()
                assert not report.error
                for record in report.records:
                    kinds[record["kind"]] = kinds.get(record["kind"], 0) + 1
                    with number(liar.told, record):
                        assert record["kind"] != Kind.STEP_UP
                        assert read_record(dump(record)) is not None
                        assert len(dump(record)) < 100_000
                for name in features:
                    client.set(flag_key(name, "paused"), "false")
            liar.honest = True
            paused = [flag_key(name, "paused") for name in features]
            ticks = iter(lambda: world.tick(controller), None)
            wait_until(lambda: next(ticks).records and set(client.mget(paused)) == {"true"}, within_s=60)
    assert [one for one in logs if one["event"] == "decision_failed"] == []
    assert kinds.get("hold", 0) > 0


ASKS_PROMETHEUS = (
    ("doctor", "--json"),
    ("decide", "--json"),
    ("plan", "feature-00000", "--json"),
    ("replay", "feature-00000", "--since", "5m", "--json"),
)
_FILE = """
[controller]
window_s = 2
scrape_s = 0.6
interval_s = 2
[features.feature-00000]
provider = "bench"
action = "mail0.send"
"""


def test_no_answer_of_prometheus_ends_a_command_in_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text(_FILE)
    monkeypatch.chdir(tmp_path)
    with tick_world(tmp_path, 1) as world, lying(world.settings.prometheus_url) as liar:
        env = {"ROLLOUT_CONFIG": str(config), "ROLLOUT_REDIS_URL": world.redis.url}
        env |= {"ROLLOUT_PROMETHEUS_URL": liar.url, "PROVIDER_MICROSOFT_ENABLED": "false"}
        while liar.told < ANSWERS:
            for words in ASKS_PROMETHEUS:
                with number(liar.told, words):
                    done = CliRunner().invoke(cli.rollout, list(words), env=env, input="")
                    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
                    assert done.exit_code in {0, 1, 3}, done.output
                    assert "Traceback" not in done.output


ASKS_A_DAEMON = (
    ("status",),
    ("status", "--json"),
    ("history", "microsoft"),
    ("history", "microsoft", "--changes", "--json"),
    ("pause", "microsoft", "--reason", "x"),
)


def test_no_answer_of_a_daemon_ends_a_command_in_a_traceback(redis_server: RedisServer) -> None:
    env = {"ROLLOUT_REDIS_URL": redis_server.url, "ROLLOUT_API_TOKEN": TOKEN}
    with serving(redis_server.url) as served, lying(served.url) as liar:
        served.person(Kind.ENABLE)
        liar.mutator = Mutator(SEED)
        while liar.told < ANSWERS:
            for words in ASKS_A_DAEMON:
                with number(liar.told, words):
                    done = CliRunner().invoke(cli.rollout, [*words, "--server", liar.url], env=env)
                    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
                    assert done.exit_code in {0, 1, 2, 3}
                    assert TOKEN not in done.output
