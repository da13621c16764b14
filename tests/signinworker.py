"""A process of the tests of signing in: `get USER N` asks for tokens at once, `crash USER POINTS` dies.

It takes its settings from the environment and prints one line of JSON. Tokens are printed as digests.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis
from prometheus_client import CollectorRegistry
from signinkit import quick

from adapter.signin.errors import SignInError
from adapter.signin.settings import SignInSettings
from adapter.signin.store import lock_key
from adapter.signin.tokens import MicrosoftTokenManager

WATCHED = ("/adapter/signin/", "/redis/", "/httpx/", "/httpcore/", "/msal/")


def new_manager() -> MicrosoftTokenManager:
    return MicrosoftTokenManager(quick(SignInSettings.from_environment()), registry=CollectorRegistry())


async def get(user_id: str, callers: int) -> None:
    """Ask for tokens at once for each line of stdin; tell what came and how long each took."""
    async with new_manager() as manager:
        say({"linked": (await manager.status(user_id)).linked})

        async def one() -> tuple[str, float]:
            began_at = time.perf_counter()
            token = await manager.get_access_token(user_id)
            return hashlib.sha256(token.encode()).hexdigest(), time.perf_counter() - began_at

        while await asyncio.to_thread(sys.stdin.readline):
            answers = await asyncio.gather(*(one() for _ in range(callers)))
            waits_s = [round(wait_s, 4) for _, wait_s in answers]
            say({"tokens": sorted({token for token, _ in answers}), "waits_s": waits_s})


def say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


class Reaper:
    """Counts the lines that run in the watched packages, in every thread, and kills at one of them."""

    def __init__(self, at: int | None) -> None:
        self.count = 0
        self._at = at

    def __call__(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if not any(part in frame.f_code.co_filename for part in WATCHED):
            return None
        if event == "line":
            self.count += 1
            if self.count == self._at:
                place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_code.co_name}"  # noqa: PTH119
                os.write(1, f"{place}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def refresh_under(reaper: Reaper, user_id: str) -> None:
    """Refresh once with every line counted."""

    async def refresh() -> None:
        async with new_manager() as manager:
            threading.settrace(reaper)
            sys.settrace(reaper)
            await manager.refresh_access_token(user_id)
            sys.settrace(None)
            threading.settrace(None)

    asyncio.run(refresh())


def crash(user_id: str, points: int) -> dict[str, Any]:
    """Die at evenly spaced lines of a refresh, each time in a fork, and get a token after each."""
    counts = []
    for _ in range(3):
        counted = Reaper(None)
        refresh_under(counted, user_id)
        counts.append(counted.count)
    lines = min(counts)
    deaths, outcomes = 0, []
    for point in range(points):
        at = int(lines * (point + 0.5) / (points + 1))
        pid = os.fork()
        if pid == 0:
            refresh_under(Reaper(at), user_id)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        # The dead one's lock ends by itself; nobody wants to wait for that twenty times.
        redis.Redis.from_url(os.environ["ROLLOUT_REDIS_URL"]).pexpire(lock_key(user_id), 100)
        deaths += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        outcomes.append(asyncio.run(token_after_death(user_id)))
    return {"lines": lines, "deaths": deaths, "outcomes": outcomes}


async def token_after_death(user_id: str) -> str:
    """Refresh as another process would; tells `ok` or the code."""
    async with new_manager() as manager:
        try:
            await manager.get_access_token(user_id)
            await manager.refresh_access_token(user_id)
        except SignInError as error:
            return error.code
    return "ok"


if __name__ == "__main__":
    _, command, user, number = sys.argv
    if command == "get":
        asyncio.run(get(user, int(number)))
    else:
        say(crash(user, int(number)))
