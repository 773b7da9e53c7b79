"""Pictures of a calibration: residuals over the view and over the board, the rig from above and from the front."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..capture.image_files import srgb_from_linear
from ..capture.rig_models import Rig
from ..reconstruct.board_detect import BoardView
from ..reconstruct.light_calibration import LightPositions
from ..reconstruct.mirror_ball import Outline
from ..reconstruct.rig_bundle import RigBundle
from ..reconstruct.rig_files import CalibratedRig
from .pictures import caption, map_with_scale, shrink

INK, FAINT, FOUND, PLANNED, LAMP = (30, 30, 30), (225, 225, 225), (0, 90, 200), (170, 170, 170), (220, 120, 0)
ARROW_PX = 30.0
"""Length of the arrow of a residual at the 95th percentile."""
HUES = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
        (127, 127, 127), (188, 189, 34), (23, 190, 207)]  # fmt: skip


def residual_picture(bundle: RigBundle, camera: str, width_px: int = 560) -> np.ndarray:
    """Where the corners lay in a camera's views, with their residuals as arrows, one colour per placement."""
    model, index = bundle.cameras[camera], bundle.names.index(camera)
    scale = width_px / model.width_px
    picture = np.full((round(model.height_px * scale), width_px, 3), 255, np.uint8)
    cv2.rectangle(picture, (0, 0), (width_px - 1, picture.shape[0] - 1), FAINT, 1)
    chosen = bundle.observations.camera == index
    pixels, residuals = bundle.observations.pixels[chosen] * scale, bundle.residuals_px[chosen]
    poses = bundle.observations.pose[chosen]
    longest = max(float(np.percentile(np.linalg.norm(residuals, axis=1), 95)), 1e-6) if len(residuals) else 1.0
    for pixel, residual, pose in zip(pixels, residuals, poses, strict=True):
        tip = pixel + residual * (ARROW_PX / longest)
        colour = HUES[int(pose) % len(HUES)]
        cv2.line(picture, _point(pixel), _point(tip), colour, 1, cv2.LINE_AA)
        cv2.circle(picture, _point(pixel), 2, colour, -1, cv2.LINE_AA)
    text = f"{camera}: {bundle.rms_px(camera):.4f} px rms, {int(chosen.sum())} corners; long arrows = {longest:.4f} px"
    return caption(picture, text)


def corner_picture(bundle: RigBundle, squares: tuple[int, int], width_px: int = 420) -> np.ndarray:
    """The board seen from the front: rms residual of each corner over all views. A bent board or a misprint shows."""
    across, down = squares[0] - 1, squares[1] - 1
    power = np.full(across * down, np.nan)
    for corner in range(across * down):
        residuals = bundle.residuals_px[bundle.observations.corner == corner]
        if len(residuals):
            power[corner] = float(np.sqrt((residuals**2).sum(axis=1).mean()))
    cell = max(1, width_px // across)
    values = np.kron(power.reshape(down, across), np.ones((cell, cell)))
    return caption(map_with_scale(values, "px rms", diverging=False), "rms residual per corner of the board")


def view_picture(image: np.ndarray, view: BoardView, width_px: int = 360) -> np.ndarray:
    """A frame with the found corners, or what is wrong with it."""
    level = max(float(np.percentile(image, 99.5)), 1e-3)
    picture = srgb_from_linear(shrink(np.asarray(image, np.float32), width_px) / level)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    picture = np.ascontiguousarray(picture)
    scale = width_px / image.shape[1]
    for pixel in view.corners_px:
        cv2.circle(picture, _point(pixel * scale), 3, (0, 220, 90) if view.usable else (230, 40, 40), 1, cv2.LINE_AA)
    return picture


def rig_picture(
    calibrated: CalibratedRig, rig: Rig, lights: Mapping[str, np.ndarray], side: str, width_px: int = 560
) -> np.ndarray:
    """Cameras and flashes from above (side = "top") or from the front ("front"): grey planned, in colour calibrated."""
    axes = (0, 2) if side == "top" else (0, 1)
    planned = {c.name: np.array(c.pose.position_mm) for c in rig.cameras if c.pose is not None}
    planned_lights = {light.name: np.array(light.position_mm) for light in rig.flashes}
    centres = {name: camera.centre_mm for name, camera in calibrated.cameras.items()}
    every = np.array([*planned.values(), *planned_lights.values(), *centres.values(), np.zeros(3)])[:, axes]
    low, high = every.min(axis=0) - 120, every.max(axis=0) + 120
    scale = width_px / (high[0] - low[0])
    picture = np.full((int((high[1] - low[1]) * scale), width_px, 3), 255, np.uint8)

    def place(point: np.ndarray) -> tuple[int, int]:
        across, up = (point[list(axes)] - low) * scale
        # from above the cameras lie at the bottom, as they would on a table before the reader
        return round(float(across)), round(float(up if side == "top" else picture.shape[0] - up))

    face = np.array(rig.subject.target_mm)
    cv2.circle(picture, place(face), max(3, int(90 * scale)), FAINT, 1, cv2.LINE_AA)
    for name, point in planned.items():
        cv2.drawMarker(picture, place(point), PLANNED, cv2.MARKER_SQUARE, 11, 1)
        if name in centres:
            camera = calibrated.cameras[name]
            ahead = centres[name] + 150 * camera.cam_from_world.rotation[2]
            cv2.line(picture, place(centres[name]), place(ahead), FOUND, 1, cv2.LINE_AA)
            cv2.circle(picture, place(centres[name]), 4, FOUND, -1, cv2.LINE_AA)
        _label(picture, name, place(point))
    for name, point in planned_lights.items():
        cv2.drawMarker(picture, place(point), PLANNED, cv2.MARKER_TILTED_CROSS, 9, 1)
        if name in lights:
            cv2.circle(picture, place(lights[name]), 3, LAMP, -1, cv2.LINE_AA)
        _label(picture, name, place(point))
    title = "from above" if side == "top" else "from the front (the subject's left is right)"
    return caption(picture, f"{title}; grey: rig file, blue: cameras, orange: flashes")


def ball_picture(
    image: np.ndarray, outline: Outline, highlights: Sequence[np.ndarray], width_px: int = 260
) -> np.ndarray:
    """The mirror ball with its outline and the places of all highlights in it."""
    reach = 1.25 * outline.radius_px
    left, top = np.maximum(np.floor(outline.middle_px - reach), 0).astype(int)
    right, bottom = np.ceil(outline.middle_px + reach).astype(int)
    part = np.asarray(image[top:bottom, left:right], np.float32)
    scale = width_px / part.shape[1]
    size = (width_px, max(1, round(part.shape[0] * scale)))
    picture = srgb_from_linear(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR))
    picture = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))
    for point in outline.points_px[::2]:
        cv2.circle(picture, _point((point - [left, top] + 0.5) * scale), 1, (0, 220, 90), -1, cv2.LINE_AA)
    for point in highlights:
        cv2.circle(picture, _point((point - [left, top] + 0.5) * scale), 4, (255, 140, 0), 1, cv2.LINE_AA)
    return picture


def highlight_picture(lights: LightPositions, width_px: int = 420) -> np.ndarray:
    """Residuals of all highlights as dots, one colour per flash, with a circle of 0.2 px."""
    names = list(lights.lights)
    length = [float(np.linalg.norm(h.residual_px)) for h in lights.highlights]
    limit = max(0.3, float(np.percentile(length, 98)) if length else 0.3)
    picture = np.full((width_px, width_px, 3), 255, np.uint8)
    middle, scale = width_px / 2, 0.45 * width_px / limit
    cv2.circle(picture, (round(middle), round(middle)), round(0.2 * scale), FAINT, 1, cv2.LINE_AA)
    for h in lights.highlights:
        colour = HUES[names.index(h.light) % len(HUES)] if h.light in names else INK
        cv2.circle(picture, _point(h.residual_px * scale + middle), 3, colour, -1, cv2.LINE_AA)
    return caption(picture, f"edge {width_px / 2 / scale:.2f} px, circle 0.2 px")


def swatches(wanted: np.ndarray, found: np.ndarray, side_px: int = 44) -> np.ndarray:
    """The 24 patches (24, 3) linear sRGB: outside as published, inside as measured."""
    picture = np.zeros((4 * side_px, 6 * side_px, 3), np.uint8)
    quarter = side_px // 4
    for number in range(24):
        row, column = divmod(number, 6)
        top, left = row * side_px, column * side_px
        picture[top : top + side_px - 2, left : left + side_px - 2] = srgb_from_linear(wanted[number])
        inner = np.s_[top + quarter : top + side_px - quarter, left + quarter : left + side_px - quarter]
        picture[inner] = srgb_from_linear(found[number])
    return picture


def _label(picture: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(picture, text, (at[0] + 7, at[1] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)


def _point(pixel: np.ndarray) -> tuple[int, int]:
    limit = 1 << 14
    x, y = (int(np.clip(round(float(value)), -limit, limit)) for value in pixel)
    return x, y
