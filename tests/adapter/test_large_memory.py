"""A large file costs no memory: it is read in parts, through broken ranges and a session that expires."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kit.examples import amount
from kit.sending import open_flags
from kit.servers import RedisServer

MEGABYTES = amount("MEGABYTES", soak=150, usually=40)
MOST_MORE_KIB = 60 * 1024

WORKER = """
import asyncio, json, sys, urllib.request
from adapter import EmailAddress, Runtime, StaticTokens, attach_file, outlook_send

base, path = sys.argv[1:]
ANN = EmailAddress("ann@corp.example", "Ann")

def peak_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

def fail(**faults):
    body = json.dumps({"step": "range", **faults}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{base}/sandbox/faults", body, method="PUT")).read()

expired = []

def progress(done, total):
    if done > total / 3 and not expired:
        expired.append(True)
        fail(status=404, times=1)

async def work():
    async with Runtime.open(tokens={"microsoft": StaticTokens("sandbox-token")}) as runtime:
        send = lambda **given: outlook_send([ANN], "Hi", "<p>Hi</p>", user_id="u1", runtime=runtime, **given)
        await send()
        idle = peak_kib()
        fail(reset="in", times=5)
        await send(attachments=[attach_file(path)], idempotency_key="k", progress=progress)
        print(json.dumps({"more_kib": peak_kib() - idle, "expired": bool(expired)}))

asyncio.run(work())
"""


@pytest.fixture
def graph_base() -> Iterator[str]:
    command = [sys.executable, "-m", "adapter.sandbox.graph", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as graph:
        if graph.stdout is None:
            raise RuntimeError("the sandbox has no output")
        yield graph.stdout.readline().strip().removesuffix("/v1.0")
        graph.terminate()


def test_a_large_file_is_sent_once_in_constant_memory(
    graph_base: str, redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> None:
    open_flags(redis_client)
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.truncate(MEGABYTES * 1024 * 1024)
        for megabyte in range(MEGABYTES):
            file.seek(megabyte * 1024 * 1024 + 77)
            file.write(f"megabyte {megabyte}".encode())
    environment = {
        **os.environ,
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": f"{graph_base}/v1.0",
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "MS_LARGE_ATTACHMENTS": "true",
        "ROLLOUT_SEND_DEADLINE_S": "120",
    }
    command = [sys.executable, "-c", WORKER, graph_base, str(film)]
    told = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    print(f"{MEGABYTES} MB: {told}")
    assert told["expired"]
    assert told["more_kib"] < MOST_MORE_KIB
    with urllib.request.urlopen(f"{graph_base}/sandbox/stats") as answer:
        stats = json.load(answer)
    with film.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert stats["digests"] == {"film.mp4": digest}
    assert (stats["mails"], stats["drafts"], stats["tokens_at_uploads"]) == (2, 0, 0)
    assert stats["steps"]["open"] == 2
    assert stats["steps"]["expected"] >= 5
