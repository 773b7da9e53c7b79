"""Draw the ChArUco board of a rig in true millimetres, for printing: SVG, PDF or PNG."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .errors import UserError
from .files import write_bytes
from .rig_models import Targets
from .target_patterns import board_pattern

# Landscape, mm.
PAGES = {"A4": (297.0, 210.0), "A3": (420.0, 297.0), "A2": (594.0, 420.0), "A1": (841.0, 594.0), "A0": (1189.0, 841.0)}
MARGIN_MM = 12.0
RULER_MM = 100.0
PNG_DPI = 600
POINTS_PER_MM = 72 / 25.4

Rectangle = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height; mm from the page's upper left corner."""


def write_board(path: str | Path, targets: Targets) -> tuple[float, float]:
    """Write the board as .svg, .pdf or .png (600 dpi); returns the page's width and height in mm.

    Beneath the board stands a line of 100 mm, to see at a glance whether the printer has scaled the page.
    Raises UserError for another suffix.
    """
    path = Path(path)
    writers = {".svg": _svg, ".pdf": _pdf, ".png": _png}
    if path.suffix.lower() not in writers:
        raise UserError(f"{path}: a board is written as {', '.join(writers)}; give the file one of these suffixes")
    page = page_mm(targets)
    write_bytes(path, writers[path.suffix.lower()](page, [*_board(page, targets), *_ruler(page)], _caption(targets)))
    return page


def page_mm(targets: Targets) -> tuple[float, float]:
    """The smallest of A4 to A0 that holds the board with its margin, else a page made to measure."""
    width, height = (side + 2 * MARGIN_MM for side in board_pattern(targets).size_mm)
    return next((page for page in PAGES.values() if width <= page[0] and height <= page[1]), (width, height))


def _caption(targets: Targets) -> str:
    across, down = targets.board_squares
    return (
        f"ChArUco {across} x {down}, square {targets.board_square_mm:g} mm, marker {targets.board_marker_mm:g} mm, "
        f"{targets.board_dictionary}. Print at 100 %: the line is {RULER_MM:g} mm."
    )


def _board(page: tuple[float, float], targets: Targets) -> Iterator[Rectangle]:
    """The black cells, runs of a row joined, so that no hairline shows between neighbours."""
    pattern = board_pattern(targets)
    x, y = pattern.x_edges_mm + page[0] / 2, pattern.y_edges_mm + page[1] / 2
    for row, cells in enumerate(pattern.cells):
        dark = np.concatenate([[0], cells == 0, [0]]).astype(int)
        starts, ends = np.flatnonzero(np.diff(dark) > 0), np.flatnonzero(np.diff(dark) < 0)
        for start, end in zip(starts, ends, strict=True):
            yield float(x[start]), float(y[row]), float(x[end] - x[start]), float(y[row + 1] - y[row])


def _ruler(page: tuple[float, float]) -> Iterator[Rectangle]:
    left, top = (page[0] - RULER_MM) / 2, page[1] - MARGIN_MM / 2
    yield left, top - 0.15, RULER_MM, 0.3
    for x in (left, left + RULER_MM - 0.3):
        yield x, top - 1.5, 0.3, 3.0


def _svg(page: tuple[float, float], rectangles: list[Rectangle], caption: str) -> bytes:
    path = "".join(f"M{x:.4f} {y:.4f}h{w:.4f}v{h:.4f}h{-w:.4f}z" for x, y, w, h in rectangles)
    width, height = page
    text_y = height - MARGIN_MM / 2 - 2.5
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}">\n'
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>\n'
        f'<path d="{path}" shape-rendering="crispEdges"/>\n'
        f'<text x="{width / 2:g}" y="{text_y:g}" font-family="sans-serif" font-size="3" text-anchor="middle">'
        f"{caption}</text>\n</svg>\n"
    ).encode()


def _pdf(page: tuple[float, float], rectangles: list[Rectangle], caption: str) -> bytes:
    """One page; PDF counts points upwards from the lower left corner."""
    width, height = (side * POINTS_PER_MM for side in page)
    drawn = "".join(
        "{:.4f} {:.4f} {:.4f} {:.4f} re\n".format(
            *(value * POINTS_PER_MM for value in (x, page[1] - y - h, w, h)),
        )
        for x, y, w, h in rectangles
    )
    text = f"BT /F1 8 Tf {MARGIN_MM * POINTS_PER_MM:.2f} {2 * POINTS_PER_MM:.2f} Td ({caption}) Tj ET\n"
    content = zlib.compress((drawn + "f\n" + text).encode())
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.4f} {height:.4f}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode(),
        f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(file))
        file += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def _png(page: tuple[float, float], rectangles: list[Rectangle], caption: str) -> bytes:
    """Grey 8 bit with its resolution inside; edges are rounded to whole pixels of 0.04 mm."""
    per_mm = PNG_DPI / 25.4
    width, height = (round(side * per_mm) for side in page)
    image = np.full((height, width), 255, np.uint8)
    for x, y, w, h in rectangles:
        image[round(y * per_mm) : round((y + h) * per_mm), round(x * per_mm) : round((x + w) * per_mm)] = 0
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image], axis=1)  # each row begins with its filter: none
    per_metre = round(1000 * per_mm)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
        (b"tEXt", b"Description\0" + caption.encode("latin-1")),
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
