"""`rollout send`: from files and options, as a dry run and for real."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from click.testing import CliRunner
from kit.sending import open_flags
from kit.servers import RedisServer

from controller.cli import rollout

SEND = ["send", "--user", "u1", "--to", "Ann <ann@corp.example>", "--subject", "Hi"]


@pytest.fixture
def graph_url() -> Iterator[str]:
    """Run the sandbox as its own process."""
    command = [sys.executable, "-m", "adapter.sandbox.graph", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text('<p>Hi</p><img src="cid:logo">')
    (tmp_path / "logo.png").write_bytes(b"png")
    return path


@pytest.fixture
def environment(redis_server: RedisServer, redis_client: redis.Redis, graph_url: str) -> dict[str, str]:
    open_flags(redis_client)
    return {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": graph_url,
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "INTEGRATION_TESTS_ENABLED": "true",
        "MS_INTEGRATION_TOKEN": "sandbox-command",
    }


def run(*arguments: str, env: dict[str, str] | None = None, given: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(rollout, [*arguments], env=env, input=given)
    return result.exit_code, result.stdout, result.stderr


def faults(graph_url: str, **given: Any) -> None:
    httpx.put(graph_url.replace("/v1.0", "/sandbox/faults"), json=given).raise_for_status()


def with_files(page: Path) -> list[str]:
    return ["--html", str(page), "--inline", f"logo={page.parent / 'logo.png'}", "--attach", str(page)]


def test_a_dry_run_prints_the_request_and_asks_nobody(page: Path) -> None:
    code, out, _ = run(*SEND, *with_files(page), "--dry-run", "--json")
    request = json.loads(out)
    assert code == 0
    assert request["url"] == "https://graph.microsoft.com/v1.0/me/sendMail"
    assert request["body"]["message"]["toRecipients"] == [
        {"emailAddress": {"address": "ann@corp.example", "name": "Ann"}}
    ]
    assert [file["name"] for file in request["body"]["message"]["attachments"]] == ["page.html", "logo.png"]


def test_a_dry_run_of_gmail_prints_the_mail_itself(page: Path) -> None:
    code, out, _ = run(*SEND, *with_files(page), "--action", "gmail.send", "--dry-run", "--json")
    request = json.loads(out)
    assert code == 0
    assert request["url"].startswith("https://gmail.googleapis.com/upload/gmail/v1/users/me/messages/send?")
    assert request["body"].startswith("To: Ann")
    code, _, err = run(*SEND, *with_files(page), "--action", "gmail.send", "--no-save", "--dry-run")
    assert (code, "Gmail keeps every sent mail" in err) == (1, True)


def test_a_mail_goes_through_gmail_and_tells_its_ids(
    redis_server: RedisServer, redis_client: redis.Redis, page: Path
) -> None:
    open_flags(redis_client, "google")
    command = [sys.executable, "-m", "adapter.sandbox.gmail", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        environment = {
            "ROLLOUT_REDIS_URL": redis_server.url,
            "GOOGLE_API_URL": process.stdout.readline().strip(),
            "PROVIDER_GOOGLE_ENABLED": "true",
            "INTEGRATION_TESTS_ENABLED": "true",
            "GOOGLE_INTEGRATION_TOKEN": "sandbox-command",
        }
        gmail = [*SEND, "--action", "gmail.send", *with_files(page)]
        sent = run(*gmail, "--key", "k", "--json", env=environment)
        again = run(*gmail, "--key", "k", env=environment)
        process.terminate()
    told = json.loads(sent[1])
    assert told["status"] == "sent"
    assert told["message_id"] == told["thread_id"] != ""
    assert again[1].startswith("already sent with this key")
    assert f"message_id: {told['message_id']}" in again[1]


def test_a_dry_run_refuses_what_a_send_would(page: Path) -> None:
    code, _, err = run(*SEND, "--html", str(page), "--dry-run")
    assert (code, err.count("\n")) == (1, 1)
    assert "ORPHAN_CID" in err


def test_a_mail_is_sent_once_for_a_key(environment: dict[str, str], graph_url: str, page: Path) -> None:
    first = run(*SEND, *with_files(page), "--key", "k", "--json", env=environment)
    second = run(*SEND, *with_files(page), "--key", "k", "--json", env=environment)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert [json.loads(out)["replayed"] for _, out, _ in (first, second)] == [False, True]
    messages = httpx.get(graph_url.replace("/v1.0", "/sandbox/messages")).json()
    assert [message["subject"] for message in messages] == ["Hi"]


def test_a_mail_as_json_is_the_one_of_the_http_face(environment: dict[str, str]) -> None:
    mail = {"to": [{"address": "ann@corp.example"}], "subject": "Hi", "body_text": "Hi", "user_id": "u1"}
    code, out, _ = run("send", "--message", "-", "--json", env=environment, given=json.dumps(mail))
    assert (code, json.loads(out)["status"]) == (0, "sent")


def test_a_large_file_is_sent_by_a_draft_and_its_progress_is_shown(
    environment: dict[str, str], graph_url: str, page: Path
) -> None:
    film = page.parent / "film.mp4"
    film.write_bytes(b"film" * 1_500_000)
    large = {**environment, "MS_LARGE_ATTACHMENTS": "true"}
    send = [*SEND, "--text", "-", "--attach", str(film)]
    refused = run(*send, env=environment, given="Hi")
    assert "MS_LARGE_ATTACHMENTS=true sends larger ones" in refused[2]
    shown = run(*send, "--dry-run", "--json", env=large, given="Hi")
    assert json.loads(shown[1])["then_files"] == {"film.mp4": 6_000_000}
    code, out, err = run(*send, "--json", env=large, given="Hi")
    assert (code, json.loads(out)["status"]) == (0, "sent")
    assert err.endswith("uploaded 6.0 of 6.0 MB (100 %)\n")
    stats = httpx.get(graph_url.replace("/v1.0", "/sandbox/stats")).json()
    assert (stats["mails"], stats["drafts"]) == (1, 0)


def test_a_mail_at_a_time_can_be_cancelled_by_its_id(environment: dict[str, str], graph_url: str) -> None:
    sent = run(*SEND, "--text", "-", "--send-at", "2099-01-01T00:00:00Z", env=environment, given="Hi")
    assert (sent[0], "more than a year ahead" in sent[2]) == (2, True)
    at = formatdate_in(3600)
    sent = run(*SEND, "--text", "-", "--send-at", at, "--json", env=environment, given="Hi")
    assert sent[0] == 0, sent[2]
    cancel = ["send", "--user", "u1", "--cancel", json.loads(sent[1])["message_id"]]
    code, out, err = run(*cancel, env=environment)
    assert (code, out.startswith("cancelled"), err) == (0, True, "")
    code, out, err = run(*cancel, "--json", env=environment)
    assert (code, json.loads(out)["status"], err.count("\n")) == (1, "not_found", 1)
    code, _, err = run("send", "--cancel", "x", env=environment)
    assert (code, "--user" in err) == (2, True)
    code, _, err = run("send", "--user", "u1", "--cancel", "x", "--action", "gmail.send", env=environment)
    assert (code, "schedules no mail" in err) == (2, True)


def formatdate_in(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


def test_a_failure_says_so_in_one_line(environment: dict[str, str], graph_url: str) -> None:
    faults(graph_url, status=504)
    code, _, err = run(*SEND, "--text", "-", env=environment, given="Hi")
    assert (code, err.count("\n")) == (1, 1)
    assert "MS_SEND_UNKNOWN" in err


@pytest.mark.parametrize(
    ("changed", "exit_code", "told"),
    [
        ({"PROVIDER_MICROSOFT_ENABLED": "false"}, 1, "provider_disabled"),
        ({"MS_GRAPH_URL": "http://127.0.0.1:1", "ROLLOUT_MAX_POSTS": "1"}, 3, "UNREACHABLE"),
        ({"ROLLOUT_REDIS_URL": "redis://127.0.0.1:1"}, 3, "stale"),
        ({"ROLLOUT_SEND_DEADLINE_S": "soon"}, 2, "ROLLOUT_SEND_DEADLINE_S"),
    ],
)
def test_the_exit_code_says_whose_turn_it_is(
    changed: dict[str, str], exit_code: int, told: str, environment: dict[str, str]
) -> None:
    code, _, err = run(*SEND, "--text", "-", env=environment | changed, given="Hi")
    assert (code, err.count("\n")) == (exit_code, 1)
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["send", "--to", "a@b.com"], ""),
        ([*SEND, "--inline", "logo"], ""),
        ([*SEND, "--action", "fax.send"], ""),
        (["send", "--message", "-"], "no json"),
        (["send", "--message", "-"], "{}"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], given: str) -> None:
    assert run(*arguments, given=given)[0] == 2


@pytest.mark.parametrize("option", ["--to", "--cc", "--bcc", "--reply-to"])
@pytest.mark.parametrize(
    "text", ["bob@old.example <bob@corp.example>", "ann@corp.example, Bob <bob@corp.example>"]
)
def test_an_option_that_names_not_exactly_one_mailbox_is_refused_by_name(option: str, text: str) -> None:
    code, _, stderr = run(*SEND, option, text, "--text", "-", "--dry-run", given="Hi")
    assert code == 1
    assert text in stderr
    assert stderr.count("\n") == 1


def test_a_packed_file_has_the_type_of_its_packing_and_a_text_no_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "data.csv.gz").write_bytes(b"packed")
    (tmp_path / "body.txt").write_text("Hi", encoding="utf-8-sig")
    files = ("--attach", str(tmp_path / "data.csv.gz"), "--text", str(tmp_path / "body.txt"))
    code, stdout, _ = run(*SEND, *files, "--dry-run", "--json")
    message = json.loads(stdout)["body"]["message"]
    assert code == 0
    assert message["attachments"][0]["contentType"] == "application/gzip"
    assert message["body"]["content"] == "Hi"
