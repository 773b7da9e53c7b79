"""The contact sheet of a take: verdict, every frame with its flags, pair differences, figures against limits, timing.

One self-contained HTML file. It takes plain data, so partial takes have one too; pictures come from the frames' facts
and nothing is decoded again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from ..capture.files import write_text
from ..capture.plan import Shot
from ..capture.quality_models import Finding, FrameFacts, Quality, ShotQuality, shot_name
from ..capture.rig_models import Limits
from . import html
from .pictures import data_url
from .take_charts import histogram, legend, motion_chart, timing_strip
from .take_pictures import (
    Look,
    difference,
    difference_limit,
    difference_picture,
    face_picture,
    frame_picture,
    scale_picture,
    take_look,
)
from .take_tables import SHORT_WORDS, distinct, figure_table, flags_of, number_table, worst_severity

FACE_PX = 170
VERDICT_WORDS = {"accept": "Accept", "reshoot": "Shoot some steps again", "reject": "Reject"}
STYLE = """
.banner{border-radius:8px;padding:.9rem 1.2rem;margin:1rem 0;color:#fff}
.banner b{font-size:1.5rem;display:block}.banner p{margin:.2rem 0 0;font-size:1.05rem}
.banner code{background:#0003;padding:.15rem .5rem;border-radius:4px;display:inline-block;margin-top:.5rem}
.accept{background:#2e7d32}.reshoot{background:#b26a00}.reject{background:#b3261e}
ul.findings{list-style:none;padding:0;margin:.5rem 0}
ul.findings li{padding:.35rem .7rem;margin:.3rem 0;border-left:5px solid #999;background:#f6f6f6;border-radius:3px}
ul.findings .fail{border-color:#c62828;background:#fdeceb}ul.findings .warn{border-color:#e69500;background:#fff6e3}
.row{display:grid;gap:.7rem;grid-template-columns:repeat(auto-fill,minmax(280px,1fr))}
.cards{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(460px,1fr))}
.card{border:1px solid #ddd;border-radius:6px;padding:.5rem .6rem}
.card.fail,.tile.fail{outline:3px solid #c62828;outline-offset:-1px}
.card.warn,.tile.warn{outline:3px solid #e69500;outline-offset:-1px}
.card h3{margin:0 0 .35rem;font-size:.95rem;display:flex;gap:.5rem;align-items:baseline}
.card h3 small{font-weight:400;color:#666}
.three{display:grid;grid-template-columns:repeat(3,1fr);gap:.45rem}
.tile{border-radius:4px;overflow:hidden;background:#fff}
.tile img{border-radius:0}.tile .gap{background:#eee;color:#777;display:flex;align-items:center;justify-content:center}
.tile .what{font-size:.78rem;color:#333;padding:.15rem .3rem}
.picture{position:relative}.flags{position:absolute;left:5px;top:5px;display:flex;flex-direction:column;gap:3px;
align-items:flex-start}
dl{display:flex;flex-wrap:wrap;gap:.2rem 2rem;margin:.3rem 0}dl div{display:flex;gap:.5rem}dt{color:#777}dd{margin:0}
.flag{font-size:.72rem;font-weight:600;color:#fff;border-radius:3px;padding:.05rem .4rem;white-space:nowrap}
.flag.fail{background:#c62828}.flag.warn{background:#c77f00}
svg.histogram{width:100%;height:26px;display:block;background:#fafafa}
svg.histogram polygon{fill:#8a8a8a}svg .grid{stroke:#e2e2e2;stroke-width:.6}
svg.chart{width:100%;max-width:1200px;height:auto;display:block;margin:.3rem 0}
svg.chart text{font:12px system-ui,sans-serif;fill:#333}svg.chart .small{font-size:10.5px;fill:#666}
svg.chart .axis{stroke:#888}svg.chart .limit{stroke:#c62828;stroke-dasharray:5 4}
svg.chart .path{fill:none;stroke:#bbb}
.key{font-size:.82rem;color:#444;margin-right:1rem}.key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;
margin-right:.35em;vertical-align:-.05em}
.scale{display:inline-flex;align-items:center;gap:.5rem;font-size:.82rem;color:#444}.scale img{width:240px;height:10px}
table.numbers{font-size:.8rem;font-variant-numeric:tabular-nums}
table.numbers td,table.numbers th{padding:.12rem .8rem .12rem 0;white-space:nowrap}
td.bad{color:#c62828;font-weight:600}td.good{color:#2e7d32}
.wide{overflow-x:auto}td.value{white-space:nowrap}
.halves{display:grid;gap:0 2.5rem;grid-template-columns:repeat(auto-fit,minmax(520px,1fr))}
@media print{.banner,.flag,ul.findings li{print-color-adjust:exact}.card{break-inside:avoid}}
"""


@dataclass(frozen=True)
class SheetHeader:
    """What stands above the pictures: a title, rows of (name, value), and the command to give next, if any."""

    title: str
    rows: tuple[tuple[str, str], ...] = ()
    next_command: str = ""


def write_contact_sheet(
    path: str | Path,
    header: SheetHeader,
    shots: Sequence[Shot],
    facts: Mapping[int, FrameFacts],
    quality: Quality,
    started_s: Mapping[int, float] | None = None,
    limits: Limits | None = None,
) -> None:
    """Write the contact sheet as HTML, atomically.

    Args:
        shots: every planned exposure. facts: of the frames that are there, by shot index.
        started_s: when each exposure began, s of one clock, by shot index.
        limits: of the rig; the usual ones without.
    """
    limits = limits or Limits()
    started_s = started_s or {}
    look = take_look(shots, facts)
    flags = flags_of(quality.findings)
    severity = {index: worst_severity(found) for index, found in flags.items()}
    parts = [
        f"<style>{STYLE}</style>",
        _header_rows(header.rows),
        _banner(header, quality),
        _findings(quality.findings),
        html.heading("Uniform light", "Every body at once, for the stereo reconstruction."),
        f'<div class="row">{"".join(_frame(s, facts, flags, look) for s in shots if s.kind == "uniform")}</div>',
        _pair_section(shots, facts, flags, quality, look),
        _other_section(shots, facts, flags, look),
        '<div class="halves"><div>',
        html.heading("Figures", "The worst value of each check beside its limit."),
        figure_table(quality.figures),
        "</div><div>",
        html.heading("Timing", "Start of every exposure after the first; the dashed line is the limit."),
        timing_strip(shots, started_s, severity, limits.span_s) + legend(),
        html.heading("Motion", "Distance of the face from its place in the first exposure, by image registration."),
        motion_chart(shots, quality.shots, limits.motion_mm),
        "</div></div>",
        html.heading("All numbers", "Levels in percent of the white level, mean of the face."),
        number_table(shots, facts, quality, flags),
    ]
    write_text(path, html.page(header.title, [part for part in parts if part]))


def _header_rows(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f"<dl>{items}</dl>" if items else ""


def _banner(header: SheetHeader, quality: Quality) -> str:
    command = f"<code>{escape(header.next_command)}</code>" if header.next_command else ""
    return (
        f'<div class="banner {quality.verdict}"><b>{VERDICT_WORDS[quality.verdict]}</b>'
        f"<p>{escape(quality.summary)}</p>{command}</div>"
    )


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    items = "".join(f'<li class="{f.severity}">{escape(_sentence(f.message))}</li>' for f in findings)
    return f'<ul class="findings">{items}</ul>'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _frame(shot: Shot, facts: Mapping[int, FrameFacts], flags: Mapping[int, list[Finding]], look: Look) -> str:
    """A whole frame with its histogram."""
    picture = frame_picture(facts[shot.index], look) if shot.index in facts else None
    return _tile(f"step {shot.step} · {shot.camera}", picture, shot, facts, flags, 1.5)


def _tile(
    text: str,
    picture: np.ndarray | None,
    shot: Shot,
    facts: Mapping[int, FrameFacts],
    flags: Mapping[int, list[Finding]],
    aspect: float,
) -> str:
    found = flags.get(shot.index, [])
    marks = "".join(_mark(finding) for finding in distinct(found))
    if picture is None:
        image, bars = f'<div class="gap" style="aspect-ratio:{aspect:.3f}">no frame</div>', ""
    else:
        image = f'<img alt="{escape(shot_name(shot))}" src="{data_url(picture)}">'
        bars = histogram(facts[shot.index].histogram, any(f.check == "clipped" for f in found))
    shown = f'<div class="picture">{image}<div class="flags">{marks}</div></div>'
    return f'<div class="tile {worst_severity(found)}">{shown}{bars}<div class="what">{escape(text)}</div></div>'


def _mark(finding: Finding) -> str:
    words = SHORT_WORDS.get(finding.check, finding.check)
    return f'<span class="flag {finding.severity}" title="{escape(finding.message)}">{escape(words)}</span>'


def _pair_section(
    shots: Sequence[Shot],
    facts: Mapping[int, FrameFacts],
    flags: Mapping[int, list[Finding]],
    quality: Quality,
    look: Look,
) -> str:
    grouped: dict[int, dict[str, Shot]] = {}
    for shot in shots:
        if shot.pair is not None:
            grouped.setdefault(shot.pair, {})[shot.kind] = shot
    if not grouped:
        return ""
    differences = {}
    for pair, found in grouped.items():
        here = [facts.get(found[kind].index) if kind in found else None for kind in ("parallel", "cross")]
        if here[0] is not None and here[1] is not None:
            values = difference(here[0], here[1], FACE_PX)
            if values is not None:
                differences[pair] = values
    limit = difference_limit(list(differences.values()))
    numbers = {q.shot: q for q in quality.shots}
    cards = "".join(
        _card(found, facts, flags, look, differences.get(pair), limit, numbers)
        for pair, found in sorted(grouped.items())
    )
    scale = (
        f'<p class="scale">difference: −{limit:g} % <img alt="colour scale" src="{data_url(scale_picture())}"> '
        f"+{limit:g} % of the white level (red: brighter in the parallel frame)</p>"
    )
    note = "One flash at a time: parallel, crossed, and what the polariser took away (the highlights)."
    return html.heading("Polarised pairs", note) + scale + f'<div class="cards">{cards}</div>'


def _card(
    found: Mapping[str, Shot],
    facts: Mapping[int, FrameFacts],
    flags: Mapping[int, list[Finding]],
    look: Look,
    values: np.ndarray | None,
    limit: float,
    numbers: Mapping[int, ShotQuality],
) -> str:
    tiles, aspect = [], 0.75
    for kind, word in (("parallel", "parallel"), ("cross", "crossed")):
        shot = found.get(kind)
        if shot is None:
            continue
        picture = face_picture(facts[shot.index], look, FACE_PX) if shot.index in facts else None
        if picture is not None:
            aspect = picture.shape[1] / picture.shape[0]
        tiles.append(_tile(f"{shot.step} {word}", picture, shot, facts, flags, aspect))
    if values is not None:
        image = f'<img alt="difference" src="{data_url(difference_picture(values, limit))}">'
    else:
        image = f'<div class="gap" style="aspect-ratio:{aspect:.3f}">no difference</div>'
    tiles.append(f'<div class="tile">{image}<div class="what">parallel − crossed</div></div>')
    first = next(iter(found.values()))
    number = next((numbers[s.index] for s in found.values() if s.index in numbers), None)
    figures = []
    if number is not None and number.pair_ratio is not None:
        figures.append(f"crossed/parallel {number.pair_ratio:.2f}")
    if number is not None and number.leak is not None:
        figures.append(f"leak {100 * max(number.leak, 0):.1f} %")
    return (
        f'<div class="card"><h3>{escape(first.lights[0])}<small>{" · ".join(figures)}</small></h3>'
        f'<div class="three">{"".join(tiles)}</div></div>'
    )


def _other_section(
    shots: Sequence[Shot], facts: Mapping[int, FrameFacts], flags: Mapping[int, list[Finding]], look: Look
) -> str:
    """Frames without a flash of their own: the ambient frame."""
    others = [shot for shot in shots if shot.kind != "uniform" and shot.pair is None]
    if not others:
        return ""
    brighter = Look(tuple(20 * gain for gain in look.gains))  # pyright: ignore[reportArgumentType]
    tiles = "".join(_frame(shot, facts, flags, brighter if shot.kind == "ambient" else look) for shot in others)
    note = "Nothing fired: what is seen here is light of the room. Shown 20 times brighter than the other frames."
    return html.heading("Without flash", note) + f'<div class="row">{tiles}</div>'
