"""How soon the last of 50 gates in 4 processes obeys: a pause by the product, and a flag set by hand."""

import multiprocessing
import random
import time
from multiprocessing.connection import Connection

import redis

from adapter.gate.rollout_gate import RolloutGate
from controller.contract import FLAGS_CHANNEL, flag_key, flag_keys, revision_key

GATES_PER_PROCESS = (13, 13, 12, 12)
TURNS, TURNS_BY_HAND = 200, 30
LOOK_EVERY_S = 0.0005


def watch(url: str, gates: int, pipe: Connection) -> None:
    """For each state that is told, wait until all gates of this process answer so, and tell when."""
    opened = [RolloutGate.start(url) for _ in range(gates)]
    pipe.send(True)
    while (wanted := pipe.recv()) is not None:
        waiting = opened
        while waiting := [gate for gate in waiting if gate.check("microsoft", "user").open is not wanted]:
            time.sleep(LOOK_EVERY_S)
        pipe.send(time.monotonic())
    for gate in opened:
        gate.close()


def measure(url: str, client: redis.Redis) -> dict[str, list[float]]:
    """Return the seconds until the last gate obeyed, for each turn; the monotonic clock is the machine's."""
    client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "100", "false"), strict=True)))
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for gates in GATES_PER_PROCESS:
        near, far = context.Pipe()
        process = context.Process(target=watch, args=(url, gates, far), daemon=True)
        process.start()
        pipes.append(near)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    try:
        return {
            "product": [turn(client, pipes, n % 2 == 0, by_hand=False) for n in range(TURNS)],
            "hand": [turn(client, pipes, n % 2 == 0, by_hand=True) for n in range(TURNS_BY_HAND)],
        }
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(10)


def turn(client: redis.Redis, pipes: list[Connection], paused: bool, *, by_hand: bool) -> float:
    for pipe in pipes:
        pipe.send(not paused)
    time.sleep(random.Random(time.monotonic()).uniform(0.02, 0.9 if by_hand else 0.06))
    began = time.monotonic()
    if by_hand:
        client.set(flag_key("microsoft", "paused"), str(paused).lower())
    else:
        with client.pipeline() as together:
            together.set(flag_key("microsoft", "paused"), str(paused).lower())
            together.incr(revision_key("microsoft"))
            together.publish(FLAGS_CHANNEL, "microsoft")
            together.execute()
    last: float = max(pipe.recv() for pipe in pipes)
    return last - began
