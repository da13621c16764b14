"""The whole loop on real servers: hand edits, a frozen Prometheus, a dead sender, a dry run beside it."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.waiting import wait_until

from controller.decision.model import Kind
from controller.decision.record import decided_again, state_to_dict, verify
from controller.demo.world import SENDERS, TICK_S, World, build
from controller.journal.sinks import Journals, read_file
from controller.loop.manual import operate
from controller.sandbox.processes import Processes
from controller.store.record_json import dump

FIELDS = {
    *("id", "at", "feature", "kind", "reason", "from", "to", "findings", "evidence", "state_before"),
    *("actor", "dry_run", "applied", "epoch", "revision", "config_hash"),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run everything that the demo runs, with the feature enabled."""
    with Processes(tmp_path) as processes:
        world = build(processes)
        person(world, Kind.ENABLE)
        yield world


def person(world: World, kind: Kind) -> None:
    feature = world.settings.features["microsoft"]
    operate(world.store, Journals(), feature, kind, actor="test", note="test", now=time.time())


def last(world: World) -> dict[str, Any]:
    return next(
        iter(world.store.history("microsoft", newest=1)), {"reason": "", "to": {"rollout_percent": 0.0}}
    )


def percent(world: World) -> float:
    return float(last(world)["to"]["rollout_percent"])


def since(world: World, at: float) -> list[dict[str, Any]]:
    return [record for record in world.store.history("microsoft") if record["at"] > at]


def arrived(world: World) -> int:
    with urllib.request.urlopen(f"{world.graph_url}/sandbox/stats") as response:
        return int(json.load(response)["posts"])


def redis_cli(world: World, *words: str) -> None:
    subprocess.run(["redis-cli", "-u", world.settings.redis_url, *words], check=True, capture_output=True)


def test_hand_edits_frozen_metrics_and_a_dead_sender_are_all_survived(world: World) -> None:
    wait_until(lambda: percent(world) >= 5 and arrived(world) > 0, 60, "5 %")

    redis_cli(world, "set", "flags:microsoft:paused", "true")
    time.sleep(1.1)
    stopped_at = arrived(world)
    time.sleep(2)
    assert arrived(world) == stopped_at, "a mail left more than a second after the pause"
    wait_until(lambda: last(world)["reason"] == "paused", 60, "the pause")
    assert "external_change" in {record["kind"] for record in world.store.history("microsoft")}

    redis_cli(world, "set", "flags:microsoft:paused", "false")
    wait_until(lambda: arrived(world) > stopped_at, 60, "sends after the pause")

    prometheus = world.processes.all["prometheus"]
    prometheus.signal(signal.SIGSTOP)
    wait_until(lambda: last(world)["reason"] == "metrics_unreachable", 60, "unreachable metrics")
    frozen_at = time.time()
    time.sleep(8)
    assert {(r["kind"], r["reason"]) for r in since(world, frozen_at)} == {("hold", "metrics_unreachable")}
    prometheus.signal(signal.SIGCONT)
    held_at = percent(world)
    wait_until(lambda: percent(world) > held_at, 60, "the next step after the freeze")

    killed_at = time.time()
    world.processes.all[SENDERS[1]].signal(signal.SIGKILL)
    wait_until(lambda: last(world)["reason"] == "metrics_incomplete", 3 * TICK_S, "incomplete metrics")
    time.sleep(6)
    holds = since(world, killed_at + 3 * TICK_S)
    assert {(r["kind"], r["reason"]) for r in holds} == {("hold", "metrics_incomplete")}

    world.processes.start_again(SENDERS[1])
    held_at = percent(world)
    wait_until(lambda: percent(world) > held_at, 60, "the next step with both senders")

    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "controller",
            "history",
            "microsoft",
            "--json",
            "--config",
            str(world.settings.config_path),
        ],
        check=True,
        capture_output=True,
    )
    records = json.loads(told.stdout)
    assert all(record.keys() >= FIELDS for record in records)
    assert [difference for record in records for difference in verify(record)] == []
    written = [record for record in records if record["applied"] == "applied"]
    left = [json.loads(dump(state_to_dict(decided_again(record).state))) for record in written]
    found = [record["state_before"] for record in written]
    assert left[:-1] == found[1:], "decided again, each record leaves just what the next one found"
    journal = world.settings.journal
    assert journal is not None
    in_file = {record["id"] for record in read_file(journal)}
    assert {record["id"] for record in records if record["actor"] != "test"} <= in_file


