"""A sender process for demos: thousands of users who send through `outlook_send`, and its metrics.

Each user id is tried in turn, as fast as `--tries-s` says; who is not in yet is turned away by the gate. At
most `--sends-s` mails a second leave. SIGUSR1 stops the users, SIGUSR2 lets them go on.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TextIO

import httpx
from prometheus_client import start_http_server

from adapter import EmailAddress, StructuredError, gmail_send, outlook_send
from adapter.sending.runtime import default_runtime

_SLICE_S = 0.02
_LONGEST_QUEUE = 64
_PAUSE_S = 1.0
"""Before a mail that no provider took is tried again."""
_ROUNDS = 90
PROVIDERS = {"microsoft": outlook_send, "google": gmail_send}
"""In the order in which a mail is offered to them: the new one, then the one that it replaces."""
NOBODY = "nobody"


class Users:
    """Users who come again and again, and a bound on how many of them send at once."""

    def __init__(self, first: int, count: int, *, tries_s: float, sends_s: float, fallback_s: float) -> None:
        self._ids = itertools.cycle([f"user-{number:05d}" for number in range(first, first + count)])
        self._tries = tries_s * _SLICE_S
        self._queues = {"microsoft": _Queue(sends_s), "google": _Queue(fallback_s)}
        self._mails = itertools.count()
        self.away = False

    async def come(self, post: "Post") -> None:
        """Let one slice of time's worth of users write a mail, those who are in and some of the others."""
        for queue in self._queues.values():
            queue.refill()
        if self.away:
            return
        runtime = await default_runtime()
        offered = [name for name in PROVIDERS if name in runtime.settings.providers_enabled]
        for _ in range(round(self._tries)):
            if not any(queue.has_room for queue in self._queues.values()):
                return
            user = next(self._ids)
            provider = next((name for name in offered if runtime.gate.check(name, user).open), None)
            if provider is None:
                await post.turned_away(user)
            elif self._queues[provider].has_room:
                self._queues[provider].add(post.deliver(user, f"{user}-{next(self._mails)}"))


class _Queue:
    """The mails of one provider that are under way: so many a second, and so many at once."""

    def __init__(self, sends_s: float) -> None:
        self._sends = sends_s * _SLICE_S
        self._allowance = 0.0
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def has_room(self) -> bool:
        return self._allowance >= 1 and len(self._under_way) < _LONGEST_QUEUE

    def refill(self) -> None:
        """Allow what a slice of time allows."""
        self._allowance = min(self._allowance + self._sends, 10.0)

    def add(self, sending: Coroutine[None, None, None]) -> None:
        """Begin a mail."""
        self._allowance -= 1
        task = asyncio.create_task(sending)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


class Post:
    """Delivers mails, each once: by the new provider, else by the old one, and notes by which."""

    def __init__(self, log: TextIO, servers: dict[str, str]) -> None:
        self._log = log
        self._servers = servers
        """Where each provider's Sent Items can be looked into: its sandbox."""
        self._http = httpx.AsyncClient(trust_env=False)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def turned_away(self, user: str) -> None:
        """Let a user whom no provider takes try all the same, so that the refusal is counted."""
        await self._offered(user, f"{user}-early")

    async def deliver(self, user: str, mail: str) -> None:
        """Deliver a mail whatever happens; only after ninety rounds of nothing but refusals it is lost."""
        by = NOBODY
        self._note(mail, by)
        for _ in range(_ROUNDS):
            by = await self._offered(user, mail)
            if by != NOBODY:
                break
            await asyncio.sleep(_PAUSE_S)
        self._note(mail, by)

    def _note(self, mail: str, by: str) -> None:
        self._log.write(json.dumps({"mail": mail, "by": by}) + "\n")

    async def _offered(self, user: str, mail: str) -> str:
        for provider, send in PROVIDERS.items():
            try:
                await send(
                    to=[EmailAddress("colleague@internal.com")],
                    subject=mail,
                    body_html=f"<p>From {user}.</p>",
                    user_id=user,
                )
            except StructuredError as error:
                if error.not_sent or not await self._arrived(provider, mail):
                    continue
            return provider
        return NOBODY

    async def _arrived(self, provider: str, mail: str) -> bool:
        """Look into Sent Items, as one has to before a mail that may have been sent is sent again."""
        found = await self._http.get(f"{self._servers[provider]}/sandbox/subjects/{mail}", timeout=5)
        return bool(found.json()["copies"])


async def _run(users: Users, post: Post) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, setattr, users, "away", True)
    loop.add_signal_handler(signal.SIGUSR2, setattr, users, "away", False)
    due = loop.time()
    while not stopped.is_set():
        await users.come(post)
        due = max(due + _SLICE_S, loop.time() - 1)
        await asyncio.sleep(max(due - loop.time(), 0))
    await post.aclose()


def main() -> None:
    """Send until SIGTERM."""
    parser = argparse.ArgumentParser(description="Send as many users would, and export the metrics.")
    parser.add_argument("--port", type=int, required=True, help="of the metrics")
    parser.add_argument("--host", default="127.0.0.1", help="of the metrics")
    parser.add_argument("--first", type=int, default=0, help="number of the first user")
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--tries-s", type=float, default=1000)
    parser.add_argument("--sends-s", type=float, default=40)
    parser.add_argument("--fallback-s", type=float, default=12, help="mails by Gmail of who is not in yet")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="file of what became of each mail")
    given = parser.parse_args()
    servers = {
        "microsoft": os.environ.get("MS_GRAPH_URL", "").removesuffix("/v1.0"),
        "google": os.environ.get("GOOGLE_API_URL", ""),
    }
    start_http_server(given.port, addr=given.host)
    users = Users(
        given.first, given.users, tries_s=given.tries_s, sends_s=given.sends_s, fallback_s=given.fallback_s
    )
    with given.log.open("a", buffering=1, encoding="utf-8") as log:
        asyncio.run(_run(users, Post(log, servers)))


if __name__ == "__main__":
    main()
