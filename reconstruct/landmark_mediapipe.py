"""MediaPipe's Face Landmarker (478 points, the user's `.task` file) as a detector of the 68.

MediaPipe's points are fixed places of a face mesh, not the outline as seen: its jaw points stay on the jaw when the
head turns. The table below was chosen on the positions of MediaPipe's canonical face model relative to an average iBUG
annotation; two numbers mean the middle between two points. The left half is the mirror image of the right one.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from .landmark_models import as_uint8, import_extra, model_file
from .landmarks import COUNT, Landmarks, landmarks_from_points

FILE_NAME = "face_landmarker.task"
WHERE = "the models section of Google's MediaPipe page on the Face Landmarker"
POINTS = (468, 478)
"""Without and with the irises."""

_RIGHT: tuple[tuple[int, ...], ...] = (
    (127,), (234,), (93, 132), (132, 58), (172,), (136, 150), (149,), (176, 148),  # jaw 0-7
    (70,), (63,), (105,), (66,), (107,),  # brow 17-21
    (98,), (97,),  # nostril 31, 32
    (33,), (160,), (158,), (133,), (153,), (144,),  # eye 36-41
    (61,), (39, 40), (37,),  # mouth 48-50
    (84, 181), (91, 181),  # lower lip 58, 59
    (78,), (81,), (178,),  # inner mouth 60, 61, 67
)  # fmt: skip
_LEFT: tuple[tuple[int, ...], ...] = (
    (356,), (454,), (323, 361), (361, 288), (397,), (365, 379), (378,), (400, 377),
    (300,), (293,), (334,), (296,), (336,),
    (327,), (326,),
    (263,), (387,), (385,), (362,), (380,), (373,),
    (291,), (269, 270), (267,),
    (314, 405), (321, 405),
    (308,), (311,), (402,),
)  # fmt: skip
_RIGHT_NUMBERS = (*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67)
_LEFT_NUMBERS = (*range(16, 8, -1), *range(26, 21, -1), 35, 34, 45, 44, 43, 42, 47, 46, 54, 53, 52, 56, 55, 64, 63, 65)
_MIDDLE = {
    8: (152,),
    27: (6, 168),
    28: (197,),
    29: (195, 5),
    30: (4,),
    33: (2,),
    51: (0,),
    57: (17,),
    62: (13,),
    66: (14,),
}


def mediapipe_table() -> dict[int, tuple[int, ...]]:
    """MediaPipe points of each of the 68 landmarks (0-based)."""
    table = dict(zip(_RIGHT_NUMBERS, _RIGHT, strict=True)) | dict(zip(_LEFT_NUMBERS, _LEFT, strict=True)) | _MIDDLE
    return dict(sorted(table.items()))


def landmarks_from_mediapipe(points: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """(68, 2) float64 px from MediaPipe's normalised points (468 or 478, 2 or 3), which count from the image's edge."""
    points = np.asarray(points, np.float64)
    if len(points) not in POINTS:
        raise ValueError(f"{len(points)} MediaPipe points, expected {POINTS[0]} or {POINTS[1]}")
    scaled = points[:, :2] * (width_px, height_px) - 0.5
    table = mediapipe_table()
    return np.stack([scaled[list(table[number])].mean(0) for number in range(COUNT)])


class MediapipeDetector:
    """Needs the extra `mesoface[mediapipe]` and the `.task` file; loaded on first use."""

    name = "mediapipe"

    def __init__(self, path: str | Path | None = None, faces: int = 8) -> None:
        """`path`: the `.task` file; None looks in the data folder. Raises UserError when it is not there."""
        self.path = model_file(path, FILE_NAME, WHERE)
        self.faces = faces
        self._task: Any = None

    def detect(self, image_srgb: np.ndarray) -> list[Landmarks]:
        """See `LandmarkDetector`. Raises UserError when MediaPipe is missing or cannot read the file."""
        library = import_extra("mediapipe", "mediapipe")
        if self._task is None:
            vision = library.tasks.vision
            try:
                self._task = vision.FaceLandmarker.create_from_options(
                    vision.FaceLandmarkerOptions(
                        base_options=library.tasks.BaseOptions(model_asset_path=str(self.path)), num_faces=self.faces
                    )
                )
            except (RuntimeError, ValueError, OSError) as error:
                raise UserError(
                    f"{self.path}: MediaPipe cannot load it ({error}); get {FILE_NAME} from {WHERE}"
                ) from None
        pixels = as_uint8(image_srgb)
        found = self._task.detect(library.Image(image_format=library.ImageFormat.SRGB, data=pixels))
        height, width = pixels.shape[:2]
        faces = [
            landmarks_from_points(
                landmarks_from_mediapipe(np.array([(point.x, point.y) for point in face]), width, height), self.name
            )
            for face in found.face_landmarks
        ]
        return sorted(faces, key=lambda face: -face.size_px)
