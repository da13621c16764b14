"""Draws panels of lines over time as inline SVG: no script, no font, no other file, light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

Point = tuple[float, float]

WIDTH, LEFT, RIGHT = 960, 56, 12
STYLE = """
:root { --ink: #1f2328; --soft: #57606a; --line: #d0d7de; --paper: #ffffff;
  --one: #0a6c74; --two: #a04a00; --three: #6639ba; --bad: #b42318; --good: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d;
  --paper: #0d1117; --one: #56c4cf; --two: #f0a35e; --three: #b99aff; --bad: #ff7b72; --good: #56d364; } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
p, figcaption { color: var(--soft); margin: .2rem 0; } figure { margin: .8rem 0; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 12px; }
.axis { stroke: var(--line); stroke-width: 1; } .limit { stroke-dasharray: 5 4; }
.s { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.one { stroke: var(--one); } .two { stroke: var(--two); } .three { stroke: var(--three); }
.key-one { color: var(--one); } .key-two { color: var(--two); } .key-three { color: var(--three); }
.step_up { fill: var(--good); } .pause, .step_back { fill: var(--bad); }
.key-step_up { color: var(--good); } .key-pause, .key-step_back { color: var(--bad); }
table { border-collapse: collapse; font-size: .9rem; } td, th { padding: .15rem .8rem .15rem 0;
  text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:last-child { white-space: normal; }
""".strip()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel, in the colour `one`, `two` or `three`."""

    label: str
    points: Sequence[Point]
    colour: str = "one"
    stairs: bool = False
    """The value holds until the next point."""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment worth a word, drawn as a dot with a tooltip."""

    x: float
    y: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ChartPanel:
    """One picture: lines over a shared x."""

    title: str
    lines: Sequence[Line]
    top: float
    unit: str = ""
    marks: Sequence[Mark] = ()
    height: int = 170


def figure(panel: ChartPanel, start: float, end: float, x_label: str = "") -> str:
    """Draw a panel from x = start to x = end, y = 0 to top."""
    scale = _Scale(start, max(end, start + 1e-9), max(panel.top, 1e-9), panel.height)
    parts = [*_axes(scale, panel, x_label)]
    parts += [_line(scale, line) for line in panel.lines if line.points]
    parts += [_mark(scale, mark) for mark in panel.marks]
    keys = " ".join(
        f'<span class="key-{line.colour}">{"╌" if line.dashed else "━"} {escape(line.label)}</span>'
        for line in panel.lines
    )
    kinds = dict.fromkeys(mark.kind for mark in panel.marks)
    keys += "".join(
        f' <span class="key-{escape(kind)}">● {escape(kind.replace("_", " "))}</span>' for kind in kinds
    )
    drawing = "\n".join(parts)
    return (
        f"<figure><figcaption><b>{escape(panel.title)}</b> {keys}</figcaption>\n"
        f'<svg viewBox="0 0 {WIDTH} {panel.height + 26}" role="img" aria-label="{escape(panel.title)}">\n'
        f"{drawing}\n</svg></figure>"
    )


def document(title: str, body: Sequence[str]) -> str:
    """Return one HTML page that needs no other file."""
    inner = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{inner}\n</body>\n</html>\n"
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    start: float
    end: float
    top: float
    height: int

    def x(self, value: float) -> float:
        share = (value - self.start) / (self.end - self.start)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return 6 + (1 - min(max(value / self.top, 0.0), 1.0)) * (self.height - 6)


def _axes(scale: _Scale, panel: ChartPanel, x_label: str) -> list[str]:
    parts = []
    for value in ticks(scale.top):
        y = scale.y(value)
        parts.append(f'<path class="axis" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}{panel.unit}</text>')
    for value in ticks(scale.end - scale.start, 8):
        x = scale.x(scale.start + value)
        parts.append(f'<text x="{x:.1f}" y="{panel.height + 18}" text-anchor="middle">{value:g}</text>')
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{panel.height + 18}" text-anchor="end">{escape(x_label)}</text>'
    )
    return parts


def ticks(top: float, most: int = 5) -> list[float]:
    """Return round numbers from 0 to top, at most about `most` of them."""
    raw = top / most
    size = 10 ** floor(log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    return [round(step * i, 10) for i in range(int(top / step + 1e-9) + 1)]


def _line(scale: _Scale, line: Line) -> str:
    path, before = [], None
    for x, y in line.points:
        at = f"{scale.x(x):.1f}", f"{scale.y(y):.1f}"
        if before is None:
            path.append(f"M{at[0]} {at[1]}")
        elif line.stairs:
            path.append(f"H{at[0]}" + (f"V{at[1]}" if at[1] != before else ""))
        else:
            path.append(f"L{at[0]} {at[1]}")
        before = at[1]
    dashed = " limit" if line.dashed else ""
    return f'<path class="s {line.colour}{dashed}" d="{"".join(path)}"/>'


def _mark(scale: _Scale, mark: Mark) -> str:
    x, y = scale.x(mark.x), scale.y(mark.y)
    return (
        f'<circle class="{escape(mark.kind)}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
        f"<title>{escape(mark.text)}</title></circle>"
    )
