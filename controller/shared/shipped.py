"""Files that are not Python and come with the program: units, runbooks, documents."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(folder: str) -> Path:
    """Return a folder such as `systemd`: of the wheel, or of the source that this runs from."""
    in_wheel = _PACKAGE / "shipped" / folder
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / folder