def test_a_dry_run_beside_the_daemon_only_reads(world: World) -> None:
    client = redis.Redis.from_url(world.settings.redis_url, decode_responses=True)
    client.acl_setuser("dry", enabled=True, nopass=True, keys="*", categories=["+@all"])
    port = world.processes.all["redis"].port
    addresses: set[str] = set()
    seen: list[tuple[str, str]] = []
    watching = threading.Event()
    stop = threading.Event()

    def watch() -> None:
        with redis.Redis.from_url(world.settings.redis_url, decode_responses=True).monitor() as monitor:  # type: ignore[no-untyped-call]
            watching.set()
            for heard in monitor.listen():
                seen.append((f"{heard['client_address']}:{heard['client_port']}", heard["command"]))
                if stop.is_set():
                    return

    def ticks_of_the_dry_run() -> int:
        connected = client.client_list()
        addresses.update(entry["addr"] for entry in connected if entry["user"] == "dry")
        return sum(command.startswith("MGET ") for address, command in seen if address in addresses)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    watching.wait(5)
    dry = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "controller",
            "run",
            "--dry-run",
            "--no-adapter",
            "--config",
            str(world.settings.config_path),
        ],
        env={
            "PATH": "/usr/bin:/bin",
            "ROLLOUT_REDIS_URL": f"redis://dry:x@127.0.0.1:{port}/0",
            "ROLLOUT_LISTEN": "127.0.0.1:0",
            "ROLLOUT_JOURNAL": str(world.processes.folder / "dry.jsonl"),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: ticks_of_the_dry_run() >= 4, 60, "four ticks of the dry run")
    finally:
        dry.terminate()
        dry.wait(10)
        stop.set()
        client.ping()
        thread.join(5)
    commands = [command.split()[0].upper() for address, command in seen if address in addresses]
    assert commands.count("MGET") >= 3
    assert set(commands) <= {
        "MGET",
        "GET",
        "SCAN",
        "AUTH",
        "HELLO",
        "CLIENT",
        "PING",
        "SELECT",
        "XREVRANGE",
        "XRANGE",
        "XREAD",
    }
    dry_records = list(read_file(world.processes.folder / "dry.jsonl"))
    assert dry_records
    assert all(record["dry_run"] and record["applied"] == "skipped" for record in dry_records)
    client.close()


@pytest.mark.servers
def test_the_demo_ends_with_100_percent_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controller", "demo", "--plain"],
        env={"PATH": "/usr/bin:/bin:/usr/sbin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("FAULT", "PAUSE after", "resume (manual)", "every user is in", "failed sends"):
        assert word in done.stdout
    assert_nothing_is_left(done.stdout, tmp_path)


def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller", "demo", "--plain"]
    env = {"PATH": "/usr/bin:/bin:/usr/sbin", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "step_up" in line:
                break
        demo.send_signal(signal.SIGINT)
        lines.append(demo.stdout.read())
    assert demo.returncode != 0
    assert_nothing_is_left("".join(lines), tmp_path)


def assert_nothing_is_left(output: str, folder: Path) -> None:
    names = r"^(?:redis|prometheus|graph|controller|sender-\d) +(\d+) "
    pids = [int(pid) for pid in re.findall(names, output, re.MULTILINE)]
    assert len(pids) == 6
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert list(folder.iterdir()) == []
