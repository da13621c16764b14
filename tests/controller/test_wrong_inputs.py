"""What is wrong is refused in one line that says what to do: 200 inputs, most of them in this process."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until
from worlds.wrong_inputs import ALL, COMMAND_LINES, WrongInput

from controller import cli

ROLLOUT = str(Path(sys.executable).with_name("rollout"))
PATH = os.environ["PATH"]
NO_REDIS = "redis://127.0.0.1:1"


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return a clean environment with what the input sets."""
    return {"PATH": PATH, "ROLLOUT_REDIS_URL": NO_REDIS, **env}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_files(wrong: WrongInput, folder: Path) -> None:
    for name, body in wrong.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)


def refused(code: object, stderr: str, wrong: WrongInput) -> None:
    """Check the one line and the exit code. A configuration that was found is named in a line before."""
    found, newline, rest = stderr.partition("\n")
    stderr = rest if found.startswith("rollout: configuration ") and newline else stderr
    assert (code, stderr.count("\n")) == (wrong.code, 1), stderr
    assert stderr.startswith("rollout: ")
    assert wrong.says in stderr


def name_of(wrong: WrongInput) -> str:
    given = [*(f"{name}={value}" for name, value in wrong.env.items()), *wrong.words]
    body = b"".join(wrong.files.values()).decode(errors="replace").replace("\n", " ")
    return f"{' '.join(given)[:70]} {body[-60:]}".strip()


def test_the_table_is_long_and_says_nothing_twice() -> None:
    inputs = [(wrong.words, *wrong.env.items(), *wrong.files.items()) for wrong in ALL]
    assert len(inputs) == len(set(inputs)) >= 200


@pytest.mark.parametrize("wrong", ALL, ids=name_of)
def test_a_wrong_input_is_one_line_that_says_what_to_do(
    wrong: WrongInput, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(wrong, folder)
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in environment(wrong.env).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["rollout", *wrong.words])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    refused(ended.value.code, capsys.readouterr().err, wrong)


@pytest.mark.parametrize("wrong", COMMAND_LINES[:: len(COMMAND_LINES) // 6], ids=name_of)
def test_the_installed_command_answers_the_same(wrong: WrongInput, folder: Path) -> None:
    ended = subprocess.run(
        [ROLLOUT, *wrong.words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment(wrong.env),
        cwd=folder,
    )
    refused(ended.returncode, ended.stderr, wrong)


def shell(line: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", "-c", line.replace("rollout ", f"{ROLLOUT} ")],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment(env),
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("rollout plan microsoft --rps 5 >&-", 1, "the output cannot be used (Bad file descriptor)"),
        ("rollout plan microsoft --rps 5 --json >&-", 1, "the output cannot be used (Bad file descriptor)"),
        ("rollout --help >&-", 1, "the output cannot be used (Bad file descriptor)"),
        (
            "rollout plan microsoft --rps 5 >/dev/full",
            1,
            "the output cannot be used (No space left on device)",
        ),
        ("rollout gate microsoft - <&-", 2, "standard input has no user id"),
        ("rollout gate microsoft - < <(printf '\\xff\\xfe')", 2, "not UTF-8"),
        ("rollout replay microsoft --trace - <&-", 2, "has no line"),
        ("rollout status | head -0", 0, "check redis_url"),
    ],
)
def test_a_strange_input_or_output_is_one_line_too(line: str, code: int, says: str) -> None:
    ended = shell(line)
    assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
    assert says in ended.stderr


def test_without_an_error_output_the_exit_code_still_tells() -> None:
    assert shell("rollout stats 2>&-").returncode == 2
    assert shell("rollout plan microsoft --rps 5 2>&- >&- <&-").returncode == 1


def test_a_pause_is_done_also_where_nothing_can_be_printed(redis_server: RedisServer) -> None:
    ended = shell("rollout pause microsoft --reason x >&-", ROLLOUT_REDIS_URL=redis_server.url)
    assert "the command itself may be done" in ended.stderr
    with redis_server.client() as client:
        assert client.get("flags:microsoft:paused") == "true"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    ended = shell("rollout simulate microsoft --rps 5 --error-rate 0.003 --ramps 1 | head -1")
    assert ended.stderr == ""


@contextmanager
def watching(redis_url: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [ROLLOUT, "status", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({"ROLLOUT_REDIS_URL": redis_url}),
    ) as process:
        try:
            assert process.stdout is not None
            assert "feature" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_ctrl_c_is_how_watching_ends(redis_server: RedisServer) -> None:
    with watching(redis_server.url) as process:
        wait_until(lambda: sleeps(process.pid), what="the wait between two looks")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")


def sleeps(pid: int) -> bool:
    time.sleep(0.2)
    return (
        "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()
        or "S" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    )


def test_ctrl_c_elsewhere_is_130_and_one_line() -> None:
    process = subprocess.Popen(
        [ROLLOUT, "gate", "microsoft", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({}),
    )
    wait_until(lambda: reads_standard_input(process.pid), what="the command's reading of its input")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    # The first line ends the one on which the terminal shows ^C.
    assert (process.returncode, stderr) == (130, "\nrollout: ended by the user; nothing more was done\n")


def reads_standard_input(pid: int) -> bool:
    return "pipe_read" in Path(f"/proc/{pid}/wchan").read_text()


@pytest.fixture(scope="module")
def locked_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a redis-server that wants a password."""
    with RedisServer(tmp_path_factory.mktemp("locked")) as server, server.client() as client:
        client.config_set("requirepass", "open-sesame")
        yield server.url


@pytest.mark.parametrize(
    "words", ["status", "pause microsoft --reason x", "gate microsoft ann", "history microsoft"]
)
@pytest.mark.parametrize(
    ("login", "says"),
    [("", "wants a password; write it into the URL"), (":guessed@", "refuses this user and password")],
)
def test_a_redis_that_wants_a_password_says_where_to_write_it(
    locked_redis: str, words: str, login: str, says: str
) -> None:
    ended = shell(f"rollout {words}", ROLLOUT_REDIS_URL=locked_redis.replace("//", f"//{login}"))
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1), ended.stderr
    assert says in ended.stderr
    assert "guessed" not in ended.stderr


def test_what_is_no_redis_and_no_api_is_said_in_one_line() -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            status = f"rollout status --server http://127.0.0.1:{port}"
            wait_until(lambda: "not from this API" in shell(status).stderr, what="the wrong server's answer")
            ended = shell("rollout status", ROLLOUT_REDIS_URL=f"redis://127.0.0.1:{port}")
            assert (ended.returncode, ended.stderr.count("\n")) == (3, 1), ended.stderr
        finally:
            server.kill()


@pytest.mark.parametrize("words", ["history", "pause", "decide", "gate", "plan", "set", "journal verify"])
def test_a_shell_completes_the_names_of_features(words: str) -> None:
    typed = f"rollout {words} mic"
    completed = subprocess.run(
        [ROLLOUT],
        capture_output=True,
        text=True,
        check=False,
        env=environment(
            {
                "_ROLLOUT_COMPLETE": "bash_complete",
                "COMP_WORDS": typed,
                "COMP_CWORD": str(len(typed.split()) - 1),
            }
        ),
    )
    assert (completed.stdout, completed.stderr) == ("plain,microsoft\n", "")
