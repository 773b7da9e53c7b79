"""OpenFace 2: reading its CSV output, and running it where it is installed.

OpenFace is T. Baltrusaitis's toolkit (reference [5] of the paper); its licence is for research only, so it is neither
shipped nor needed. Where `FaceLandmarkImg` is on PATH, its action units can replace the built-in ones.
"""

import csv
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..capture.errors import UserError
from .appearance_features import AU_NAMES

PROGRAM = "FaceLandmarkImg"


@dataclass(frozen=True, slots=True)
class OpenFaceRow:
    """One face of OpenFace's output."""

    frame: int
    """Frame of a video, counted from 1; 0 for a picture."""
    confidence: float
    intensities: np.ndarray
    """(17,) float32 in [0, 5], order of AU_NAMES."""
    points_px: np.ndarray
    """(68, 2) float64; NaN where the file has no landmarks. OpenFace's pixel convention is kept."""


def read_openface(path: Path) -> list[OpenFaceRow]:
    """Rows of a CSV written by FeatureExtraction or FaceLandmarkImg; failed frames (`success` 0) are left out.

    Raises UserError for a missing file, another kind of CSV, and rows that are no numbers.
    """
    wanted = "expected the CSV output of OpenFace 2 with action-unit intensities (columns AU01_r ... AU45_r)"
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            lines = [[cell.strip() for cell in line] for line in csv.reader(handle) if any(c.strip() for c in line)]
    except FileNotFoundError:
        raise UserError(f"{path}: {wanted}, found no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {wanted}, but it cannot be read as text ({error}).") from None
    header = lines[0] if lines else []
    place = {name: k for k, name in enumerate(header)}
    missing = [f"{name}_r" for name in AU_NAMES if f"{name}_r" not in place]
    if missing:
        raise UserError(
            f"{path}: {wanted}, found no column {missing[0]}"
            f"{f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''}. Run OpenFace with -aus."
        )
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            values = {name: float(line[k]) for name, k in place.items()}
        except (ValueError, IndexError):
            raise UserError(f"{path}, line {number}: expected {len(header)} numbers, found {line[:4]} ...") from None
        if values.get("success", 1.0) < 0.5:
            continue
        points = np.array([[values.get(f"{axis}_{k}", np.nan) for axis in "xy"] for k in range(68)])
        rows.append(OpenFaceRow(
            int(values.get("frame", 0)), values.get("confidence", float("nan")),
            np.array([values[f"{name}_r"] for name in AU_NAMES], np.float32), points,
        ))  # fmt: skip
    return rows


def run_openface(image: Path, timeout_s: float = 120.0) -> list[OpenFaceRow]:
    """Run OpenFace on one picture, largest face first. Raises UserError where it is not on PATH, fails or hangs."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise UserError(
            f"{PROGRAM}: not found on PATH. Install OpenFace 2 (github.com/TadasBaltrusaitis/OpenFace) and add its "
            "folder to PATH, or take mesoface's own action units."
        )
    with TemporaryDirectory(prefix="mesoface-openface-") as folder:
        command = [program, "-f", str(image), "-out_dir", folder, "-2Dfp", "-aus"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise UserError(f"{image}: {PROGRAM} did not finish within {timeout_s:.0f} s") from None
        written = sorted(Path(folder).glob("*.csv"))
        if done.returncode != 0 or not written:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
            raise UserError(f"{image}: {PROGRAM} wrote no result (exit code {done.returncode}; it said: {said[0]})")
        rows = read_openface(written[0])
    return sorted(rows, key=lambda row: -float(np.nan_to_num(np.ptp(row.points_px, axis=0)).max()))
