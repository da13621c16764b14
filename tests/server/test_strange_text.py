"""Text that strangers give, or left in the records, steers no terminal, page or chat, and fails nothing."""

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.servers import RedisServer
from kit.serving import SIGNED, Served, serving

from controller import cli
from controller.config.receivers import Receiver
from controller.contract import decisions_key
from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES
from controller.notify.messages import message, notices_of
from controller.shared.plain_text import LONGEST_TEXT
from controller.store.record_json import read_record

ROLLOUT = Path(sys.executable).with_name("rollout")
STEERING = (
    "\x1b[2J\x1b[31mgone",
    "\x1b]0;owned\x07",
    "\x9b31mred",
    "half \ud83d an emoji",
    "caf\udce9",
    "right\u202eto left\u2066",
    "nul\x00",
    "back\x08\x08space",
    "zero\u200bwidth\ufeff",
)
PLAIN = ("Größe 数 \N{PILE OF POO}", "<script>alert(1)</script>", "[click](http://evil.example)", "'\";--")
TOO_LONG = ("x" * (LONGEST_TEXT + 1), "two\nlines", "two\rlines", "two\u2028lines")
READS = (
    "/",
    "/features/microsoft",
    "/page/features/microsoft/course",
    "/api/v1/features",
    "/api/v1/features/microsoft",
    "/api/v1/features/microsoft/decisions",
)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    features = {name: replace(one, pause_on_alert=True) for name, one in ROLLOUT_FEATURES.items()}
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as server,
        serving(server.url, features=features) as context,
    ):
        yield context


@pytest.fixture
def raw(face: Served) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(face.settings.redis_url) as client:
        yield client


def steers(text: str) -> list[str]:
    """Return the characters that would steer whoever shows this text."""
    kinds = {"Cc", "Cs", "Cf", "Zl", "Zp"}
    return [char for char in text if unicodedata.category(char) in kinds and char not in "\n\r\t\u200d\u200c"]


def all_answers(face: Served) -> None:
    """Read every route; none fails, and none holds a character that steers."""
    for path in READS:
        told = face.http.get(path)
        assert told.status_code == 200, (path, told.text)
        assert steers(told.text) == [], path


def post(face: Served, what: str, body: Any) -> httpx.Response:
    """Post JSON as it is, half surrogate pairs too."""
    content = json.dumps(body).encode()
    return face.http.post(what, content=content, headers={**SIGNED, "Content-Type": "application/json"})


@pytest.mark.parametrize("reason", [*STEERING, *PLAIN], ids=ascii)
def test_a_reason_over_the_api_is_kept_as_far_as_it_prints(face: Served, reason: str) -> None:
    told = post(face, "/api/v1/features/microsoft/pause", {"reason": reason})
    assert told.status_code == 200
    assert steers(told.json()["note"]) == []
    assert (told.json()["note"] == reason) == (reason in PLAIN)
    all_answers(face)


@pytest.mark.parametrize("reason", TOO_LONG, ids=len)
def test_a_long_reason_or_one_of_two_lines_is_refused_and_changes_nothing(face: Served, reason: str) -> None:
    face.person(Kind.RESUME)
    assert post(face, "/api/v1/features/microsoft/pause", {"reason": reason}).status_code == 422
    assert not face.http.get("/api/v1/features/microsoft").json()["paused"]


@pytest.mark.parametrize("strange", STEERING, ids=ascii)
def test_what_is_refused_is_refused_whatever_it_is_called(face: Served, strange: str) -> None:
    path = "/api/v1/features/microsoft/pause"
    assert post(face, path, {strange: 1, "reason": "x"}).status_code == 422
    assert post(face, path, {"reason": [strange]}).status_code == 422
    assert post(face, path, strange).status_code == 400
    asked = {"context": {"targetingKey": strange, "recipients": [strange]}}
    assert post(face, "/ofrep/v1/evaluate/flags", asked).status_code in {200, 400}
    assert post(face, "/ofrep/v1/evaluate/flags/microsoft", {"context": {strange: 1}}).status_code == 400


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reason=st.text(st.characters(exclude_categories=[]), max_size=LONGEST_TEXT + 10))
def test_any_reason_at_all_is_kept_or_refused(face: Served, reason: str) -> None:
    told = post(face, "/api/v1/features/microsoft/pause", {"reason": reason})
    assert told.status_code in {200, 422}
    if told.status_code == 200:
        assert steers(told.json()["note"]) == []


