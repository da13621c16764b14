"""What a person on call does and reads: the right Redis, the first cause, what changes, what to do next."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from kit.servers import RedisServer, free_port
from kit.serving import Served
from kit.waiting import wait_until

from controller.decision.model import Kind
from controller.decision.record import verify
from controller.features import ROLLOUT_FEATURES
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale

ROLLOUT = Path(sys.executable).with_name("rollout")


def rollout(url: str, *words: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    known = {"PATH": os.environ["PATH"], "ROLLOUT_ACTOR": "ann", "ROLLOUT_REDIS_URL": url}
    return subprocess.run(
        [ROLLOUT, *words],
        env=known | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def at_terminal(url: str, words: list[str], answer: bytes) -> str:
    main, side = pty.openpty()
    env = {"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": url, "TERM": "dumb"}
    with subprocess.Popen([ROLLOUT, *words], stdin=side, stdout=side, stderr=side, env=env) as run:
        os.close(side)
        os.write(main, answer)
        shown = b""
        while True:
            try:
                some = os.read(main, 65_536)
            except OSError:
                break
            if not some:
                break
            shown += some
        run.wait()
    os.close(main)
    return " ".join(shown.decode().split())


def status_of(url: str, feature: str = "microsoft") -> dict[str, object]:
    told = json.loads(rollout(url, "status", "--json").stdout)["features"]
    return next(stand for stand in told if stand["feature"] == feature)


def test_a_pause_where_no_controller_ever_ran_is_done_and_says_that_it_may_be_the_wrong_redis(
    redis_server: RedisServer,
) -> None:
    url = redis_server.url
    alone = rollout(url, "pause", "microsoft", "--reason", "incident")
    assert alone.returncode == 1
    assert f"this Redis has never seen a controller: {url} (from ROLLOUT_REDIS_URL)" in alone.stderr
    assert "Already" not in alone.stdout
    with redis_server.client() as client:
        assert client.get("flags:microsoft:paused") == "true"
        client.set("rollout:epoch", "1")
    again = rollout(url, "pause", "microsoft", "--reason", "once more")
    assert (again.returncode, again.stderr) == (0, "")
    assert f"Written to {url} (from ROLLOUT_REDIS_URL)." in again.stdout


def test_no_command_shows_the_password_of_the_redis_that_it_names(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://:hush@")
    for words in (("pause", "microsoft", "--reason", "x"), ("status",), ("status", "--json")):
        told = rollout(url, *words)
        assert "hush" not in told.stdout + told.stderr
    assert "redis://:***@" in rollout(url, "pause", "microsoft", "--reason", "x").stderr


def test_status_alone_answers_what_a_person_on_call_asks(redis_server: RedisServer) -> None:
    url = redis_server.url
    rollout(url, "enable", "microsoft", "--reason", "go")
    rollout(url, "set", "microsoft", "10", "--reason", "ten")
    rollout(url, "open", "microsoft", "--reason", "everybody")
    rollout(url, "pause", "microsoft", "--reason", "error reports")
    rollout(url, "pause", "microsoft", "--reason", "just in case", ROLLOUT_ACTOR="bob")
    told = rollout(url, "status").stdout
    assert "microsoft: Paused: nobody is in (10 % when resumed)" in told
    assert "anybody hurt now: No: nobody is in." in told
    assert " by ann (manual) " in told
    assert " s ago: error reports" in told
    assert "just in case" not in told
    assert f'ROLLOUT_REDIS_URL={url} rollout resume microsoft --reason "..."' in told
    stand = status_of(url)
    assert (stand["stage"], stand["paused_by"]["note"]) == ("paused", "error reports")  # type: ignore[index]
    history = rollout(url, "history", "microsoft").stdout
    assert "just in case. Already paused by ann (manual): error reports. Nothing changed." in history


def test_the_line_that_status_gives_works_as_it_is(redis_server: RedisServer, tmp_path: Path) -> None:
    config = tmp_path / "my rollout.toml"
    config.write_text(f'[controller]\nredis_url = "{redis_server.url}"\n')
    words = ("--config", str(config))
    for act in ("enable", "pause"):
        rollout("", act, "microsoft", "--reason", "x", *words)
    told = json.loads(rollout("", "status", "--json", *words).stdout)
    [line] = [
        step["command"]
        for stand in told["features"]
        for step in stand["next_steps"]
        if " resume microsoft" in step["command"]
    ]
    typed = line.replace("rollout ", f"{ROLLOUT} ", 1)
    subprocess.run(["/bin/sh", "-c", typed], check=True, cwd="/", env={"PATH": os.environ["PATH"]})
    with redis_server.client() as client:
        assert client.get("flags:microsoft:paused") == "false"


def test_a_person_is_told_from_what_to_what_and_what_is_skipped_before_anything_is_done(
    redis_server: RedisServer,
) -> None:
    url = redis_server.url
    rollout(url, "enable", "microsoft", "--reason", "go")
    rollout(url, "set", "microsoft", "10", "--reason", "ten")
    asked = at_terminal(url, ["set", "microsoft", "100", "--reason", "x"], b"n\n")
    assert "microsoft: from 10 % of internal mail to 100 % of internal mail." in asked
    assert "Skips 25, 50 %, without proof." in asked
    rollout(url, "pause", "microsoft", "--reason", "error reports")
    asked = at_terminal(url, ["resume", "microsoft", "--reason", "x"], b"n\n")
    assert "from nobody to 10 % of internal mail. Paused by ann (manual)" in asked
    assert "error reports" in asked
    with redis_server.client() as client:
        assert client.get("flags:microsoft:rollout_percent") == "10"
        assert client.get("flags:microsoft:paused") == "true"


@pytest.mark.parametrize("reason", ["x" * 501, "one\ntwo", "one\rtwo", "one\u2028two", ""])
def test_a_reason_that_is_too_long_or_has_line_breaks_is_refused(
    redis_server: RedisServer, served: Served, reason: str
) -> None:
    refused = rollout(redis_server.url, "pause", "microsoft", "--reason", reason)
    assert (refused.returncode, refused.stderr.count("\n"), refused.stdout) == (2, 1, "")
    assert served.act("pause", reason=reason).status_code == 422


def test_the_configuration_here_is_used_and_named_where_nobody_names_one(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "rollout.toml").write_text(f'[controller]\nredis_url = "{redis_server.url}"\n')
    paused = rollout("", "pause", "microsoft", "--reason", "x", cwd=tmp_path)
    assert f"{redis_server.url} (from rollout.toml)" in paused.stdout
    assert f"configuration {tmp_path / 'rollout.toml'}" in rollout("", "status", cwd=tmp_path).stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    named = rollout("redis://127.0.0.1:1/0", "status", cwd=elsewhere)
    assert (named.returncode, "configuration" in named.stderr) == (3, False)


def test_a_feature_that_only_redis_knows_can_be_stopped(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.mset({"rollout:epoch": "1", "flags:gone:enabled": "true", "flags:gone:paused": "false"})
        stopped = rollout(redis_server.url, "pause", "gone", "--reason", "nobody watches it")
        assert (stopped.returncode, client.get("flags:gone:paused")) == (0, "true")
        assert rollout(redis_server.url, "resume", "gone", "--reason", "x").returncode == 2
        assert rollout(redis_server.url, "pause", "never-there", "--reason", "x").returncode == 2
        assert not client.exists("flags:never-there:paused")


def test_the_api_keeps_the_first_cause_and_its_records_recompute(
    served: Served, redis_client: redis.Redis
) -> None:
    served.person(Kind.ENABLE)
    served.person(Kind.SET, 10.0)
    began = time.time()
    served.act("pause", reason="error reports")
    again = served.act("pause", reason="just in case").json()
    assert verify(again) == []
    stand = served.http.get("/api/v1/features/microsoft").json()
    assert stand["headline"] == "Paused: nobody is in (10 % of internal mail when resumed)"
    cause = stand["paused_by"]
    assert (cause["actor"], cause["reason"], cause["note"]) == ("ann", "manual", "error reports")
    assert began <= cause["at"] <= time.time()
    assert stand["harm"] == {"now": False, "text": "No: nobody is in."}
    redis_client.set("flags:microsoft:paused", "false")
    assert (
        served.http.get("/api/v1/features/microsoft").json()["headline"] == "Ramping at 10 % of internal mail"
    )


@pytest.mark.parametrize("journal", ["/dev/full", "/dev/zero", "/proc/none/x.jsonl", "/dev"])
def test_a_journal_that_cannot_be_kept_is_refused_in_one_line_before_the_first_tick(
    redis_server: RedisServer, journal: str
) -> None:
    refused = rollout(redis_server.url, "run", "--once", ROLLOUT_JOURNAL=journal)
    assert (refused.returncode, refused.stderr.count("\n"), journal in refused.stderr) == (2, 1, True)
    with redis_server.client() as client:
        assert client.keys("*") == []


def test_a_pause_is_done_whatever_the_journal_is(redis_server: RedisServer) -> None:
    for journal in ("/dev/full", "/dev/zero", "/proc/none/x.jsonl"):
        with redis_server.client() as client:
            client.mset({"rollout:epoch": "1", "flags:microsoft:paused": "false"})
            done = rollout(redis_server.url, "pause", "microsoft", "--reason", "x", ROLLOUT_JOURNAL=journal)
            assert (done.returncode, client.get("flags:microsoft:paused")) == (0, "true")


def test_the_daemon_serves_the_runbook_of_every_alert(served: Served) -> None:
    files = rule_files(ROLLOUT_FEATURES.values(), Scale())
    for alert in (alert for file in files for alert in file.alerts):
        answer = served.http.get(f"/runbooks/{alert.runbook}")
        assert (answer.status_code, answer.text.startswith("# ")) == (200, True), alert.runbook
        assert served.http.get(f"/runbooks/{alert.runbook.removesuffix('.md')}").text == answer.text
    for strange in ("none", "..%2fREADME", "%2e%2e", "a%00b"):
        assert served.http.get(f"/runbooks/{strange}").status_code == 404


def test_a_base_address_makes_the_runbook_of_every_alert_absolute(tmp_path: Path) -> None:
    base = "https://rollout.example.com"
    rollout("", "rules", "render", "--out", str(tmp_path), ROLLOUT_RUNBOOK_BASE_URL=base)
    told = "".join(path.read_text() for path in tmp_path.glob("prometheus-alerts-*.yml"))
    urls = re.findall(r"runbook_url: (.*)", told)
    assert len(urls) > 20
    assert all(re.fullmatch(rf'"?{base}/runbooks/[a-z-]+\.md"?', url) for url in urls)


def test_the_daemon_says_at_a_terminal_what_runs_and_where_its_page_is(redis_server: RedisServer) -> None:
    listen = f"127.0.0.1:{free_port()}"
    main, side = pty.openpty()
    env = {"PATH": os.environ["PATH"], "ROLLOUT_REDIS_URL": redis_server.url, "ROLLOUT_LISTEN": listen}
    with subprocess.Popen([ROLLOUT, "run"], stdin=side, stdout=side, stderr=side, env=env) as run:
        os.close(side)
        shown = bytearray()

        def said() -> bool:
            shown.extend(os.read(main, 65_536))
            return f"page http://{listen}/".encode() in shown.replace(b"\r\n", b"")

        wait_until(said, within_s=30)
        run.terminate()
        run.wait(20)
    os.close(main)
    assert b"rollout-controller " in shown


def test_a_runbook_that_the_daemon_serves_has_the_line_for_the_redis_that_it_uses(served: Served) -> None:
    text = served.http.get("/runbooks/rollout-paused.md").text
    line = f'ROLLOUT_REDIS_URL={served.settings.redis_url} rollout resume FEATURE --reason "cause, and'
    assert f"\n{line}" in text
    assert "\nrollout " not in text
