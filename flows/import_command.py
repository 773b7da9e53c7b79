"""`mesoface import`: scans that were taken without our capture stage."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..reconstruct.scan_import import import_scan

console = Console()


def import_folder(
    folder: Path,
    *,
    out: Path,
    model: Path | None = None,
    lights: Path | None = None,
    centre: str | None = None,
    mm_per_unit: float = 1.0,
) -> int:
    """Bring in a plain folder of images with a COLMAP text model and lights.json, for `mesoface geometry` and later.

    Example: mesoface import theirs --out imported/theirs --mm-per-unit 1000

    Parameters
    ----------
    folder
        Images, in it or in its images/. frames.csv (file, camera, kind, lights) tells what they are, or names such as
        00_uniform_left, 05_flash1_parallel, 06_flash1_cross; else every image of the model is a uniform view.
    out
        New folder for the scan.
    model
        Folder of cameras.txt and images.txt; default: sparse/ or colmap/ in the folder.
    lights
        lights.json as `mesoface studio render` writes it; default: the one in the folder, if any.
    centre
        Name of the centre camera; default: the one that took the pairs.
    mm_per_unit
        Millimetres per unit of the model.
    """
    scan = import_scan(folder, out, model=model, lights=lights, centre=centre, mm_per_unit=mm_per_unit)
    pairs = len({frame.light for frame in scan.frames if frame.light})
    console.print(
        f"imported {len(scan.uniform)} views ({', '.join(scan.uniform)}; centre {scan.centre}) and {pairs} pairs to "
        f"{escape(str(out))}",
        soft_wrap=True,
    )
    console.print(f"next: mesoface geometry {escape(str(out))}", soft_wrap=True)
    return 0
