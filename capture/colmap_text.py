"""Write and read cameras as a COLMAP text model: cameras.txt, images.txt, points3D.txt.

Poses are COLMAP's world-to-camera, which is `cam_from_world` in mm. The format is described at
https://colmap.github.io/format.html. Recent COLMAP also knows rigs.txt and frames.txt; a model without them is read
as one rig per camera, which is what a set of separate bodies is.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from .camera_model import PinholeCamera
from .errors import UserError
from .files import write_text
from .rigid import RigidTransform

CAMERAS_HEADER = "# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n"
IMAGES_HEADER = "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of POINTS2D[] as X Y POINT3D_ID\n"
POINTS_HEADER = "# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX\n# Number of points: 0\n"

# Positions of fx, fy, cx, cy, k1, k2, p1, p2 among a COLMAP model's parameters; None stands for zero.
PARAMETER_ORDER: dict[str, tuple[int | None, ...]] = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2, None, None, None, None),
    "PINHOLE": (0, 1, 2, 3, None, None, None, None),
    "SIMPLE_RADIAL": (0, 0, 1, 2, 3, None, None, None),
    "RADIAL": (0, 0, 1, 2, 3, 4, None, None),
    "OPENCV": (0, 1, 2, 3, 4, 5, 6, 7),
}


def write_colmap_text(
    folder: str | Path, cameras: Mapping[str, PinholeCamera], image_names: Mapping[str, str]
) -> dict[str, int]:
    """Write one COLMAP camera and one image per entry of `cameras`, in order, with ids from 1.

    Args:
        folder: created when missing; its cameras.txt, images.txt and points3D.txt are replaced.
        cameras: camera name -> calibrated view of the image as it lies on disk.
        image_names: camera name -> image file name relative to COLMAP's image folder.

    Returns camera name -> id. Raises UserError on an image name with white space, which the format cannot hold, and
    KeyError when a camera has no image name.
    """
    camera_rows, image_rows, ids = [], [], {}
    for number, (name, camera) in enumerate(cameras.items(), start=1):
        image_name = image_names[name]
        if image_name.split() != [image_name]:
            raise UserError(f'image name "{image_name}" of camera "{name}": COLMAP text models allow no white space')
        model, params = camera.colmap_params()
        quaternion = Rotation.from_matrix(camera.cam_from_world.rotation).as_quat(canonical=True, scalar_first=True)
        pose = _numbers([*quaternion, *camera.cam_from_world.translation_mm])
        camera_rows.append(f"{number} {model} {camera.width_px} {camera.height_px} {_numbers(params)}\n")
        image_rows.append(f"{number} {pose} {number} {image_name}\n\n")  # the empty line lists no image points
        ids[name] = number
    folder = Path(folder)
    write_text(folder / "cameras.txt", CAMERAS_HEADER + "".join(camera_rows))
    write_text(folder / "images.txt", IMAGES_HEADER + "".join(image_rows))
    write_text(folder / "points3D.txt", POINTS_HEADER)
    return ids


def read_colmap_text(folder: str | Path) -> dict[str, PinholeCamera]:
    """Read cameras.txt and images.txt: image file name -> calibrated view, in the order of images.txt.

    Raises UserError when a file is missing, a row is malformed, or a camera model has more than OPENCV's parameters.
    """
    folder = Path(folder)
    intrinsics = {}
    for number, line in _lines(folder / "cameras.txt"):
        try:
            camera_id, model, width, height, *params = line.split()
            order = PARAMETER_ORDER.get(model)
            if order is None:
                known = ", ".join(PARAMETER_ORDER)
                raise UserError(f"{folder / 'cameras.txt'}:{number}: camera model {model}; readable: {known}")
            values = [float(value) for value in params]
            intrinsics[camera_id] = (
                int(width), int(height), [0.0 if place is None else values[place] for place in order],
            )  # fmt: skip
        except (ValueError, IndexError) as error:
            raise _malformed(folder / "cameras.txt", number, line, error) from error
    views = {}
    rows = [(number, line) for number, line in _lines(folder / "images.txt", keep_empty=True)]
    for number, line in rows[::2]:
        if not line:
            continue
        try:
            fields = line.split(maxsplit=9)
            pose = np.array([float(value) for value in fields[1:8]])
            width, height, (fx, fy, cx, cy, k1, k2, p1, p2) = intrinsics[fields[8]]
            rotation = Rotation.from_quat(pose[:4], scalar_first=True).as_matrix()
            cam_from_world = RigidTransform(rotation, pose[4:])
            name = fields[9]
            views[name] = PinholeCamera(width, height, fx, fy, cx - 0.5, cy - 0.5, cam_from_world, (k1, k2, p1, p2))
        except (ValueError, IndexError, KeyError) as error:
            raise _malformed(folder / "images.txt", number, line, error) from error
    return views


def _numbers(values: object) -> str:
    # repr keeps every bit of a double; COLMAP reads with the same precision.
    return " ".join(repr(float(value)) for value in np.asarray(values))


def _lines(path: Path, *, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the COLMAP model file {path}: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("#") and (keep_empty or line.strip()):
            yield number, line.strip()


def _malformed(path: Path, number: int, line: str, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"{path}:{number}: not a row of a COLMAP text model: {line[:80]!r} ({error})")
