"""Draws the rooms of both packages and the arrows between them into docs/, from the code's own imports.

Usage: PYTHONPATH=tests python -m pages.rooms   (a test compares page and picture with what this gives)

An arrow that follows from two others is left out: what may import what is checked by import-linter.
"""

import ast
import functools
import sys
from collections.abc import Iterable, Mapping
from itertools import chain, groupby
from pathlib import Path

import grimp

HOUSE = Path(__file__).resolve().parents[2]
PAGE = HOUSE / "docs" / "architecture.md"
PICTURE = HOUSE / "docs" / "pictures" / "rooms.svg"
PACKAGES = ("controller", "adapter")
BEGIN, END = "<!-- rooms: begin -->\n", "<!-- rooms: end -->\n"
LONGEST_CHAIN = 19
_WIDE, _HIGH, _GAP, _FLOOR, _EDGE = 104, 30, 14, 66, 12
_SWEEPS = 12

Arrows = Mapping[str, frozenset[str]]
Places = Mapping[str, tuple[float, float]]


@functools.cache
def imports() -> dict[str, list[str]]:
    """Return the modules that each module imports."""
    graph = grimp.build_graph(*PACKAGES)
    return {
        module: sorted(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)
    }


def longest_chain() -> list[str]:
    """Return the longest chain of modules of which each imports the next."""

    @functools.cache
    def below(module: str) -> tuple[str, ...]:
        chains = sorted((below(one) for one in imports()[module]), key=len)
        return (module, *chain.from_iterable(chains[-1:]))

    chains = sorted(map(below, imports()), key=len)
    return list(chains[-1])


def arrows() -> Arrows:
    """Return the rooms that each room imports from, without those that another of them leads to."""
    found: dict[str, set[str]] = {}
    for module, imported in imports().items():
        found.setdefault(_room(module), set()).update(_room(one) for one in imported)
    whole = {room: frozenset(to - {room, *PACKAGES}) for room, to in found.items() if _is_shown(room)}

    @functools.cache
    def reached(room: str) -> frozenset[str]:
        return whole[room].union(*map(reached, whole[room]))

    return {room: to - frozenset(chain(*map(reached, to))) for room, to in whole.items()}


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _is_shown(room: str) -> bool:
    return "." in room and not room.endswith("__main__")


def floors(to: Arrows) -> list[list[str]]:
    """Return the rooms by floors, the top first: a room is just above the highest that it imports from."""

    @functools.cache
    def height(room: str) -> int:
        return 1 + max(map(height, to[room]), default=-1)

    rooms = sorted(to, key=lambda room: (-height(room), room))
    return _untangled([list(floor) for _, floor in groupby(rooms, key=height)], to)


def _untangled(rows: list[list[str]], to: Arrows) -> list[list[str]]:
    """Order each floor by the middle of the rooms that its own are joined to, the controller's first."""
    for _ in range(_SWEEPS):
        at = {room: number - len(row) / 2 for row in rows for number, room in enumerate(row)}
        joined = {room: [*to[room], *(one for one in to if room in to[one])] for room in to}
        middle = {room: sum(at[one] for one in near) / max(len(near), 1) for room, near in joined.items()}
        for row in rows:
            row.sort(key=lambda room: (room.startswith("adapter"), middle[room], room))
    return rows


def picture() -> str:
    """Return the drawing as SVG."""
    to = arrows()
    rows = floors(to)
    wide = max(len(row) for row in rows) * (_WIDE + _GAP) + 2 * _EDGE
    high = len(rows) * _FLOOR - (_FLOOR - _HIGH) + 2 * _EDGE
    places = {room: place for number, row in enumerate(rows) for room, place in _placed(row, number, wide)}
    lines = [_line(places[one], places[other]) for one in sorted(to) for other in sorted(to[one])]
    boxes = [_box(room, *places[room]) for row in rows for room in row]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif">'
    label = "<title>The rooms of controller and adapter, and which imports from which</title>"
    return "\n".join([head, label, _STYLE, *lines, *boxes, "</svg>", ""])


_STYLE = (
    "<style>rect{fill:#fff;stroke-width:1.5}.controller{stroke:#1d4ed8}.adapter{stroke:#b45309}"
    "text{font-size:12px;text-anchor:middle;fill:#111}line{stroke:#888;marker-end:url(#to)}</style>"
    '<defs><marker id="to" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" '
    'orient="auto">'
    '<path d="M0 0L6 3L0 6z" fill="#888"/></marker></defs>'
    '<rect width="100%" height="100%" stroke="none"/>'
)


def _placed(row: list[str], number: int, wide: float) -> Iterable[tuple[str, tuple[float, float]]]:
    left = (wide - len(row) * (_WIDE + _GAP) + _GAP) / 2
    for column, room in enumerate(row):
        yield room, (left + column * (_WIDE + _GAP), _EDGE + number * _FLOOR)


def _line(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    middle = _WIDE / 2
    start, end = (upper[0] + middle, upper[1] + _HIGH), (lower[0] + middle, lower[1])
    return f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"/>'


def _box(room: str, x: float, y: float) -> str:
    package, name = room.split(".")
    box = f'<rect class="{package}" x="{x:g}" y="{y:g}" width="{_WIDE}" height="{_HIGH}" rx="4"/>'
    return f'{box}<text x="{x + _WIDE / 2:g}" y="{y + _HIGH / 2 + 4:g}">{name}</text>'


def table() -> str:
    """Return the rooms with what each is for, from the first line of its code."""
    rows = [room for floor in floors(arrows()) for room in floor]
    lines = ["| room | what it is for |", "|---|---|"]
    for package in PACKAGES:
        lines += [
            f"| `{room.replace('.', '/')}` | {_purpose(room)} |" for room in rows if room.startswith(package)
        ]
    return "\n".join(lines) + "\n"


def _purpose(room: str) -> str:
    base = HOUSE.joinpath(*room.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def page(text: str) -> str:
    """Return the page with the table of the code as it is now between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PICTURE} and {PAGE}\n")
