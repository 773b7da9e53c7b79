"""Draws docs/images/displacement-transfer.svg: what share of a wrinkle each displacement preset keeps, by wavelength.

python benchmarks/transfer_plot.py [--out FILE] [--pixel-mm 0.05]
"""

import argparse
from pathlib import Path

import numpy as np

from mesoface.reconstruct.displacement import PRESETS
from mesoface.reconstruct.eq9_transfer import slope_gain

LEFT, RIGHT, TOP, BOTTOM = 52.0, 668.0, 20.0, 300.0
SHORTEST_MM, LONGEST_MM = 0.4, 200.0
LABELS_MM = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)
COLOURS = {"paper": "#b5432f", "full_band": "#1f6fb2"}


def place(wavelength_mm: np.ndarray | float, gain: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    across = np.log(np.asarray(wavelength_mm) / SHORTEST_MM) / np.log(LONGEST_MM / SHORTEST_MM)
    return LEFT + across * (RIGHT - LEFT), BOTTOM - np.asarray(gain) / 1.1 * (BOTTOM - TOP)


def curve(wavelength_mm: np.ndarray, gain: np.ndarray, style: str) -> str:
    x, y = place(wavelength_mm, np.clip(gain, 0, 1.1))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" {style}/>'


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'


def drawing(pixel_mm: float) -> str:
    wavelength_mm = np.geomspace(SHORTEST_MM, LONGEST_MM, 120)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 350" font-family="sans-serif" font-size="13">',
        '<rect width="700" height="350" fill="white"/>',
    ]
    for label in LABELS_MM:
        x, _ = place(label, 0)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}" stroke="#ddd"/>')
        parts.append(text(float(x), BOTTOM + 18, f"{label:g}", 'text-anchor="middle"'))
    for gain in (0, 0.25, 0.5, 0.75, 1):
        _, y = place(1, gain)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, float(y) + 4, f"{100 * gain:g} %", 'text-anchor="end"'))
    parts.append(
        text((LEFT + RIGHT) / 2, 340, f"wavelength, mm (at {pixel_mm:g} mm per pixel)", 'text-anchor="middle"')
    )
    for mu, words, at, gain in ((1e-5, "z at 1e-5", 120.0, 0.44), (1e-3, "z at 1e-3", 1.2, 0.86)):
        gains = slope_gain(mu * (pixel_mm / 0.05) ** 2, wavelength_mm / pixel_mm)
        parts.append(curve(wavelength_mm, gains, 'stroke="#888" stroke-dasharray="4 4"'))
        x, y = place(at, gain)
        parts.append(text(float(x) + 6, float(y) - 4, words, 'fill="#666"'))
    for name, preset in PRESETS.items():
        gains = preset.gain(wavelength_mm, pixel_mm)
        parts.append(curve(wavelength_mm, gains, f'stroke="{COLOURS[name]}" stroke-width="2.5"'))
    for name, at, gain in (("paper", 3.2, 0.2), ("full_band", 0.9, 1.04)):
        x, y = place(at, gain)
        parts.append(text(float(x), float(y), name, f'fill="{COLOURS[name]}" font-weight="bold"'))
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "docs/images/displacement-transfer.svg"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--pixel-mm", type=float, default=0.05)
    arguments = parser.parse_args()
    arguments.out.write_text(drawing(arguments.pixel_mm))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
