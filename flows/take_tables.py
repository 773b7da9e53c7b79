"""Tables of a take's contact sheet, and which findings mark which frame."""

from collections.abc import Mapping, Sequence
from html import escape

from ..capture.plan import Shot
from ..capture.quality_models import Figure, Finding, FrameFacts, Quality, shot_name

SHORT_WORDS = {
    "missing": "missing", "unreadable": "cannot be read", "copy": "same picture twice", "serial": "wrong body",
    "settings": "wrong settings", "size": "wrong size", "skew": "started late", "clock": "odd time",
    "ambient": "room light", "clipped": "burnt out", "black": "too dark", "flash_missing": "did not fire",
    "flash_weak": "weak", "flash_strong": "too strong", "uniform_level": "odd brightness", "wrong_light": "wrong light",
    "pair_exchanged": "states exchanged", "pair_alike": "polariser stuck", "pair_ratio": "pair uneven",
    "leak": "highlight left", "sharpness": "blurred", "noise": "noisy", "motion": "moved",
}  # fmt: skip


def flags_of(findings: Sequence[Finding]) -> dict[int, list[Finding]]:
    """Findings by the shots they blame."""
    flags: dict[int, list[Finding]] = {}
    for finding in findings:
        for index in finding.shots:
            flags.setdefault(index, []).append(finding)
    return flags


def worst_severity(findings: Sequence[Finding]) -> str:
    """How a frame is marked: fail, warn, or nothing."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in ("fail", "warn") if severity in found), "")


def distinct(findings: Sequence[Finding]) -> list[Finding]:
    """One finding per check, two at most: what fits on a picture."""
    seen: dict[str, Finding] = {}
    for finding in findings:
        if finding.severity != "note":
            seen.setdefault(finding.check, finding)
    return list(seen.values())[:2]


def figure_table(figures: Sequence[Figure]) -> str:
    """The worst value of every check beside its limit."""
    rows = "".join(
        f'<tr><td>{escape(f.name)}</td><td class="value">{_with_unit(f.value, f.unit)}</td>'
        f"<td>{_limit(f)}</td>{_mark(f)}</tr>"
        for f in figures
    )
    return f"<table><tr><th>check</th><th>found</th><th>limit</th><th></th></tr>{rows}</table>"


def _limit(figure: Figure) -> str:
    words = [f"at least {_with_unit(figure.at_least, figure.unit)}"] if figure.at_least is not None else []
    words += [f"at most {_with_unit(figure.at_most, figure.unit)}"] if figure.at_most is not None else []
    error = f" (± {_with_unit(figure.error, figure.unit)})" if figure.error else ""
    return " and ".join(words) + error


def _mark(figure: Figure) -> str:
    if figure.value is None:
        return "<td>not measured</td>"
    return '<td class="good">ok</td>' if figure.passed else '<td class="bad">failed</td>'


def _with_unit(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{_number(value)} {escape(unit)}".strip()


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{0.0 if abs(value) < 1e-4 else value:.{digits}g}"


def number_table(
    shots: Sequence[Shot], facts: Mapping[int, FrameFacts], quality: Quality, flags: Mapping[int, list[Finding]]
) -> str:
    """Everything that was measured, one row per planned shot."""
    header = (
        "step", "frame", "red", "green", "blue", "burnt out", "black", "strength", "fits", "margin", "X / P", "leak",
        "sharp", "moved", "turned", "noise", "exposure", "body", "time", "flags",
    )  # fmt: skip
    by_shot = {q.shot: q for q in quality.shots}
    rows = []
    for shot in shots:
        f, q = facts.get(shot.index), by_shot.get(shot.index)
        found = flags.get(shot.index, [])
        words = ", ".join(SHORT_WORDS.get(x.check, x.check) for x in distinct(found))
        cells = [str(shot.step), shot_name(shot)]
        if f is None or q is None:
            cells += ["–"] * (len(header) - 3)
        else:
            noise = "–" if f.noise is None else ("< " if f.noise_is_bound else "") + f"{100 * f.noise:.1f} %"
            cells += [
                *(f"{100 * level:.1f}" for level in f.mean_rgb),
                f"{100 * f.clipped_share:.3f} %",
                f"{100 * f.black_share:.0f} %",
                _number(q.strength),
                q.light or "–",
                _number(q.light_margin),
                _number(q.pair_ratio),
                "–" if q.leak is None else f"{100 * q.leak:.1f} %",
                _number(q.sharpness, 2),
                "–" if q.moved_mm is None else f"{q.moved_mm:.2f} mm",
                "–" if q.turned_deg is None else f"{q.turned_deg:.2f}°",
                noise,
                f"ISO {f.iso or '?'} f/{_number(f.aperture)} {_number(f.shutter_s)} s",
                f.serial or "–",
                f.taken.partition(" ")[2] or "–",
            ]
        colour = ' class="bad"' if worst_severity(found) == "fail" else ""
        rows.append(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + f"<td{colour}>{escape(words or '')}</td></tr>"
        )
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return f'<div class="wide"><table class="numbers"><tr>{head}</tr>{"".join(rows)}</table></div>'
