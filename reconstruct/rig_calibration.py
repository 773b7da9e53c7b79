"""From board takes to the calibrated rig: detect, calibrate each camera, refine the corners, adjust all together.

made = calibrate_rig([take])
made.rig.cameras["centre"]          # PinholeCamera with distortion, world frame of the rig file
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.plan import Shot
from ..capture.rig_models import Rig
from ..capture.rigid import Array
from ..capture.target_patterns import board_corners_mm
from .board_detect import BoardView, detect_board, mark_blurred
from .board_triangulation import ShapeError, shape_error
from .calibration_take import CalibrationTake, SizeCheck
from .camera_calibration import CameraCalibration, calibrate_camera, nominal_camera
from .corner_refine import refine_corners
from .rig_alignment import Alignment, align_to_nominal
from .rig_bundle import RigBundle, adjust_rig, compose, observations_of
from .rig_files import CalibratedRig

REFINEMENTS = 2
HOLD_OUT_EVERY = 4
FEWEST_FOR_HOLD_OUT = 9
POSES_PER_TAKE = 1000

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@dataclass(frozen=True, eq=False)
class RigCalibration:
    """The calibrated rig, and everything a report tells about how it came about."""

    rig: CalibratedRig
    views: tuple[BoardView, ...]
    """As detected, problems included."""
    singles: dict[str, CameraCalibration]
    bundle: RigBundle
    alignment: Alignment
    held_out: ShapeError | None
    corners_mm: Array


def calibrate_rig(
    takes: Sequence[CalibrationTake],
    progress: Progress = lambda what, done, total: None,
    tangential: bool = False,
    model_folder: Path | None = None,
    refinements: int = REFINEMENTS,
) -> RigCalibration:
    """Calibrate all cameras of the rig from one or more board takes of the same rig.

    Args:
        tangential: let the single-camera step fit p1 and p2; the joint adjustment always does.
        model_folder: where COLMAP's model of board and cameras goes (frame of the board).
        refinements: how often corners are placed anew by comparison with a drawing of the board.

    Raises UserError naming the view for: no usable board in the centre view, images of different sizes, exchanged
    views, a board that is not the rig file's. A side view without a usable board is left out with a warning.
    """
    rig = takes[0].rig
    shots = [(take, shot, 0 if shot.pose is None else shot.pose + POSES_PER_TAKE * number)
             for number, take in enumerate(takes) for shot in take.shots]  # fmt: skip
    sizes = SizeCheck(rig)
    total = len(shots) * (1 + refinements)
    views = _detect(rig, shots, sizes, lambda done: progress("looking for the board", done, total))
    singles, warnings = _singles(rig, views, sizes, tangential)
    corners = board_corners_mm(rig.targets)
    bundle = adjust_rig(singles, rig.centre.name, corners, model_folder=None if refinements else model_folder)
    files = {(shot.camera, pose): (take, shot) for take, shot, pose in shots}
    for turn in range(refinements):
        done = len(shots) * (1 + turn)
        refined = _refine(rig, singles, bundle, files, lambda k, done=done: progress("corners", done + k, total))
        singles = {
            name: calibrate_camera(name, refined[name], _nominal(rig, name, sizes), rig.targets, True)
            for name in singles
        }
        last = turn == refinements - 1
        bundle = adjust_rig(singles, rig.centre.name, corners, model_folder=model_folder if last else None)
    nominal = {name: _nominal(rig, name, sizes) for name in bundle.names if rig.camera(name).pose is not None}
    alignment = align_to_nominal(bundle.cameras, nominal, rig.centre.name, rig.targets.board_square_mm)
    held_out = _hold_out(singles, rig.centre.name, corners)
    calibrated = _calibrated(rig, singles, bundle, alignment, held_out, (*warnings, *alignment.warnings))
    progress("complete", total, total)
    return RigCalibration(calibrated, tuple(views), singles, bundle, alignment, held_out, corners)


def _nominal(rig: Rig, name: str, sizes: SizeCheck) -> PinholeCamera:
    return nominal_camera(rig.camera(name), sizes.sizes[name])


def _detect(
    rig: Rig,
    shots: Sequence[tuple[CalibrationTake, Shot, int]],
    sizes: SizeCheck,
    done: Callable[[int], None],
) -> list[BoardView]:
    def one(entry: tuple[CalibrationTake, Shot, int]) -> tuple[Shot, tuple[int, ...], BoardView]:
        take, shot, pose = entry
        image = take.linear(shot)
        return shot, image.shape, detect_board(image[..., 1], rig.targets, shot.camera, pose)

    views: list[BoardView] = []
    with _one_thread_each(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for count, (shot, shape, view) in enumerate(pool.map(one, shots), start=1):
            sizes.check(shot, np.empty((*shape[:2], 0), np.uint8))
            views.append(view)
            done(count)
    by_camera = [mark_blurred([view for view in views if view.camera == camera.name]) for camera in rig.cameras]
    return [view for of_camera in by_camera for view in of_camera]


def _singles(
    rig: Rig, views: Sequence[BoardView], sizes: SizeCheck, tangential: bool
) -> tuple[dict[str, CameraCalibration], list[str]]:
    """Every camera by itself; side views that fail are left out, with a warning."""
    if not any(view.usable for view in views):
        example = views[0].problem if views else "no images"
        raise UserError(
            f"the board is usable in none of {len(views)} images ({example}); expected the ChArUco board of [targets] "
            f"in the rig file ({rig.targets.board_squares[0]} x {rig.targets.board_squares[1]} squares, "
            f"{rig.targets.board_dictionary}), sharp and lit"
        )
    singles, warnings = {}, []
    for camera in rig.cameras:
        of_camera = [view for view in views if view.camera == camera.name]
        try:
            if not of_camera:
                raise UserError(f"view {camera.name}: the take holds no image of it; shoot the missing steps")
            singles[camera.name] = calibrate_camera(
                camera.name, of_camera, _nominal(rig, camera.name, sizes), rig.targets, tangential
            )
        except UserError as error:
            if camera.name == rig.centre.name or "miss the board" in str(error):
                raise
            warnings.append(f"{error}; the rig is calibrated without it")
    if len(singles) < 2:
        raise UserError("one usable view only; a rig needs two:\n" + "\n".join(warnings))
    return singles, warnings


def _refine(
    rig: Rig,
    singles: dict[str, CameraCalibration],
    bundle: RigBundle,
    files: dict[tuple[str, int], tuple[CalibrationTake, Shot]],
    done: Callable[[int], None],
) -> dict[str, list[BoardView]]:
    entries = [(name, view) for name, single in singles.items() for view in single.views.values()]

    def one(entry: tuple[str, BoardView]) -> BoardView:
        name, view = entry
        take, shot = files[name, view.pose]
        camera = bundle.cameras[name]
        pose = compose(camera.cam_from_world, bundle.reference_from_board[view.pose])
        return refine_corners(take.linear(shot)[..., 1], view, camera, pose, rig.targets)

    refined: dict[str, list[BoardView]] = {name: [] for name in singles}
    with _one_thread_each(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for count, view in enumerate(pool.map(one, entries), start=1):
            refined[view.camera].append(view)
            done(count)
    return refined


class _one_thread_each:
    """OpenCV with one thread per call: the images are worked on side by side."""

    def __enter__(self) -> None:
        self._before = cv2.getNumThreads()
        cv2.setNumThreads(1)

    def __exit__(self, *exc: object) -> None:
        cv2.setNumThreads(self._before)


def _hold_out(singles: dict[str, CameraCalibration], reference: str, corners: Array) -> ShapeError | None:
    """Adjust without every fourth placement, and triangulate those."""
    poses = sorted({pose for single in singles.values() for pose in single.views})
    if len(poses) < FEWEST_FOR_HOLD_OUT:
        return None
    held = poses[1::HOLD_OUT_EVERY]
    trained = adjust_rig(singles, reference, corners, without=held)

    return shape_error(trained.cameras, trained.names, observations_of(singles, trained.names), corners, held)


def _calibrated(
    rig: Rig,
    singles: dict[str, CameraCalibration],
    bundle: RigBundle,
    alignment: Alignment,
    held_out: ShapeError | None,
    warnings: tuple[str, ...],
) -> CalibratedRig:
    order = [camera.name for camera in rig.cameras if camera.name in bundle.names]
    figures = {
        "corners": len(bundle.observations.camera),
        "outliers": bundle.outliers,
        "placements": len(bundle.reference_from_board),
        "rms_px": bundle.rms_px(),
        "scale_against_rig_file": alignment.scale_ratio,
        "offset_from_rig_file_mm": alignment.offset_mm,
        "turn_from_rig_file_deg": alignment.turn_deg,
    }
    if held_out is not None:
        figures["held_out"] = vars(held_out)
    return CalibratedRig(
        rig_name=rig.name,
        centre=rig.centre.name,
        cameras={name: alignment.cameras[name] for name in order},
        serials={name: rig.camera(name).serial for name in order},
        baseline_px={name: bundle.rms_px(name) for name in order},
        figures=figures,
        warnings=warnings,
    )
