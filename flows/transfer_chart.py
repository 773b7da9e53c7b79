"""Curves over wavelength, as SVG text: what a scan's displacement keeps and how sure it is."""

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 780.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 560.0, 16.0, 262.0
LABELS_MM = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
COLOURS = ("#1f6fb2", "#b5432f", "#3c8d4f", "#777777")
HIGHEST = 1.2


def transfer_chart(curves: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """An SVG chart of (name, wavelengths in mm, values from 0 to 1.2) curves over a logarithmic wavelength axis."""
    every = np.concatenate([np.asarray(wavelength_mm) for _, wavelength_mm, _ in curves])
    low, high = np.log(every.min()), np.log(every.max())

    def across(wavelength_mm: np.ndarray | float) -> np.ndarray:
        return LEFT + (np.log(np.asarray(wavelength_mm)) - low) / max(high - low, 1e-9) * (RIGHT - LEFT)

    def down(value: np.ndarray | float) -> np.ndarray:
        return BOTTOM - np.clip(np.asarray(value), 0, HIGHEST) / HIGHEST * (BOTTOM - TOP)

    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" style="max-width:{WIDTH:g}px" role="img" font-size="12" '
        'font-family="sans-serif" aria-label="transfer by wavelength">'
    ]
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = float(down(value))
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for label in LABELS_MM:
        if low - 1e-6 <= np.log(label) <= high + 1e-6:
            x = float(across(label))
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}" stroke="#eee"/>')
            parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{label:g}</text>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">wavelength, mm</text>')
    for number, (name, wavelength_mm, values) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        good = np.isfinite(values)
        pairs = zip(across(np.asarray(wavelength_mm)[good]), down(np.asarray(values)[good]), strict=True)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 16 * (number + 1)
        parts.append(f'<line x1="{RIGHT + 8}" x2="{RIGHT + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}"/>')
        parts.append(f'<text x="{RIGHT + 28}" y="{y}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])
