"""dlib's 68-point shape predictor (the user's `.dat` file) as a detector."""

from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from .landmark_models import as_uint8, import_extra, model_file
from .landmarks import COUNT, Landmarks, landmarks_from_points

FILE_NAME = "shape_predictor_68_face_landmarks.dat"
WHERE = "dlib's own site (files, unpack the .bz2; its training data, 300-W, excludes commercial use)"
UPSAMPLE = 1
"""Doublings before the search: faces of 40 px and more are found."""


class DlibDetector:
    """Needs the extra `mesoface[dlib]` and the `.dat` file; loaded on first use. Its points are whole pixels."""

    name = "dlib"

    def __init__(self, path: str | Path | None = None) -> None:
        """`path`: the `.dat` file; None looks in the data folder. Raises UserError when it is not there."""
        self.path = model_file(path, FILE_NAME, WHERE)
        self._parts: tuple[Any, Any] | None = None

    def detect(self, image_srgb: np.ndarray) -> list[Landmarks]:
        """See `LandmarkDetector`. Raises UserError when dlib is missing or the file is not a 68-point predictor."""
        library = import_extra("dlib", "dlib")
        if self._parts is None:
            try:
                self._parts = library.get_frontal_face_detector(), library.shape_predictor(str(self.path))
            except RuntimeError as error:
                raise UserError(f"{self.path}: dlib cannot load it ({error}); get {FILE_NAME} from {WHERE}") from None
        detector, predictor = self._parts
        pixels = as_uint8(image_srgb)
        boxes = sorted(detector(pixels, UPSAMPLE), key=lambda box: -box.width() * box.height())
        return [self._face(predictor(pixels, box)) for box in boxes]

    def _face(self, shape: Any) -> Landmarks:
        points = np.array([(point.x, point.y) for point in shape.parts()], np.float64)
        if len(points) != COUNT:
            raise UserError(
                f"{self.path}: expected a predictor of {COUNT} points, found {len(points)}; get {FILE_NAME}"
            )
        return landmarks_from_points(points, self.name)
