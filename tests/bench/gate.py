"""Measures the gate beside its peers and writes the section "Gate" of docs/benchmarks.md.

Usage: python tests/bench/run.py gate
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import gate_failures, gate_propagation
from bench.peers import peers_python
from bench.report import ROOT, machine, median, quantile, say, table, write_section
from kit.servers import RedisServer

from controller.contract import flag_keys

PEER_PACKAGES = (
    "growthbook==4.0.0",
    "openfeature-sdk==0.10.0",
    "launchdarkly-server-sdk==9.18.2",
    "flipt-client==1.4.5",
    "openfeature-provider-flagd==0.6.1",
    "UnleashClient==6.9.1",
)
RACE_WITHIN_S = 240
IMPORTS = 15

IMPORT_PROGRAM = """
import sys, time
def resident_mb():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096 / 1e6
before, began = resident_mb(), time.perf_counter()
exec(sys.argv[1])
print(time.perf_counter() - began, resident_mb() - before)
"""


def race(url: str, folder: Path) -> dict[str, Any]:
    import redis

    say("the gate against its peers")
    python = peers_python("gate", (f"redis=={redis.__version__}", *PEER_PACKAGES))
    command = [str(python), "-m", "bench.gate_race", url, str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, timeout=RACE_WITHIN_S, check=True, cwd=folder
    )
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def imports(statement: str) -> tuple[float, float]:
    """Return the median time in ms and memory in MB that an import adds to a bare interpreter."""
    command = [sys.executable, "-c", IMPORT_PROGRAM, statement]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
        for _ in range(IMPORTS)
    ]
    return median([float(run[0]) * 1000 for run in runs]), median([float(run[1]) for run in runs])


def race_table(results: dict[str, Any]) -> str:
    rows = []
    for name, result in results["peers"].items():
        if "error" in result:
            rows.append((name, "did not run", "", "", ""))
            continue
        ratios = [peer_s / gate_s for gate_s, peer_s in result["rounds"]]
        spread = f"{quantile(ratios, 0.25):.1f} to {quantile(ratios, 0.75):.1f}"
        peer_us = median([peer_s for _, peer_s in result["rounds"]]) * 1e6
        rows.append(
            (name, f"{median(ratios):.1f}x", spread, f"{peer_us:.1f}", f"{result['p99_s'] * 1e6:.1f}")
        )
    return table(("peer", "slower than the gate", "middle half of rounds", "median, us", "p99, us"), rows)


def gate_line(results: dict[str, Any]) -> str:
    ran = [result["rounds"] for result in results["peers"].values() if "error" not in result]
    gate_us = median([gate_s for rounds in ran for gate_s, _ in rounds]) * 1e6
    return f"The gate itself: median {gate_us:.2f} us, p99 {results['gate_p99_s'] * 1e6:.2f} us, one hash."


def propagation_table(measured: dict[str, list[float]]) -> str:
    names = {"product": "written by the product (with a hint)", "hand": "set by hand (`redis-cli SET`)"}
    rows = [
        (
            names[kind],
            len(times),
            *(f"{quantile(times, share) * 1000:.1f}" for share in (0.5, 0.99)),
            f"{max(times) * 1000:.1f}",
        )
        for kind, times in measured.items()
    ]
    return table(("change", "trials", "p50, ms", "p99, ms", "longest, ms"), rows)


def failure_table(measured: dict[str, list[float]]) -> str:
    rows = [
        (name, len(last), f"{median(last):.2f}", f"{max(last):.2f}", sum(one > 3.0 for one in last))
        for name, last in measured.items()
    ]
    headers = ("failure", "trials", "last send let in, median s", "latest, s", "let in after 3 s")
    return table(headers, rows)


def import_table() -> str:
    statements = ("import adapter.gate", "import adapter.gate.rollout_gate", "import redis")
    rows = [(f"`{statement}`", *(f"{value:.0f}" for value in imports(statement))) for statement in statements]
    return table(("import", "time, ms", "memory, MB"), rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as server, server.client() as client:
        client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "50", "false"), strict=True)))
        raced = race(server.url, Path(name))
        say("propagation to 50 gates in 4 processes")
        propagated = gate_propagation.measure(server.url, client)
        say("failures, 100 trials each")
        failed = gate_failures.measure(Path(name))
    body = f"""
## Gate

{machine()} `make bench ARGS=gate` measures this part alone.

One decision for one user at 50 %, in process, each contender in turns with the gate on ids that neither has
seen, offline and without its reporting. OpenFeature's in-memory provider has no percentages and gives a fixed
answer. GrowthBook's evaluation function is called below the classes that its documentation names.
{gate_line(raced)}

{race_table(raced)}

Until the last of 50 gates in 4 processes obeys a change of `paused`:

{propagation_table(propagated)}

How long a gate goes on letting people in when the way to Redis fails; after 3 s it must be nobody:

{failure_table(failed)}

What asking costs a process that imports it (medians of {IMPORTS}, beyond a bare interpreter; redis-py is
imported when a gate is made):

{import_table()}
"""
    write_section("gate", body)
    print(body)


if __name__ == "__main__":
    main()
