"""Runs the benchmarks, each in a process of its own; those that are named, or all."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
BENCHES = (
    *(
        "gate",
        "tick",
        "decisions",
        "send",
        "gmail",
        "batch",
        "signin",
        "faces",
        "keep_alive",
        "live",
        "startup",
    ),
)


def main() -> int:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    failed = [
        name
        for name in sys.argv[1:] or BENCHES
        if subprocess.run(
            [sys.executable, "-m", f"bench.{name}"], env=environment, check=False, cwd=TESTS.parent
        ).returncode
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
