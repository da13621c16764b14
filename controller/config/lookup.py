"""Finds the configuration file that nobody named: here first, then where a package would put it."""

import os
from collections.abc import MutableMapping
from pathlib import Path

LOOKED_FOR = (Path("rollout.toml"), Path("/etc/rollout-controller/rollout.toml"))
_NAMED = "ROLLOUT_CONFIG"


def look_for_config(environ: MutableMapping[str, str] = os.environ) -> None:
    """Put the first file that is there into ROLLOUT_CONFIG, which both packages read; a file named stays."""
    _FOUND.clear()
    found = next((path for path in LOOKED_FOR if path.is_file()), None)
    if found and not environ.get(_NAMED):
        environ[_NAMED] = str(found)
        _FOUND.append(found)


def found_config() -> Path | None:
    """Return the file that was found and not named; None where one was named, or none is there."""
    return _FOUND[-1] if _FOUND else None


_FOUND: list[Path] = []
