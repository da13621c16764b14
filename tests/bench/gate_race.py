"""The gate against each of its peers in turns, in one process, on ids that neither has seen.

Prints one JSON object. Usage: python -m bench.gate_race REDIS_URL FOLDER
"""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from bench.gate_peers import PEERS, Ask, ours

ROUNDS = 31
ROUND_S = 0.02
"""Each contender gets as many ids per round as it decides in about this time."""

SINGLES = 20_000
"""Decisions that are timed one by one, for the p99."""


def per_decision_s(ask: Ask, ids: list[str]) -> float:
    began = time.perf_counter()
    for user in ids:
        ask(user)
    return (time.perf_counter() - began) / len(ids)


def p99_s(ask: Ask, kind: str) -> float:
    times = []
    for user in [f"{kind}-single-{n}@example.com" for n in range(SINGLES)]:
        began = time.perf_counter_ns()
        ask(user)
        times.append(time.perf_counter_ns() - began)
    return sorted(times)[int(SINGLES * 0.99)] / 1e9


def race(gate: Ask, peer: Ask, kind: str) -> dict[str, Any]:
    """Time the gate and the peer in turns, each on ids that it has not seen."""

    def fresh(label: str, count: int) -> list[str]:
        return [f"{kind}-{label}-{n}@example.com" for n in range(count)]

    warm = per_decision_s(peer, fresh("warm", 200))
    counts = {
        "gate": int(ROUND_S / per_decision_s(gate, fresh("gate", 2000))),
        "peer": int(ROUND_S / warm) + 20,
    }
    rounds = []
    for number in range(ROUNDS):
        gate_s = per_decision_s(gate, fresh(f"g{number}", counts["gate"]))
        peer_s = per_decision_s(peer, fresh(f"p{number}", counts["peer"]))
        rounds.append((gate_s, peer_s))
    share = sum(bool(peer(user)) for user in fresh("share", 2000)) / 2000
    return {"rounds": rounds, "share": share, "p99_s": p99_s(peer, kind)}


def main(url: str, folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    gate = ours(url, folder)
    results: dict[str, Any] = {}
    for name, make in PEERS.items():
        try:
            results[name] = race(gate, make(url, folder), name)
        except Exception as error:  # noqa: BLE001 (a peer that does not run here is reported, not fatal)
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"gate_p99_s": p99_s(gate, "gate"), "peers": results}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
