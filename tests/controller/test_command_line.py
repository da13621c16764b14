"""The command line's manners: one-line errors, tables that fit, a configuration to begin with."""

import getpass
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kit.servers import RedisServer, free_port
from kit.typed import read
from kit.typed import words_of as typed_words
from kit.waiting import wait_until

from controller import cli
from controller.commands.init import TEMPLATE, written
from controller.config.settings import load_settings
from controller.features import ROLLOUT_FEATURES
from controller.shared.console import table_lines

ROLLOUT = Path(sys.executable).with_name("rollout")


def rollout(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ROLLOUT, *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], **env},
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stats",), "did you mean status?"),
        (("pause",), "FEATURE"),
        (("pause", "microsoft"), "--reason"),
        (("set", "microsoft", "101", "--reason", "x"), "0 to 100"),
        (("history", "microsfot"), "did you mean microsoft?"),
        (("pause", "microsoft", "--reason", " "), "say why"),
        (("pause", "microsoft", "--reason", "x", "--server", "here"), "http://127.0.0.1:8003"),
        (("status", "--server", "http://[x"), "http://127.0.0.1:8003"),
        (("status", "--server", "http://127.0.0.1:x"), "http://127.0.0.1:8003"),
        (("replay", "microsoft", "--since", "1h", "--prometheus", "http://[x"), "http://127.0.0.1:8003"),
        (("validate-alerts", "--prometheus", "ftp://x"), "http://"),
        (("status", "--config", "/nowhere.toml"), "cannot be read"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(words: tuple[str, ...], says: str) -> None:
    refused = rollout(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1


def every_command(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*words, name))


@pytest.mark.parametrize("words", list(every_command(cli.rollout)), ids=" ".join)
def test_every_command_helps_with_examples_that_can_be_typed(words: tuple[str, ...], tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli.rollout, [*words, "--help"], prog_name="rollout", terminal_width=80)
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80
    _, _, end = shown.output.partition("Examples:\n")
    examples = re.findall(r"(?:^ +|\()(rollout [^)\n]+)", end, flags=re.MULTILINE)
    assert examples
    for example in examples:
        typed = typed_words(example)
        assert typed[: len(words)] == list(words)
        read(typed, tmp_path)


def test_every_command_that_prints_a_table_prints_json() -> None:
    prints_none = {"init", "serve", "reload", "completion", "demo", "notify test"}
    for words in every_command(cli.rollout):
        shown = CliRunner().invoke(cli.rollout, [*words, "--help"]).output
        assert ("--json" in shown or "Commands:" in shown) != (" ".join(words) in prints_none), words


def test_a_person_at_a_terminal_is_asked_and_a_pause_never_is(redis_server: RedisServer) -> None:
    env = {"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": redis_server.url, "TERM": "dumb"}
    asked = _at_terminal(["disable", "microsoft", "--reason", "x"], b"n\n", env)
    assert b"disable microsoft? [y/N]" in asked
    assert b"revision" not in asked
    assert b"revision" in _at_terminal(["disable", "microsoft", "--reason", "x", "--yes"], b"", env)
    paused = _at_terminal(["pause", "microsoft", "--reason", "x"], b"", env)
    assert b"[y/N]" not in paused
    assert b"revision" in paused


def test_watching_writes_over_what_stands_there_and_clears_once(redis_server: RedisServer) -> None:
    env = {"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": redis_server.url, "TERM": "xterm"}
    main, side = pty.openpty()
    with subprocess.Popen(
        [ROLLOUT, "status", "--watch"], stdin=side, stdout=side, stderr=side, env=env
    ) as run:
        os.close(side)
        shown = bytearray()

        def twice() -> bool:
            shown.extend(os.read(main, 65_536))
            return shown.count(b"feature") >= 3

        wait_until(twice, within_s=20)
        run.terminate()
    os.close(main)
    assert shown.count(b"\x1b[2J") == 1
    assert shown.count(b"\x1b[H") >= 2


def _at_terminal(words: list[str], answer: bytes, env: dict[str, str]) -> bytes:
    main, side = pty.openpty()
    with subprocess.Popen([ROLLOUT, *words], stdin=side, stdout=side, stderr=side, env=env) as run:
        os.close(side)
        os.write(main, answer)
        shown = b""
        while True:
            try:
                part = os.read(main, 65_536)
            except OSError:
                break
            shown += part
            if not part:
                break
        run.wait(20)
    os.close(main)
    return shown


WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=30).map(" ".join)


