"""Measures what it costs to have and to start: commands, imports, memory, installed size. Section "Start-up".

Usage: python tests/bench/run.py startup
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report import ROOT, machine, median, say, table, write_section
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until

ROUNDS = 11
ROLLOUT = Path(sys.executable).with_name("rollout")
DISTRIBUTION = "rollout-controller"

EVERYTHING = """
import importlib, pkgutil
for package in ("controller", "adapter"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def commands(redis_url: str) -> list[Sequence[object]]:
    """Time the commands and the import of everything in turns."""
    python, rollout = sys.executable, str(ROLLOUT)
    contenders = {
        "`python -c pass`": [python, "-c", "pass"],
        "`rollout --help`": [rollout, "--help"],
        "`rollout status`": [rollout, "status"],
        "importing everything": [python, "-c", EVERYTHING],
    }
    environment = {**os.environ, "ROLLOUT_REDIS_URL": redis_url}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, command in contenders.items():
            began = time.perf_counter()
            subprocess.run(command, env=environment, capture_output=True, check=True, cwd=ROOT)
            times[name].append(time.perf_counter() - began)
    everything = times["importing everything"]
    return [
        (
            name,
            f"{median(own) * 1e3:.0f}",
            f"{median([a / b for a, b in zip(own, everything, strict=True)]):.2f}x",
        )
        for name, own in times.items()
    ]


def daemon_mb(redis_url: str, folder: Path) -> float:
    """Return the resident memory of `rollout run` after its first tick."""
    listen, log = f"127.0.0.1:{free_port()}", folder / "daemon.log"
    environment = {**os.environ, "ROLLOUT_REDIS_URL": redis_url, "ROLLOUT_LISTEN": listen}
    environment |= {"ROLLOUT_PROMETHEUS_URL": "http://127.0.0.1:1"}
    with log.open("wb") as output:
        command = [str(ROLLOUT), "run", "--no-adapter"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
    try:
        wait_until(lambda: b"disabled" in log.read_bytes(), 30, "the first tick")
        return resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait(10)


SENDER = """
import asyncio, os
from adapter.sending.runtime import default_runtime
async def stand():
    await default_runtime()
    print("ready", flush=True)
    await asyncio.sleep(3600)
asyncio.run(stand())
"""


def sender_mb(redis_url: str) -> float:
    """Return the resident memory of a process that is ready to send."""
    environment = {**os.environ, "ROLLOUT_REDIS_URL": redis_url, "PROVIDER_MICROSOFT_ENABLED": "true"}
    environment |= {"INTEGRATION_TESTS_ENABLED": "true", "MS_INTEGRATION_TOKEN": "sandbox-bench"}
    command = [sys.executable, "-c", SENDER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise RuntimeError("the sender did not start")
            return resident_mb(process.pid)
        finally:
            process.terminate()


def resident_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1000 if found else float("nan")


def requirements(name: str, known: set[str]) -> set[str]:
    """Return a distribution and all that it needs at run time, by name."""
    plain = name.lower().replace("_", "-")
    if plain in known:
        return known
    try:
        needed = importlib.metadata.requires(plain) or []
    except importlib.metadata.PackageNotFoundError:
        return known  # needed on other machines only
    known.add(plain)
    for requirement in needed:
        if "extra ==" not in requirement or "hiredis" in requirement:
            requirements(re.split(r"[\s\[<>=!~;(]", requirement)[0], known)
    return known


def installed_mb(names: Iterable[str]) -> float:
    files = [file for name in names for file in importlib.metadata.files(name) or []]
    sizes = [path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.is_file()]
    return sum(sizes) / 1e6


def product_mb() -> float:
    files = (file for part in ("controller", "adapter") for file in (ROOT / part).rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") / 1e6


TEXT = """## Start-up, memory, size

{machine} `make bench ARGS=startup` measures this part alone.

From the call to the end of the process (medians of {rounds}, in turns; "importing everything" imports every
module of both packages):

{commands}

| what | MB |
| --- | ---: |
| resident memory of `rollout run`, two features | {daemon:.0f} |
| resident memory of a process that is ready to send, its gate running | {sender:.0f} |
| the product installed | {product:.1f} |
| its {packages} dependencies installed | {dependencies:.0f} |
"""


def main() -> None:
    say("start-up, memory, size")
    needed = requirements(DISTRIBUTION, set()) - {DISTRIBUTION}
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as server:
        body = TEXT.format(
            machine=machine(),
            rounds=ROUNDS,
            commands=table(("", "ms", "of importing everything"), commands(server.url)),
            daemon=daemon_mb(server.url, Path(name)),
            sender=sender_mb(server.url),
            product=product_mb(),
            packages=len(needed),
            dependencies=installed_mb(needed),
        )
    write_section("startup", body)
    print(body)


if __name__ == "__main__":
    main()
