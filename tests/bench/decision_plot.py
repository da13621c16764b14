"""Draws the shares of healthy ramps that each rule aborted, as one SVG for light and dark pages."""

from collections.abc import Mapping, Sequence
from html import escape

from bench.decision_traces import TRAFFIC

WIDTH, HEIGHT, LEFT, TOP = 900, 330, 52, 40
BAR, GAP = 26, 44
LIGHT = ("#0a6c74", "#7a8793", "#c2410c", "#f2a65a", "#6639ba", "#b99aff")
DARK = ("#56c4cf", "#8b98a5", "#f0743a", "#f6c08a", "#b18cff", "#d9c7ff")


def plot(shares: Mapping[str, Sequence[float]]) -> str:
    """Draw groups of bars: one group per traffic, one bar per rule; the shares are percentages."""
    parts = [_style(), f'<text class="title" x="{LEFT}" y="20">Healthy ramps aborted, %</text>']
    for percent in (0, 25, 50, 75, 100):
        parts.append(f'<path class="axis" d="M{LEFT} {_y(percent):.0f}H{WIDTH - 8}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{_y(percent) + 4:.0f}" text-anchor="end">{percent}</text>')
    for group, traffic in enumerate(TRAFFIC):
        left = LEFT + 12 + group * (len(shares) * BAR + GAP)
        for place, (name, values) in enumerate(shares.items()):
            parts.append(_bar(left + place * BAR, place, name, values[group]))
        middle = left + len(shares) * BAR / 2
        parts.append(f'<text x="{middle:.0f}" y="{_y(0) + 18:.0f}" text-anchor="middle">{traffic:g}/s</text>')
    for place, name in enumerate(shares):
        x, y = LEFT + (place % 3) * 280, HEIGHT + 16 + 20 * (place // 3)
        parts.append(f'<rect class="c{place}" x="{x}" y="{y - 10}" width="12" height="12"/>')
        parts.append(f'<text x="{x + 18}" y="{y}">{escape(name)}</text>')
    inner = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 48}" role="img" '
        f'aria-label="Share of healthy ramps that each rule aborted, by traffic">\n{inner}\n</svg>\n'
    )


def _y(percent: float) -> float:
    return TOP + (1 - percent / 100) * (HEIGHT - TOP - 28)


def _bar(x: float, place: int, name: str, percent: float) -> str:
    top, height = _y(percent), max(_y(0) - _y(percent), 1.0)
    label = f"{percent:.0f}" if percent >= 1 or percent == 0 else f"{percent:.1f}"
    return (
        f'<rect class="c{place}" x="{x}" y="{top:.1f}" width="{BAR - 3}" height="{height:.1f}">'
        f"<title>{escape(name)}: {percent:.1f} %</title></rect>"
        f'<text x="{x + BAR / 2 - 1:.0f}" y="{top - 4:.1f}" text-anchor="middle">{label}</text>'
    )


def _style() -> str:
    light = " ".join(f".c{i} {{ fill: {colour}; }}" for i, colour in enumerate(LIGHT))
    dark = " ".join(f".c{i} {{ fill: {colour}; }}" for i, colour in enumerate(DARK))
    return (
        "<style>text { font: 12px system-ui, sans-serif; fill: #57606a; } .title { font-weight: 600; }"
        f" .axis {{ stroke: #d0d7de; }} {light}\n"
        "@media (prefers-color-scheme: dark) { text { fill: #9da7b3; }"
        f" .axis {{ stroke: #3d444d; }} {dark} }}</style>"
    )
