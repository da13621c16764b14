"""A sender process for demos: thousands of users who send through `outlook_send`, and its metrics.

Each user id is tried in turn, as fast as `--tries-s` says; who is not in yet is turned away by the gate. At
most `--sends-s` mails a second leave. SIGUSR1 stops the users, SIGUSR2 lets them go on.
"""

import argparse
import asyncio
import itertools
import signal

from prometheus_client import start_http_server

from adapter import ActionDeniedError, EmailAddress, StructuredError, outlook_send
from adapter.sending.runtime import default_runtime

_SLICE_S = 0.02
_LONGEST_QUEUE = 64


class Users:
    """Users who come again and again, and a bound on how many of them send at once."""

    def __init__(self, first: int, count: int, *, tries_s: float, sends_s: float) -> None:
        self._ids = itertools.cycle([f"user-{number:05d}" for number in range(first, first + count)])
        self._tries = tries_s * _SLICE_S
        self._sends = sends_s * _SLICE_S
        self._allowance = 0.0
        self._under_way: set[asyncio.Task[bool]] = set()
        self.away = False

    async def come(self) -> None:
        """Let one slice of time's worth of users try to send."""
        self._allowance = min(self._allowance + self._sends, 10.0)
        if self.away:
            return
        gate = (await default_runtime()).gate
        for _ in range(round(self._tries)):
            if self._allowance < 1 or len(self._under_way) >= _LONGEST_QUEUE:
                return
            user = next(self._ids)
            if not gate.check("microsoft", user).open:
                await _send(user)
                continue
            self._allowance -= 1
            task = asyncio.create_task(_send(user))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)


async def _send(user: str) -> bool:
    try:
        await outlook_send(
            to=[EmailAddress("colleague@internal.com")],
            subject="Hello",
            body_html=f"<p>From {user}.</p>",
            user_id=user,
        )
    except (ActionDeniedError, StructuredError):
        return False
    return True


async def _run(users: Users) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, setattr, users, "away", True)
    loop.add_signal_handler(signal.SIGUSR2, setattr, users, "away", False)
    due = loop.time()
    while not stopped.is_set():
        await users.come()
        due = max(due + _SLICE_S, loop.time() - 1)
        await asyncio.sleep(max(due - loop.time(), 0))


def main() -> None:
    """Send until SIGTERM."""
    parser = argparse.ArgumentParser(description="Send as many users would, and export the metrics.")
    parser.add_argument("--port", type=int, required=True, help="of the metrics")
    parser.add_argument("--host", default="127.0.0.1", help="of the metrics")
    parser.add_argument("--first", type=int, default=0, help="number of the first user")
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--tries-s", type=float, default=1000)
    parser.add_argument("--sends-s", type=float, default=40)
    given = parser.parse_args()
    start_http_server(given.port, addr=given.host)
    asyncio.run(_run(Users(given.first, given.users, tries_s=given.tries_s, sends_s=given.sends_s)))


if __name__ == "__main__":
    main()
