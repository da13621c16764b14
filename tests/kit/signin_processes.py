"""Processes that sign in or die while they do: see signin_worker."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("signin_worker.py")
ROOT = WORKER.parents[2]
PIPE = asyncio.subprocess.PIPE


async def start(env: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        *arguments,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{WORKER.parents[1]}", **env},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def ended(process: asyncio.subprocess.Process, outputs: list[str], told: bytes = b"") -> Any:
    """Wait for a process and give the JSON of its last line."""
    out, err = await process.communicate(told)
    outputs += [out.decode(), err.decode()]
    assert process.returncode == 0, err.decode()
    return json.loads(out.decode().splitlines()[-1])
