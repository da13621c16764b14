"""A process of the tests of signing in: `get USER N` asks for tokens at once, `crash USER POINTS` dies.

It takes its settings from the environment and prints one line of JSON. Tokens are printed as digests.
"""

import asyncio
import hashlib
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import httpx
import redis
from kit.signin import quick
from prometheus_client import CollectorRegistry

from adapter.signin.errors import SignInError
from adapter.signin.store import TokenKeys
from adapter.signin.tokens import TokenManager
from adapter.web.signin_routes import MANAGERS as KINDS

KEYS = TokenKeys(os.environ.get("WORKER_PROVIDER", "microsoft"))
OURS = ("/adapter/signin/",)
LIBRARIES = ("/redis/", "/httpx/", "/httpcore/", "/h11/", "/msal/", "/oauthlib/")


MANAGERS = {manager.identity.provider: manager for manager in KINDS}
PROVIDER = os.environ.get("WORKER_PROVIDER", "microsoft")


def new_manager(*, ahead: bool = True) -> TokenManager:
    kind = MANAGERS[PROVIDER]
    return kind(quick(kind.settings_from(None)), registry=CollectorRegistry(), ahead=ahead)


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


def say(told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


class Reaper:
    """Counts the lines that run in some packages, in every thread, and kills at one of them."""

    def __init__(self, watched: Sequence[str], at: int | None = None) -> None:
        self.count = 0
        self._watched = watched
        self._at = at

    def __call__(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if not any(part in frame.f_code.co_filename for part in self._watched):
            return None
        if event == "line":
            self.count += 1
            if self.count == self._at:
                place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_code.co_name}"  # noqa: PTH119
                os.write(1, f"{place}:{frame.f_lineno}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def refresh_under(reaper: Reaper, user_id: str) -> None:
    """Refresh once with every line counted, those of the thread that asks the sign-in server too."""

    async def refresh() -> None:
        threading.settrace(reaper)
        async with new_manager(ahead=False) as manager:
            sys.settrace(reaper)
            await manager.refresh_access_token(user_id)
            sys.settrace(None)
        threading.settrace(None)

    asyncio.run(refresh())


def crash(user_id: str, points: int) -> list[dict[str, Any]]:
    """Die at evenly spaced lines of a refresh, of our own lines and of all, and get a token after each."""
    deaths = []
    for watched in (OURS, (*OURS, *LIBRARIES)):
        counts = []
        for _ in range(3):
            counted = Reaper(watched)
            refresh_under(counted, user_id)
            counts.append(counted.count)
        deaths += [
            death(user_id, Reaper(watched, int(min(counts) * (point + 0.5) / points)))
            for point in range(points)
        ]
    return deaths


def death(user_id: str, reaper: Reaper) -> dict[str, Any]:
    """Refresh in a fork that dies; tell whether it did, how far it had come, and what comes after."""
    with redis.Redis.from_url(os.environ["ROLLOUT_REDIS_URL"]) as client:
        asked, grant = requests_so_far(), client.get(KEYS.refresh(user_id))
        pid = os.fork()
        if pid == 0:
            refresh_under(reaper, user_id)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        told = {
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
            "locked": bool(client.exists(KEYS.lock(user_id))),
            "asked": requests_so_far() > asked,
            "kept": client.get(KEYS.refresh(user_id)) != grant,
        }
        # The dead one's lock ends by itself; nobody wants to wait for that each time.
        client.pexpire(KEYS.lock(user_id), 100)
    return {**told, "after": asyncio.run(token_after_death(user_id))}


def requests_so_far() -> int:
    """Ask the sandbox how many token requests have arrived."""
    microsoft = PROVIDER == "microsoft"
    trust = ssl.create_default_context(cafile=os.environ["MS_CA_FILE" if microsoft else "GOOGLE_CA_FILE"])
    server = os.environ["MS_AUTHORITY" if microsoft else "GOOGLE_TOKEN_URL"].rpartition("/")[0]
    url = f"{server}/sandbox/stats"
    with httpx.Client(verify=trust, trust_env=False) as client:
        return int(client.get(url).json()["token_requests"].get("refresh_token", 0))


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
