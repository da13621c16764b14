"""A pause is written while the way to Redis fails: how long anybody is still let in, in 100 trials each."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import redis
from kit.servers import Proxy, RedisServer

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.snapshot import STALE_AFTER_S
from controller.contract import FLAGS_CHANNEL, flag_key, flag_keys

TRIALS = 100
AT_ONCE = 50
WATCHED_S = STALE_AFTER_S + 1.0


@dataclass(frozen=True, slots=True)
class World:
    """One Redis, the proxy before it, and a gate behind that."""

    server: RedisServer
    proxy: Proxy
    client: redis.Redis
    gate: RolloutGate


def pause(world: World) -> None:
    world.client.set(flag_key("microsoft", "paused"), "true")
    world.client.publish(FLAGS_CHANNEL, "microsoft")


def cut(world: World) -> None:
    world.proxy.cut()
    pause(world)


def half_open(world: World) -> None:
    world.proxy.hang()
    pause(world)


def frozen(world: World) -> None:
    world.server.freeze()


def killed(world: World) -> None:
    pause(world)
    world.server.kill()


FAILURES: dict[str, Callable[[World], None]] = {
    "connections cut, then a pause": cut,
    "all links half-open, then a pause": half_open,
    "Redis frozen": frozen,
    "a pause, and Redis killed at the same instant": killed,
}


def measure(folder: Path) -> dict[str, list[float]]:
    """Give, by kind of failure, how many seconds after it each gate let somebody in for the last time."""
    return {
        name: [last for _ in range(TRIALS // AT_ONCE) for last in batch(fail, folder)]
        for name, fail in FAILURES.items()
    }


def batch(fail: Callable[[World], None], folder: Path) -> list[float]:
    with ExitStack() as stack:
        worlds = [enter(stack, folder) for _ in range(AT_ONCE)]
        failed_at, last = [], [0.0] * AT_ONCE
        for world in worlds:
            fail(world)
            failed_at.append(time.monotonic())
        until = failed_at[-1] + WATCHED_S
        while time.monotonic() < until:
            for number, world in enumerate(worlds):
                asked_at = time.monotonic()
                if world.gate.check("microsoft", "user").open:
                    last[number] = asked_at - failed_at[number]
            time.sleep(0.001)
        for world in worlds:
            world.proxy.refuse()  # else each reader would wait for its time-out before it ends
            world.server.thaw()  # else ending it would take a second
        return last


def enter(stack: ExitStack, folder: Path) -> World:
    server = stack.enter_context(RedisServer(folder))
    client = stack.enter_context(server.client())
    client.mset(dict(zip(flag_keys("microsoft"), ("true", "false", "100", "false"), strict=True)))
    proxy = stack.enter_context(Proxy(server.port))
    return World(server, proxy, client, stack.enter_context(RolloutGate.start(proxy.redis_url)))
