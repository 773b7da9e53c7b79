"""A histogram as SVG text, shares on a logarithmic axis, so that rare heights can be seen beside common ones."""

import numpy as np

WIDTH, HEIGHT = 780.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 760.0, 12.0, 214.0
LOWEST = 1e-6
"""Share that lies on the axis; what is rarer is not drawn."""


def histogram_chart(counts: np.ndarray, edges: np.ndarray, unit: str) -> str:
    """SVG of `counts` (n,) between `edges` (n + 1,), as shares of all."""
    shares = np.asarray(counts, np.float64) / max(float(np.sum(counts)), 1.0)
    decades = -np.log10(LOWEST)

    def across(value: float) -> float:
        return LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * (RIGHT - LEFT)

    def down(share: float) -> float:
        return BOTTOM - np.clip(np.log10(max(share, LOWEST)) + decades, 0, decades) / decades * (BOTTOM - TOP)

    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" style="max-width:{WIDTH:g}px" role="img" font-size="12" '
        'font-family="sans-serif" aria-label="histogram">'
    ]
    for power in range(-int(decades), 1):
        y, percent = down(10.0**power), 100 * 10.0**power
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent:g} %</text>')
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share > LOWEST:
            x, y = across(low), down(share)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(across(high) - x - 0.5, 0.5):.1f}" '
                f'height="{BOTTOM - y:.1f}" fill="#1f6fb2"/>'
            )
    for value in np.linspace(edges[0], edges[-1], 9):
        parts.append(f'<text x="{across(value):.1f}" y="{BOTTOM + 16}" text-anchor="middle">{value:.3g}</text>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{unit}</text>')
    return "".join([*parts, "</svg>"])
