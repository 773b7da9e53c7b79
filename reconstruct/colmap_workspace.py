"""A COLMAP workspace of a dense reconstruction: opens in COLMAP's GUI, feeds its fusion, reads back.

    images/            the undistorted views
    sparse/            cameras, poses, seed points with COLMAP's true principal points (GUI, splatting trainers)
    dense/images       -> ../images
    dense/sparse/      the same, principal points half a pixel less
    dense/stereo/      depth_maps/NAME.geometric.bin, normal_maps/..., fusion.cfg, patch-match.cfg
    dense/fused.ply, dense/mesh.ply

COLMAP's fusion works with integer pixel positions although its principal points count from the corner of the first
pixel: with the true ones everything shifts by half a pixel. Its overlap between views comes from shared sparse points
alone: without the seed points it fuses nothing.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.colmap_text import read_colmap_text, write_colmap_text
from ..capture.errors import UserError
from ..capture.files import write_text
from ..capture.image_files import write_png
from .colmap_maps import read_map, write_map
from .stereo_types import DenseStereo, DepthMap

SEED_SHARE = 0.004
MOST_SEEDS = 4000
HALF_PX = 0.5


@dataclass(frozen=True, eq=False)
class DenseView:
    """What a dense workspace holds of one view."""

    camera: PinholeCamera
    depth_mm: np.ndarray
    """(H, W) float32, NaN where fusion is not to use it."""
    normal_cam: np.ndarray
    """(H, W, 3) float32, NaN there."""


def write_workspace(
    folder: str | Path,
    cameras: Mapping[str, PinholeCamera],
    images: Mapping[str, np.ndarray],
    stereo: DenseStereo,
    *,
    seed_points_mm: np.ndarray | None = None,
) -> Path:
    """Write the whole workspace; returns `folder`/dense, where fusion works.

    Args:
        cameras: view name -> undistorted camera, for at least every view of `stereo`.
        images: view name -> (H, W, 3) RGB or (H, W) uint8, written as images/NAME.png.
        seed_points_mm: (N, 3) world points in place of samples of the centre view's depth.
    Raises UserError when the centre view has no depth to take seeds from.
    """
    folder = Path(folder)
    names = list(stereo.maps)
    if missing := [name for name in names if name not in cameras or name not in images]:
        raise ValueError(f"no camera or image for views {missing}")
    files = {name: f"{name}.png" for name in names}
    own = {name: cameras[name] for name in names}
    seeds = _seeds(own[stereo.centre], stereo.centre_map) if seed_points_mm is None else seed_points_mm
    for name in names:
        write_png(folder / "images" / files[name], images[name])
    write_model(folder / "sparse", own, files, seeds)
    dense = folder / "dense"
    write_model(dense / "sparse", {name: _for_fusion(camera) for name, camera in own.items()}, files, seeds)
    _link(dense / "images", folder / "images")
    for name in names:
        write_view_maps(dense, files[name], stereo.maps[name])
    (dense / "stereo/consistency_graphs").mkdir(parents=True, exist_ok=True)
    write_text(dense / "stereo/fusion.cfg", "".join(f"{files[name]}\n" for name in names))
    write_text(
        dense / "stereo/patch-match.cfg",
        "".join(f"{files[name]}\n{', '.join(files[other] for other in names if other != name)}\n" for name in names),
    )
    return dense


def write_view_maps(dense: Path, image_name: str, depth: DepthMap) -> None:
    """Depth and normals of one view, 0 where the pixel was not kept."""
    usable = depth.kept & np.isfinite(depth.normal_cam).all(2)
    name = f"{image_name}.geometric.bin"
    write_map(dense / "stereo/depth_maps" / name, np.where(usable, depth.depth_mm, np.float32(0)))
    write_map(dense / "stereo/normal_maps" / name, np.where(usable[..., None], depth.normal_cam, np.float32(0)))


def read_workspace(dense: str | Path) -> dict[str, DenseView]:
    """Image name -> cameras and maps of a dense workspace, ours or COLMAP's own (text model).

    Raises UserError when files are missing or damaged, or maps and cameras differ in size.
    """
    dense = Path(dense)
    views = {}
    for name, camera in read_colmap_text(dense / "sparse").items():
        depth = read_map(dense / f"stereo/depth_maps/{name}.geometric.bin")
        normal = read_map(dense / f"stereo/normal_maps/{name}.geometric.bin")
        size = (camera.height_px, camera.width_px)
        if depth.shape != size or normal.shape != (*size, 3):
            raise UserError(
                f"{dense}: maps of {name} are {depth.shape[::-1]} px, its camera {size[::-1]}; "
                "write the workspace again"
            )
        there = depth > 0
        views[name] = DenseView(
            replace(camera, cx_px=camera.cx_px + HALF_PX, cy_px=camera.cy_px + HALF_PX),
            np.where(there, depth, np.float32(np.nan)),
            np.where(there[..., None], normal, np.float32(np.nan)),
        )
    return views


def write_model(
    folder: Path, cameras: Mapping[str, PinholeCamera], files: Mapping[str, str], seeds_mm: np.ndarray
) -> None:
    """A COLMAP text model with seed points, each seen by every view that it projects into.

    The points give COLMAP's fusion and its PatchMatch the overlap between views; they are no measurement.
    """
    ids = write_colmap_text(folder, cameras, files)
    seeds_mm = np.asarray(seeds_mm, np.float64).reshape(-1, 3)
    tracks: list[list[str]] = [[] for _ in seeds_mm]
    lines = []
    for name, camera in cameras.items():
        pixels, _ = camera.project(seeds_mm)
        size = np.array([camera.width_px, camera.height_px])
        with np.errstate(invalid="ignore"):
            inside = np.flatnonzero(((pixels > -0.5) & (pixels < size - 0.5)).all(1))
        for index, point in enumerate(inside):
            tracks[point].append(f"{ids[name]} {index}")
        lines.append(" ".join(f"{x + HALF_PX:.3f} {y + HALF_PX:.3f} {point + 1}" for point, (x, y) in
                              zip(inside, pixels[inside], strict=True)))  # fmt: skip
    text = (folder / "images.txt").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(text) if not line.startswith("#"))
    for number, line in enumerate(lines):
        text[first + 2 * number + 1] = line
    write_text(folder / "images.txt", "\n".join(text) + "\n")
    rows = [
        f"{number} {x:.5f} {y:.5f} {z:.5f} 128 128 128 0 {' '.join(track)}\n"
        for number, ((x, y, z), track) in enumerate(zip(seeds_mm, tracks, strict=True), start=1)
        if len(track) > 1
    ]
    header = "# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX; seeds from the depth map\n"
    write_text(folder / "points3D.txt", header + "".join(rows))


def _seeds(camera: PinholeCamera, centre: DepthMap) -> np.ndarray:
    """(N, 3) world points on an even sample of the centre view's kept pixels."""
    rows, columns = np.nonzero(centre.kept)
    if len(rows) < 10:
        raise UserError(
            f"the centre view has {len(rows)} reliable depths; there is nothing to fuse: see the warnings of the stereo"
        )
    wanted = int(np.clip(SEED_SHARE * len(rows), 200, MOST_SEEDS))
    chosen = np.linspace(0, len(rows) - 1, min(wanted, len(rows))).astype(np.int64)
    rows, columns = rows[chosen], columns[chosen]
    depth = centre.depth_mm[rows, columns].astype(np.float64)
    x, y = camera.normalised_grid()
    in_camera = np.stack([x[columns] * depth, y[rows] * depth, depth], axis=1)
    return camera.cam_from_world.inverse().apply(in_camera)


def _for_fusion(camera: PinholeCamera) -> PinholeCamera:
    return replace(camera, cx_px=camera.cx_px - HALF_PX, cy_px=camera.cy_px - HALF_PX)


def _link(link: Path, target: Path) -> None:
    """A relative link, or a copy where the file system has no links."""
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    try:
        link.symlink_to(Path("..") / target.name, target_is_directory=True)
    except OSError:
        shutil.copytree(target, link)
