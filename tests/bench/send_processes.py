"""The same sends from one, two and four processes: how many a second, and what one costs where.

Usage: python -m bench.send_processes, with the environment of a sender: one of the processes
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from bench.report import ROOT, median
from bench.send_mails import MAILS, TOKEN
from bench.send_race import message_of, send_as
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

from adapter import Runtime, StaticTokens
from controller.contract import ACTION_EXEC_TOTAL

PROCESSES = (1, 2, 4)
AT_ONCE, USERS = 16, 50
"""Of each process."""
SENDS = dict(zip(MAILS, (160, 2_400), strict=True))
"""Of all processes together, in one round."""
FIRST = 64
"""Of each mail, before anything is measured."""
ROUNDS = 3
HEADERS = ("", "processes", "sends/s", "a sender's CPU, ms/send", "Redis's CPU, ms/send", "cores in use")


@dataclass(frozen=True)
class Round:
    """What one round of sends took, in seconds; processor time is the user's and the system's."""

    sends: int
    wall_s: float
    senders_s: float
    redis_s: float
    cores_s: float


class Worker:
    """A sender process, told how often to send which mail."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.port = int(self.answer())

    def tell(self, mail: str, count: int) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the sender has no input")
        self._process.stdin.write(json.dumps([mail, count]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        if self._process.stdout is None:
            raise RuntimeError("the sender has no output")
        return json.loads(self._process.stdout.readline())

    def sent(self) -> int:
        """Return its count as a scrape sees it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return int(
            sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == ACTION_EXEC_TOTAL and sample.labels["status"] == "ok"
            )
        )


def over_processes(environment: Mapping[str, str], client: redis.Redis) -> list[tuple[object, ...]]:
    """Return a row for each mail and number of processes; every process has a port for its metrics."""
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(environment)) for _ in range(max(PROCESSES))]
        for mail in MAILS:
            shared_out(workers, mail, FIRST, client)
        rounds: dict[tuple[str, int], list[Round]] = {(mail, n): [] for mail in MAILS for n in PROCESSES}
        for _ in range(ROUNDS):
            for (mail, n), done in rounds.items():
                done.append(shared_out(workers[:n], mail, SENDS[mail], client))
        sends = FIRST * len(MAILS) + sum(r.sends for done in rounds.values() for r in done)
        counted = sum(one.sent() for one in workers)
        if counted != sends:
            raise RuntimeError(f"the metrics of all processes count {counted} of {sends} sends")
    return [(mail, n, *figures(done)) for (mail, n), done in rounds.items()]


def figures(rounds: Sequence[Round]) -> tuple[str, ...]:
    return (
        f"{median([r.sends / r.wall_s for r in rounds]):,.0f}",
        f"{1e3 * median([r.senders_s / r.sends for r in rounds]):.2f}",
        f"{1e3 * median([r.redis_s / r.sends for r in rounds]):.3f}",
        f"{median([r.cores_s / r.wall_s for r in rounds]):.1f} of {os.cpu_count()}",
    )


def shared_out(workers: Sequence[Worker], mail: str, sends: int, client: redis.Redis) -> Round:
    """Let the processes send this many mails together."""
    before_s, began = (redis_cpu_s(client), cores_used_s()), time.perf_counter()
    for one in workers:
        one.tell(mail, sends // len(workers))
    senders_s = sum(one.answer() for one in workers)
    wall_s = time.perf_counter() - began
    redis_s, cores_s = redis_cpu_s(client) - before_s[0], cores_used_s() - before_s[1]
    return Round(sends, wall_s, senders_s, redis_s, cores_s)


def redis_cpu_s(client: redis.Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])


def cores_used_s() -> float:
    """Return the processor time of everything on this machine."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@contextmanager
def worker(environment: Mapping[str, str]) -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.send_processes"],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        yield Worker(process)
        process.communicate("")


async def serve() -> None:
    """Send as told by each line of the input; answer with the processor time, in seconds."""
    async with Runtime.open(tokens={"microsoft": StaticTokens(TOKEN)}) as runtime:
        metrics, _ = start_http_server(0, addr="127.0.0.1")
        print(metrics.server_port, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            mail, count = json.loads(line)
            began_s = time.process_time()
            await send(runtime, mail, count)
            print(time.process_time() - began_s, flush=True)


async def send(runtime: Runtime, mail: str, count: int) -> None:
    message, numbers = message_of(MAILS[mail]), iter(range(count))

    async def sender() -> None:
        for n in numbers:
            await send_as(message, runtime, f"user-{os.getpid()}-{n % USERS}")

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(serve())
