"""Measures how long a crowd waits for one refresh and writes the section "Signing in" of docs/benchmarks.md.

Usage: python tests/bench/run.py signin
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from bench.report import machine, median, quantile, say, table, write_section
from kit.servers import RedisServer
from kit.signin import environment
from prometheus_client import CollectorRegistry

from adapter.sandbox.signin import SandboxSignIn
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings
from adapter.signin.store import TokenKeys

PROCESSES, CALLERS = 4, 25
RUNS = 6
LATENCIES_S = (0.1, 0.25, 0.5)
"""Entra mostly answers a refresh in 0.1 to 0.5 s."""
USER = "user-1"
WORKER = Path(__file__).parents[1] / "kit" / "signin_worker.py"


@dataclass(frozen=True)
class Run:
    """One expired token and everybody who asked for it at once."""

    requests: int
    tokens: int
    waits_s: list[float]


class World:
    """Redis, the sandbox and a linked user."""

    def __init__(self, sandbox: SandboxSignIn, redis: RedisServer) -> None:
        self.sandbox = sandbox
        self.redis = redis
        self.env = environment(sandbox, redis.url)

    async def link(self) -> None:
        """Sign the user in, as a browser would."""
        settings = MicrosoftSettings.from_environment(self.env)
        async with MicrosoftTokenManager(settings, registry=CollectorRegistry()) as manager:
            attempt = await manager.begin()
            async with httpx.AsyncClient(verify=str(self.sandbox.ca_file)) as browser:
                back = urlsplit((await browser.get(attempt.url)).headers["location"])
            code = parse_qs(back.query)["code"][0]
            pair = await manager.exchange_code_for_tokens(code, attempt.code_verifier, nonce=attempt.nonce)
            await manager.link(USER, pair)

    async def crowd(self, processes: list[asyncio.subprocess.Process]) -> Run:
        """Let the token expire and everybody ask for it."""
        with self.redis.client() as client:
            client.delete(TokenKeys("microsoft").access(USER))
        before = self.sandbox.issuer.requests["refresh_token"]
        for process in processes:
            await told(process)
        answers = await asyncio.gather(*(answer(process) for process in processes))
        tokens = {token for one in answers for token in one["tokens"]}
        waits_s = [wait_s for one in answers for wait_s in one["waits_s"]]
        return Run(self.sandbox.issuer.requests["refresh_token"] - before, len(tokens), waits_s)


async def told(process: asyncio.subprocess.Process) -> None:
    if process.stdin is None:
        raise RuntimeError("the worker takes no input")
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def answer(process: asyncio.subprocess.Process) -> Any:
    if process.stdout is None:
        raise RuntimeError("the worker gives no output")
    return json.loads(await process.stdout.readline())


@asynccontextmanager
async def workers(world: World) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Start the processes, each with a manager of its own; they end when their input does."""
    paths = f"{WORKER.parents[2]}:{WORKER.parents[1]}"
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(WORKER), "get", USER, str(CALLERS)),
            env={**os.environ, "PYTHONPATH": paths, **world.env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        await answer(process)
    yield processes
    for process in processes:
        await process.communicate(b"")


async def measured(world: World) -> dict[str, list[Run]]:
    """Measure fresh processes, which never refreshed before, and the same ones afterwards."""
    runs: dict[str, list[Run]] = {"first refresh of fresh processes": [], "later refreshes": []}
    for _ in range(RUNS):
        async with workers(world) as processes:
            for runs_of_kind in runs.values():
                runs_of_kind.append(await world.crowd(processes))
    return runs


def row(latency_s: float, kind: str, runs: list[Run]) -> list[object]:
    waits_s = [wait_s for run in runs for wait_s in run.waits_s]
    p99s_s = [quantile(run.waits_s, 0.99) for run in runs]
    within = sum(p99_s < 2 * latency_s for p99_s in p99s_s)
    return [
        kind,
        f"{latency_s * 1000:.0f}",
        f"{median(waits_s) * 1000:.0f}",
        f"{median(p99s_s) * 1000:.0f}",
        f"{max(p99s_s) * 1000:.0f}",
        f"{within} of {len(runs)}",
        max(run.requests for run in runs),
        max(run.tokens for run in runs),
    ]


async def measure() -> list[list[object]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        async with SandboxSignIn(Path(folder) / "tls", auto_consent=True) as sandbox:
            world = World(sandbox, redis)
            await world.link()
            for latency_s in LATENCIES_S:
                sandbox.issuer.latency_s = latency_s
                for kind, runs in (await measured(world)).items():
                    rows.append(row(latency_s, kind, runs))
                    say(str(rows[-1]))
    return rows


def main() -> None:
    headers = (
        *("", "server, ms", "p50, ms", "p99, ms (median run)", "p99, ms (worst run)"),
        *("p99 under twice the server", "requests", "tokens"),
    )
    write_section(
        "signin",
        f"""## Signing in

{machine()} `make bench ARGS=signin` measures this part alone.

How long {PROCESSES * CALLERS} concurrent `get_access_token` in {PROCESSES} processes wait when the one token
of their user has expired, {RUNS} runs each. *Server* is how long the sandbox takes for a token; the wait has
two looks into Redis, TLS, the checks and the write beside it. *Requests* and *tokens*: the most of any run.

{table(headers, asyncio.run(measure()))}""",
    )


if __name__ == "__main__":
    main()
