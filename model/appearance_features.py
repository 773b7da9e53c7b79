"""Appearance features of a face: action-unit intensities from HOG of the aligned face and its landmarks' geometry.

The method of T. Baltrusaitis, M. Mahmoud, P. Robinson, Cross-dataset learning and person-specific normalisation for
automatic action unit detection, FERA 2015 (reference [5] of the paper): a similarity-aligned face, histograms of
oriented gradients (N. Dalal, B. Triggs, CVPR 2005), landmark geometry, one linear regressor per unit. Ours are ridge
regressors and learn on rendered faces, whose units are known.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..capture.errors import UserError

ALIGNED_PX, CELL_PX, BINS = 88, 8, 9
EYE_LINE, MOUTH_LINE = 0.34, 0.76
"""Rows of eyes and mouth in the aligned face, as shares of its side."""
AU_NAMES = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20",
            "AU23", "AU25", "AU26", "AU45")  # fmt: skip
"""The intensities that OpenFace 2 estimates, in its order; 0 (absent) to 5 (strongest)."""
_AU_OF_UNITS: dict[str, dict[str, float]] = {
    "AU01": {"brow_inner_raise": 5}, "AU02": {"brow_outer_raise": 5}, "AU04": {"brow_lower": 5},
    "AU05": {"lid_raise": 5}, "AU06": {"cheek_raise": 5}, "AU07": {"lid_tighten": 5}, "AU09": {"nose_wrinkle": 5},
    "AU10": {"lip_raise": 5}, "AU12": {"lip_corner_pull": 5}, "AU14": {"dimple": 5}, "AU15": {"lip_corner_depress": 5},
    "AU17": {"chin_raise": 5}, "AU20": {"lip_stretch": 5}, "AU23": {"lip_tighten": 5},
    "AU25": {"jaw_open": 8, "lower_lip_depress": 5, "lip_raise": 2, "lip_funnel": 3}, "AU26": {"jaw_open": 5},
    "AU45": {"blink": 5},
}  # fmt: skip
SHIPPED = Path(__file__).parent / "tables" / "appearance.npz"
FORMAT = "mesoface-appearance-1"


def au_of_activations(activations: dict[str, float]) -> np.ndarray:
    """(17,) float32 AU intensities 0..5 of unit activations in [0, 1] (names of face_model.UNIT_NAMES)."""
    return np.array([
        min(5.0, sum(gain * activations.get(unit, 0.0) for unit, gain in _AU_OF_UNITS[name].items()))
        for name in AU_NAMES
    ], np.float32)  # fmt: skip


def alignment(points_px: np.ndarray, side: int) -> np.ndarray:
    """(2, 3) float64 similarity: picture px to an upright square of `side` px, by eyes and mouth of 68 points."""
    right, left, mouth = points_px[36:42].mean(0), points_px[42:48].mean(0), points_px[48:68].mean(0)
    source = np.array([right, left, mouth])
    span = MOUTH_LINE - EYE_LINE
    target = side * np.array([[0.5 - 0.46 * span, EYE_LINE], [0.5 + 0.46 * span, EYE_LINE], [0.5, MOUTH_LINE]])
    a, b = source - source.mean(0), target - target.mean(0)
    # A similarity as multiplication of complex numbers: the least-squares factor.
    p, q = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    factor = (np.conj(p) @ q) / max(float(np.abs(p) @ np.abs(p)), 1e-9)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, target.mean(0) - turn @ source.mean(0)])


def aligned_face(grey: np.ndarray, points_px: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32 of a grey picture (H, W) float32, upright, eyes and mouth in fixed places."""
    import cv2

    matrix = alignment(points_px, side)
    scale = float(np.hypot(*matrix[0, :2]))
    if scale < 0.67:
        sigma = 0.4 / max(scale, 0.02)
        low = np.floor(points_px.min(0) - 0.5 * np.ptp(points_px, axis=0)).astype(int).clip(0)
        high = np.ceil(points_px.max(0) + 0.5 * np.ptp(points_px, axis=0)).astype(int) + 1
        grey = cv2.GaussianBlur(np.ascontiguousarray(grey[low[1] : high[1], low[0] : high[0]]), (0, 0), sigma)
        matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ low])
    return cv2.warpAffine(grey, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def hog(face: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of a square grey face whose side is a multiple of CELL_PX: (n,) float32.

    Cells of CELL_PX, 9 unsigned orientations with linear votes, blocks of 2 x 2 cells, L2-hys.
    """
    cells = len(face) // CELL_PX
    face = np.asarray(face, np.float32)
    dy, dx = np.zeros_like(face), np.zeros_like(face)
    dx[:, 1:-1], dy[1:-1] = face[:, 2:] - face[:, :-2], face[2:] - face[:-2]
    strength = np.sqrt(dx * dx + dy * dy)
    place = (np.arctan2(dy, dx) % np.pi) * (BINS / np.pi) - 0.5
    low = np.floor(place).astype(np.int64)
    share = place - low
    cell = np.arange(len(face)) // CELL_PX
    base = (cell[:, None] * cells + cell[None]) * BINS
    votes = np.bincount((base + low % BINS).ravel(), (strength * (1 - share)).ravel(), cells * cells * BINS)
    votes += np.bincount((base + (low + 1) % BINS).ravel(), (strength * share).ravel(), cells * cells * BINS)
    votes = votes.reshape(cells, cells, BINS)
    blocks = np.concatenate([votes[:-1, :-1], votes[1:, :-1], votes[:-1, 1:], votes[1:, 1:]], -1)
    for limit in (0.2, np.inf):
        blocks = np.minimum(blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-6), limit)
    return blocks.ravel().astype(np.float32)


def geometry(points_px: np.ndarray) -> np.ndarray:
    """(102,) float32: the 51 points of brows, nose, eyes and mouth in the aligned square of side 1."""
    matrix = alignment(points_px, 1)
    return (points_px[17:] @ matrix[:, :2].T + matrix[:, 2]).ravel().astype(np.float32)


def description(grey: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """HOG and geometry of the face with landmarks (68, 2) in a grey picture (H, W) float32 in [0, 1]: (n,) float32."""
    return np.concatenate([hog(aligned_face(grey, points_px, ALIGNED_PX)), 5.0 * geometry(points_px)])


@dataclass(frozen=True, slots=True)
class UnitRegressors:
    """One linear regressor per action unit."""

    weights: np.ndarray
    """(n, 17) float32."""
    mean: np.ndarray
    """(n,) float32 of the training descriptions."""
    offset: np.ndarray
    """(17,) float32."""
    about: str

    def intensities(self, descriptions: np.ndarray) -> np.ndarray:
        """(B, 17) float32 AU intensities in [0, 5] of descriptions (B, n)."""
        return np.clip((descriptions - self.mean) @ self.weights + self.offset, 0, 5).astype(np.float32)


def fit_regressors(descriptions: np.ndarray, intensities: np.ndarray, ridge: float, about: str) -> UnitRegressors:
    """Ridge regression of AU intensities (B, 17) on descriptions (B, n); `ridge` is the weight of the penalty."""
    from scipy.linalg import cho_factor, cho_solve

    mean, offset = descriptions.mean(0), intensities.mean(0)
    x = (descriptions - mean).astype(np.float64)
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += ridge
    weights = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), x.T @ (intensities - offset))
    return UnitRegressors(weights.astype(np.float32), mean.astype(np.float32), offset.astype(np.float32), about)


def save_regressors(regressors: UnitRegressors, path: Path) -> None:
    """Write as .npz, weights as float16."""
    from ..capture.files import atomic_path

    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, format=FORMAT, about=regressors.about, mean=regressors.mean,
                            weights=regressors.weights.astype(np.float16), offset=regressors.offset)  # fmt: skip


def load_regressors(path: Path | None = None) -> UnitRegressors:
    """Regressors from `path`, or the shipped ones. Raises UserError for a missing, damaged or foreign file."""
    file = path or SHIPPED
    wanted = "expected action-unit regressors written by `mesoface train appearance` (.npz)"
    try:
        with np.load(file, allow_pickle=False) as data:
            if str(data.get("format", "")) != FORMAT:
                raise UserError(f"{file}: {wanted}, found another kind of .npz file. Give the right file.")
            return UnitRegressors(data["weights"].astype(np.float32), data["mean"], data["offset"], str(data["about"]))
    except FileNotFoundError as error:
        raise UserError(f"{file}: {wanted}, found no such file. Train them, or reinstall mesoface.") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{file}: {wanted}, but it cannot be read ({error}). Copy or train it again.") from error