@given(rows=st.lists(st.tuples(st.text("xyz", max_size=14), st.text("12", max_size=4), WORDS), max_size=6))
def test_a_table_fits_eighty_columns_and_loses_no_word(rows: list[tuple[str, str, str]]) -> None:
    lines = table_lines(("feature", "%", "in words"), rows, 80)
    assert max(len(line) for line in lines) <= 80
    assert sorted(" ".join(lines).split()) == sorted(
        word for row in (("feature", "%", "in words"), *rows) for cell in row for word in cell.split()
    )


def test_two_wide_columns_share_the_room_and_stay_columns() -> None:
    lines = table_lines(("what", "seen", "do"), [("redis", "seen " * 40, "do " * 30)], 80)
    assert max(len(line) for line in lines) <= 80
    assert {line.index("do") for line in lines if "do" in line} == {lines[0].index("do")}


def test_a_number_keeps_its_per_cent_sign() -> None:
    lines = table_lines(("a", "b"), [("x" * 30, "is 1 % " * 12)], 50)
    assert not any(line.split()[-1:] == ["1"] for line in lines)


def test_elsewhere_than_on_a_terminal_a_row_stays_one_line() -> None:
    assert len(table_lines(("a", "b"), [("x", "word " * 100)], None)) == 2


@pytest.mark.parametrize("feature", sorted(ROLLOUT_FEATURES))
def test_the_first_configuration_is_the_default_one_with_all_of_its_comments_true(
    feature: str, tmp_path: Path
) -> None:
    text = written(feature, "redis://127.0.0.1:6379/0", "http://127.0.0.1:9090")
    path = tmp_path / "rollout.toml"
    path.write_text(text)
    assert load_settings(path, {}).features == {feature: ROLLOUT_FEATURES[feature]}
    path.write_text(re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text))
    everything = load_settings(path, {})
    assert everything.features[feature].approval_steps == (50.0,)
    assert everything.notify[0].name == "ops"


def test_init_writes_the_file_looks_around_and_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    first = rollout("init", str(path), "--redis-url", "redis://127.0.0.1:1/0")
    assert (first.returncode, path.exists()) == (0, True)
    assert "rollout doctor" in first.stdout
    again = rollout("init", str(path))
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    assert rollout("init", str(path), "--force").returncode == 0
    assert path.with_name("rollout.toml.bak").exists()
    assert TEMPLATE.startswith("#")


def test_init_writes_into_one_folder_what_prometheus_needs_and_leaves_alone_what_is_there(
    tmp_path: Path,
) -> None:
    path, rules, scraped = tmp_path / "rollout.toml", tmp_path / "rules", tmp_path / "prometheus.yml"
    rules.mkdir()
    (rules / "prometheus-alerts-microsoft.yml").write_text("groups: []\n")
    done = rollout("init", str(path), "--sender", "10.0.0.6:8004", "--sender", "mail-2:8004")
    assert done.returncode == 0
    assert f"Kept {rules}/prometheus-alerts-microsoft.yml" in done.stdout
    jobs = yaml.safe_load(scraped.read_text())["scrape_configs"]
    targets = [job["static_configs"][0]["targets"] for job in jobs]
    assert targets == [["10.0.0.6:8004", "mail-2:8004"], ["127.0.0.1:8003"]]
    assert (rules / "prometheus-alerts-microsoft.yml").read_text() == "groups: []\n"
    last = done.stdout.splitlines()[-1].split()
    assert rollout(*last[1:]).returncode == 0
    assert rollout("rules", "check", "--rules", str(rules), "--config", str(path)).returncode == 0
    assert subprocess.run(["promtool", "check", "config", str(scraped)], check=False).returncode == 0


