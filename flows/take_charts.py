"""Small drawings for a take's contact sheet, as SVG text: histograms, the timing strip, the path of the subject."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ..capture.plan import Shot
from ..capture.quality_models import HISTOGRAM_STOPS, ShotQuality, shot_name

KIND_COLOURS = {"uniform": "#5b7db1", "parallel": "#d08a2e", "cross": "#7a4fa3", "ambient": "#777777"}
WIDTH_PX = 800
LEFT_PX = 70


def histogram(counts: Sequence[int], clipped: bool) -> str:
    """Levels of a frame in stops below white, dark to the left; a red edge at white when pixels are burnt out."""
    bars = np.sqrt(np.asarray(counts, np.float64)[1:])  # without the darkest bin, which is the background
    bars /= max(float(bars.max()), 1.0)
    points = " ".join(f"{i},{24 - 23 * bar:.1f}" for i, bar in enumerate(bars))
    last = len(bars) - 1
    stops = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="24" class="grid"/>'
        for x in (last - 4 * k * last / HISTOGRAM_STOPS for k in range(1, int(HISTOGRAM_STOPS // 4)))
    )
    edge = f'<rect x="{last - 1.5}" y="0" width="2.5" height="24" fill="#c62828"/>' if clipped else ""
    return (
        f'<svg class="histogram" viewBox="0 0 {last} 25" preserveAspectRatio="none" role="img" '
        f'aria-label="histogram">{stops}<polygon points="0,24 {points} {last},24"/>{edge}</svg>'
    )


def timing_strip(
    shots: Sequence[Shot], started_s: Mapping[int, float], flagged: Mapping[int, str], span_limit_s: float
) -> str:
    """When each body exposed, one row per body, seconds from the first exposure."""
    known = [shot for shot in shots if shot.index in started_s]
    if not known:
        return '<p class="note">No times are known for this take.</p>'
    first = min(started_s[shot.index] for shot in known)
    longest = max(started_s[shot.index] - first for shot in known)
    end = max(longest, min(span_limit_s, 3 * longest), 0.1) * 1.03
    cameras = list(dict.fromkeys(shot.camera for shot in shots))
    height = 22 * len(cameras) + 26
    x = _scale(end)
    parts = [_axis(end, x, height - 18)]
    for row, camera in enumerate(cameras):
        y = 22 * row + 6
        parts.append(f'<text x="{LEFT_PX - 8}" y="{y + 11}" text-anchor="end">{escape(camera)}</text>')
        parts.append(f'<line x1="{LEFT_PX}" x2="{WIDTH_PX - 10}" y1="{y + 8}" y2="{y + 8}" class="grid"/>')
    for shot in known:
        seconds = started_s[shot.index] - first
        y = 22 * cameras.index(shot.camera) + 6
        colour = KIND_COLOURS.get(shot.kind, "#777777")
        edge = ' stroke="#c62828" stroke-width="2"' if flagged.get(shot.index) == "fail" else ""
        parts.append(
            f'<rect x="{x(seconds) - 3:.1f}" y="{y}" width="6" height="16" rx="2" fill="{colour}"{edge}>'
            f"<title>{escape(shot_name(shot))}, {seconds:.3f} s</title></rect>"
        )
    if span_limit_s <= end:
        limit_x = x(span_limit_s)
        parts.append(f'<line x1="{limit_x:.1f}" x2="{limit_x:.1f}" y1="0" y2="{height - 18}" class="limit"/>')
    return _svg(height, "times of the exposures", parts)


def motion_chart(shots: Sequence[Shot], quality: Sequence[ShotQuality], limit_mm: float) -> str:
    """Distance of the face from its place in the first exposure, exposure by exposure."""
    moved = {q.shot: q.moved_mm for q in quality if q.moved_mm is not None}
    chosen = [shot for shot in shots if shot.index in moved]
    if len(chosen) < 2:
        return '<p class="note">The motion of the subject could not be measured.</p>'
    highest = max(*(moved[shot.index] for shot in chosen), limit_mm) * 1.15
    height = 120
    base = height - 20
    x = _scale(len(chosen) - 0.5)

    def y(value_mm: float) -> float:
        return base - (base - 8) * value_mm / highest

    parts = [
        f'<line x1="{LEFT_PX}" x2="{WIDTH_PX - 10}" y1="{base}" y2="{base}" class="axis"/>',
        f'<text x="{LEFT_PX - 8}" y="{base}" text-anchor="end">0 mm</text>',
        f'<line x1="{LEFT_PX}" x2="{WIDTH_PX - 10}" y1="{y(limit_mm):.1f}" y2="{y(limit_mm):.1f}" class="limit"/>',
        f'<text x="{LEFT_PX - 8}" y="{y(limit_mm) + 4:.1f}" text-anchor="end">{limit_mm:g} mm</text>',
    ]
    points = [(x(place + 0.25), y(moved[shot.index])) for place, shot in enumerate(chosen)]
    parts.append('<polyline class="path" points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in points) + '"/>')
    for (a, b), shot in zip(points, chosen, strict=True):
        value_mm = moved[shot.index]
        colour = "#c62828" if value_mm > limit_mm else KIND_COLOURS.get(shot.kind, "#777777")
        parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}">'
            f"<title>{escape(shot_name(shot))}: {value_mm:.2f} mm</title></circle>"
        )
        if shot.kind != "cross":
            label = shot.lights[0] if shot.pair is not None else shot.kind
            parts.append(f'<text x="{a:.1f}" y="{base + 14}" text-anchor="middle" class="small">{escape(label)}</text>')
    return _svg(height, "motion of the subject", parts)


def legend() -> str:
    """What the colours of the kinds mean."""
    return "".join(
        f'<span class="key"><i style="background:{colour}"></i>{"crossed" if kind == "cross" else kind}</span>'
        for kind, colour in KIND_COLOURS.items()
    )


def _scale(end: float):
    return lambda value: LEFT_PX + (WIDTH_PX - LEFT_PX - 10) * value / end


def _axis(end: float, x, y_px: int) -> str:
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600, 86400) if end / s <= 12 or s == 86400)
    parts = [f'<line x1="{LEFT_PX}" x2="{WIDTH_PX - 10}" y1="{y_px}" y2="{y_px}" class="axis"/>']
    for k in range(min(int(end / step), 50) + 1):
        at = x(k * step)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y_px}" y2="{y_px + 4}" class="axis"/>')
        parts.append(f'<text x="{at:.1f}" y="{y_px + 15}" text-anchor="middle" class="small">{k * step:g} s</text>')
    return "".join(parts)


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH_PX} {height:g}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )
