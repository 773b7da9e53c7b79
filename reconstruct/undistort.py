"""Images as a perfect lens of the same calibration matrix would give them."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.develop import LinearImage


@dataclass(frozen=True, eq=False)
class Undistorted:
    """An undistorted image. `linear` (H, W, 3) float32, 0 where the frame did not reach; `valid` (H, W) bool, where it
    did; `clipped` (H, W) bool; `camera` has no distortion and the same calibration matrix."""

    linear: np.ndarray
    valid: np.ndarray
    clipped: np.ndarray
    camera: PinholeCamera


def undistort(image: LinearImage, camera: PinholeCamera) -> Undistorted:
    """Resample with Lanczos (positions rounded to 1/32 px by OpenCV). A camera without distortion changes nothing.

    Raises ValueError when image and camera differ in size.
    """
    height, width = image.rgb.shape[:2]
    if (camera.width_px, camera.height_px) != (width, height):
        raise ValueError(f"image of {width}x{height} px, but {camera.width_px=} {camera.height_px=}")
    if not camera.has_distortion:
        return Undistorted(image.rgb, np.ones((height, width), bool), image.clipped, camera)
    plain = camera.undistorted()
    across, down = cv2.initUndistortRectifyMap(
        camera.matrix_px, np.array(camera.distortion), np.eye(3), plain.matrix_px, (width, height), cv2.CV_32FC1
    )
    linear = cv2.remap(image.rgb, across, down, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    valid = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    linear[~valid] = 0
    clipped = cv2.remap(image.clipped.astype(np.float32), across, down, cv2.INTER_LINEAR) > 0.01
    return Undistorted(linear, valid, clipped & valid, plain)