def test_a_sender_that_init_cannot_read_as_an_address_is_refused(tmp_path: Path) -> None:
    done = rollout("init", str(tmp_path / "rollout.toml"), "--sender", "http://mail/")
    assert (done.returncode, "HOST:PORT" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    assert "_ROLLOUT_COMPLETE" in rollout("completion", shell).stdout


@pytest.mark.parametrize("state", ["garbage", "5", "null", '{"flags": 5}', "[]", "[" * 9999])
def test_a_pause_gets_through_a_state_that_cannot_be_read(redis_server: RedisServer, state: str) -> None:
    with redis_server.client() as client:
        known = {"rollout:epoch": "1", "flags:microsoft:paused": "false"}
        client.mset(known | {"rollout:state:microsoft": state})
        paused = rollout("pause", "microsoft", "--reason", "x", ROLLOUT_REDIS_URL=redis_server.url)
        assert (paused.returncode, client.get("flags:microsoft:paused")) == (0, "true"), paused.stderr


def test_a_pause_gets_through_a_configuration_that_cannot_be_read(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    broken = tmp_path / "rollout.toml"
    broken.write_text("[features.microsoft]\nbake = 1\n")
    words = ("pause", "microsoft", "--reason", "x", "--config", str(broken))
    blind = rollout(*words)
    assert (blind.returncode, "ROLLOUT_REDIS_URL" in blind.stderr) == (2, True)
    with redis_server.client() as client:
        client.mset({"rollout:epoch": "1", "flags:microsoft:paused": "false"})
        paused = rollout(*words, ROLLOUT_REDIS_URL=redis_server.url)
        assert (paused.returncode, client.get("flags:microsoft:paused")) == (0, "true")
        assert paused.stderr.count("\n") == 1


def test_a_pause_without_a_configuration_knows_the_feature_from_its_newest_record(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text('[features.news]\nprovider = "acme"\naction = "news.send"\nalpha = 0.01\n')
    words = ("news", "--reason", "x", "--config", str(config), "--json")
    enabled = json.loads(rollout("enable", *words, ROLLOUT_REDIS_URL=redis_server.url).stdout)
    config.write_text("no TOML")
    paused = json.loads(rollout("pause", *words, ROLLOUT_REDIS_URL=redis_server.url).stdout)
    assert paused["to"] == enabled["to"] | {"paused": True}
    assert paused["config"] == enabled["config"]
    with redis_server.client() as client:
        client.delete("rollout:decisions:news")
        client.mset({"rollout:epoch": "1", "flags:news:paused": "false"})
        assert rollout("pause", *words, ROLLOUT_REDIS_URL=redis_server.url).returncode == 0
        assert client.get("flags:news:paused") == "true"
    assert rollout("pause", *words, ROLLOUT_REDIS_URL="http://x").stderr.count("\n") == 1


def test_what_somebody_else_put_into_the_stream_is_passed_over(redis_server: RedisServer) -> None:
    url = redis_server.url
    with redis_server.client() as client:
        rollout("pause", "microsoft", "--reason", "x", ROLLOUT_REDIS_URL=url)
        for foreign in ({"note": "hello"}, {"record": "no JSON"}, {"record": "[]"}, {"record": "{}"}):
            client.xadd("rollout:decisions:microsoft", foreign)
    shown = rollout("history", "microsoft", "--json", ROLLOUT_REDIS_URL=url)
    assert [record["kind"] for record in json.loads(shown.stdout)] == ["pause"]
    assert rollout("status", ROLLOUT_REDIS_URL=url).returncode == 0
    assert rollout("explain", "nothing", ROLLOUT_REDIS_URL=url).returncode == 1


def test_a_tick_without_redis_is_one_line_too() -> None:
    lost = rollout("run", "--once", ROLLOUT_REDIS_URL="redis://127.0.0.1:1/0")
    assert (lost.returncode, lost.stderr.count("\n")) == (3, 1)


def test_a_user_without_a_name_is_named_by_number() -> None:
    """As in a container that runs under a number of its own."""
    become = "import os; os.setuid(54321) if os.getuid() == 0 else None"
    code = f"import controller.commands.operate as command\n{become}\nprint(command._actor())"
    env = {"PATH": os.environ["PATH"]}
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ("uid 54321" if os.getuid() == 0 else getpass.getuser())


@pytest.mark.parametrize("command", ["run", "serve"])
@pytest.mark.parametrize(
    ("name", "value"), [("PROVIDER_MICROSOFT_ENABLED", "1"), ("ROLLOUT_SEND_DEADLINE_S", "soon")]
)
def test_a_setting_of_the_adapter_that_cannot_be_used_is_refused_at_the_start(
    redis_server: RedisServer, command: str, name: str, value: str
) -> None:
    free = f"127.0.0.1:{free_port()}"
    addresses = {"ROLLOUT_LISTEN": free, "ROLLOUT_SENDER_LISTEN": free}
    refused = rollout(command, ROLLOUT_REDIS_URL=redis_server.url, **{name: value}, **addresses)
    assert (refused.returncode, refused.stderr.count("\n"), name in refused.stderr) == (2, 1, True), (
        refused.stderr
    )
