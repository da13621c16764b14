"""Starts the `rollout` command, unless another distribution has taken the place of one of our packages.

`controller` and `adapter` are common names. This module stands beside them, so that a package that overwrites
or hides one of them cannot overwrite the check that says so.
"""

import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "rollout-controller"
IMPORT_NAMES = ("controller", "adapter")


def stranger() -> str:
    """Return what is wrong with the first import name that is not ours, in one line; empty when both are."""
    for name in IMPORT_NAMES:
        spec = find_spec(name)
        origin = spec.origin if spec else None
        if origin and DISTRIBUTION in Path(origin).read_text(encoding="utf-8", errors="replace"):
            continue
        owners = {*packages_distributions().get(name, ())} - {DISTRIBUTION}
        whose = f"that of {', '.join(sorted(owners))}" if owners else "not ours"
        place = f" ({Path(origin).parent})" if origin else ""
        return (
            f"the package {name!r} that Python finds{place} is {whose}, so rollout cannot start; "
            f"install {DISTRIBUTION} into a virtual environment of its own, without PYTHONPATH"
        )
    return ""


def main() -> None:
    """Run the command line, or say in one line why it cannot run and exit with 2."""
    if wrong := stranger():
        print(f"rollout: {wrong}", file=sys.stderr)
        sys.exit(2)
    from controller.cli import main as command  # noqa: PLC0415 - not before it is known to be ours

    command()
