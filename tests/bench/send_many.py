"""Ten thousand sends from one process, and its memory. Prints one JSON object.

Usage: python -m bench.send_many, with the environment of a sender
"""

import asyncio
import json
import time
from pathlib import Path

from bench.send_mails import TOKEN

from adapter import EmailAddress, Runtime, StaticTokens, outlook_send

AT_ONCE, USERS = 16, 200
FIRST, ALL = 1_000, 10_000
TO = [EmailAddress("bob@corp.example")]


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def send(runtime: Runtime, first: int, last: int) -> None:
    """Send with a key each, from users who come again and again."""
    numbers = iter(range(first, last))

    async def sender() -> None:
        for n in numbers:
            await outlook_send(
                TO,
                "Hi",
                "<p>Hi</p>",
                user_id=f"user-{n % USERS}",
                idempotency_key=f"{n}",
                runtime=runtime,
            )

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))


async def main() -> None:
    async with Runtime.open(tokens={"microsoft": StaticTokens(TOKEN)}) as runtime:
        await send(runtime, 0, FIRST)
        early_mb, began = resident_mb(), time.perf_counter()
        await send(runtime, FIRST, ALL)
        seconds = time.perf_counter() - began
    print(json.dumps({"early_mb": early_mb, "late_mb": resident_mb(), "mails_s": (ALL - FIRST) / seconds}))


if __name__ == "__main__":
    asyncio.run(main())