@pytest.mark.parametrize("strange", STEERING, ids=ascii)
def test_alertmanager_may_send_any_text(face: Served, strange: str) -> None:
    alert = {
        "status": "firing",
        "startsAt": strange,
        "fingerprint": strange,
        "labels": {"alertname": strange, "severity": "critical", "feature": "microsoft", strange: strange},
        "annotations": {"summary": strange * 400, "description": strange},
    }
    told = post(face, "/api/v1/alerts", {"alerts": [alert]})
    assert told.status_code == 200
    assert told.json()["features"] == ["microsoft"]
    all_answers(face)


def arguments(face: Served) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": face.settings.redis_url}


def test_bytes_of_another_encoding_on_the_command_line_pause_all_the_same(face: Served) -> None:
    face.person(Kind.RESUME)
    actor = {b"ROLLOUT_ACTOR": b"J\xf6rg\x1b[2J" + b"x" * 300, b"LC_ALL": b"C"}
    env = {key.encode(): value.encode() for key, value in arguments(face).items()} | actor
    done = subprocess.run(
        [os.fsencode(ROLLOUT), b"pause", b"microsoft", b"--reason", b"caf\xe9 \x1b]0;x\x07"],
        env=env,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, "paused, on a Redis where no controller ever led"
    assert b"paused, but" in done.stderr
    newest = face.http.get("/api/v1/features/microsoft/decisions?limit=1").json()["decisions"][0]
    assert newest["note"] == "caf� �]0;x�"
    assert newest["actor"].startswith("J�rg�[2Jxxx")
    assert len(newest["actor"]) == 100
    for words in ([b"pause", b"micro\xe9"], [b"history", b"\xff"], [b"\xfe"], [b"explain", b"\xff\x1b"]):
        refused = subprocess.run(
            [os.fsencode(ROLLOUT), *words],
            env=env,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert refused.returncode in {1, 2}
        assert refused.stderr.count(b"\n") == 1, refused.stderr
        assert b"\x1b" not in refused.stderr


def test_records_that_hold_such_text_already_are_told_everywhere(face: Served, raw: redis.Redis) -> None:
    record = face.person(Kind.PAUSE)
    for number, strange in enumerate((*STEERING, *TOO_LONG)):
        left = record | {
            "id": f"microsoft-1-{number:08}",
            "note": strange,
            "actor": strange,
            "detail": strange,
        }
        raw.xadd(decisions_key("microsoft"), {"record": json.dumps(left)})
    all_answers(face)
    env = arguments(face)
    for words in (
        ("history", "microsoft"),
        ("history", "microsoft", "--json"),
        ("explain", "microsoft-1-00000000"),
        ("explain", "microsoft-1-00000003", "--verify"),
        ("status",),
        ("journal", "verify"),
    ):
        done = CliRunner().invoke(cli.rollout, list(words), env=env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert steers(done.output) == [], words
    shown = at_terminal("history", "microsoft", env=env) + at_terminal(
        "explain", "microsoft-1-00000000", env=env
    )
    assert "\\u001b[2J" in shown
    assert steers(shown) == []


def at_terminal(*words: str, env: dict[str, str]) -> str:
    """Run a command on a terminal of its own and return all that it writes there."""
    main, side = pty.openpty()
    with subprocess.Popen([ROLLOUT, *words], stdin=side, stdout=side, stderr=side, env=env) as run:
        os.close(side)
        shown = b""
        while True:
            try:
                part = os.read(main, 65_536)
            except OSError:
                break
            shown += part
        run.wait(30)
    os.close(main)
    return shown.decode()


@pytest.mark.parametrize("kind", ["webhook", "slack", "teams"])
@pytest.mark.parametrize("note", [*STEERING, *PLAIN], ids=ascii)
def test_a_notice_holds_no_link_and_no_code_of_theirs(face: Served, kind: str, note: str) -> None:
    told = read_record(json.dumps(face.person(Kind.PAUSE) | {"note": note, "actor": note}))
    assert told is not None
    [notice] = [one for one in notices_of(told, 60) if one.event == "pause"]
    body = json.loads(message(notice, Receiver(name="r", kind=kind, url="http://x.example"), 0.0).body)
    texts = [body["text"]] if kind != "teams" else [body["attachments"][0]["content"]["body"][0]["text"]]
    assert steers("".join(texts)) == []
    if kind == "teams" and note.startswith("["):
        assert r"\[click\]\(http://evil.example)" in texts[0]
    if kind == "slack":
        assert body["blocks"][0]["text"]["verbatim"] is True
        assert "<script>" not in texts[0]
