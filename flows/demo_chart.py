"""Errors over training steps, as SVG text."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 780.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 560.0, 12.0, 214.0
COLOURS = ("#1f6fb2", "#b5432f", "#777777")


def step_chart(steps: Sequence[float], curves: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    """An SVG of (name, values) curves over `steps`, from 0 to their largest value."""
    last = max(steps[-1], 1)
    highest = 1.05 * max((max(values) for _, values in curves), default=1.0) or 1.0

    def across(step: float) -> float:
        return LEFT + step / last * (RIGHT - LEFT)

    def down(value: float) -> float:
        return BOTTOM - value / highest * (BOTTOM - TOP)

    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" style="max-width:{WIDTH:g}px" role="img" font-size="12" '
        'font-family="sans-serif" aria-label="error over training steps">'
    ]
    for number in range(5):
        value, step = highest * number / 4, last * number / 4
        y, x = down(value), across(step)
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{step:.0f}</text>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">steps; error in {unit}</text>')
    for number, (name, values) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(steps, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 16 * (number + 1)
        parts.append(f'<line x1="{RIGHT + 8}" x2="{RIGHT + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}"/>')
        parts.append(f'<text x="{RIGHT + 28}" y="{y}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])
