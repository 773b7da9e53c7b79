"""Self-contained HTML pages: no script, no outside file, readable in any browser and on paper."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from .pictures import data_url

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1500px;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid #ddd}
.grid{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fill,minmax(var(--w,220px),1fr))}
figure{margin:0}img{width:100%;display:block;border-radius:3px}
figcaption{font-size:.82rem;color:#444;padding:.15rem 0}
table{border-collapse:collapse;margin:.4rem 0}
td,th{padding:.2rem .9rem .2rem 0;text-align:left;border-bottom:1px solid #eee}
p.note{color:#444;max-width:60rem}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document."""
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def heading(text: str, note: str = "") -> str:
    """A section heading with an optional paragraph."""
    return f"<h2>{escape(text)}</h2>" + (f'<p class="note">{escape(note)}</p>' if note else "")


def gallery(pictures: Sequence[tuple[str, np.ndarray]], width_px: int = 220) -> str:
    """A grid of captioned uint8 RGB pictures."""
    figures = "".join(
        f'<figure><img loading="lazy" alt="{escape(text)}" src="{data_url(image)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for text, image in pictures
    )
    return f'<div class="grid" style="--w:{width_px}px">{figures}</div>'


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """A plain table of text cells."""
    head = "<tr>" + "".join(f"<th>{escape(c)}</th>" for c in header) + "</tr>" if header else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table>{head}{body}</table>"
