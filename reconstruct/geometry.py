"""From the uniform views of a scan to the depth prior of the centre view: the whole geometry stage.

1 develop and undistort               uniform_views.py
2 match features                      colmap_features.py      (drift check, seed points; poses without calibration)
3 dense depth of every view           dense_stereo.py
4 write a COLMAP workspace, fuse it   colmap_workspace.py, colmap_fusion.py
5 depth prior z0 and its confidence   depth_prior.py
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .colmap_features import FEWEST_MATCHES, FeatureMatches, FeatureView, display_image, match_features
from .colmap_features import triangulate_features as triangulate
from .colmap_fusion import Fused, fuse_workspace, mesh_cloud, read_mesh
from .colmap_patch_match import patch_match
from .colmap_sfm import solve_cameras
from .colmap_workspace import write_view_maps, write_workspace
from .dense_stereo import dense_depth
from .depth_prior import depth_prior, face_mask
from .mesh_raster import depth_from_mesh
from .rig_drift import Drift, check_drift
from .rig_files import CalibratedRig
from .scan_source import ScanSource
from .stereo_mask import grey_image, skin_mask
from .stereo_types import DenseStereo, DepthPrior, Progress, StereoOptions, StereoView
from .uniform_views import FEWEST_VIEWS, UniformViews, load_uniform_views

FEWEST_SEEDS = 200
"""Below this many triangulated points, seeds for fusion are taken from the depth map instead."""


@dataclass(frozen=True)
class GeometryOptions:
    """Choices of the geometry stage."""

    cameras: Literal["auto", "described", "sfm"] = "auto"
    """Where cameras come from without a calibration; see uniform_views.py."""
    refine: bool = False
    """Move the cameras so that this scan's own matches agree, lenses kept as calibrated."""
    features: bool = True
    """Match features: the drift check needs them."""
    prior: Literal["map", "mesh"] = "map"
    """z0 from the views' merged depth, or from the fused and meshed surface."""
    backend: Literal["sweep", "colmap-cuda"] = "sweep"
    proxy: Path | None = None
    """A mesh in world mm near the true surface (a fitted face model): guides the search on skin without texture."""
    stereo: StereoOptions = field(default_factory=StereoOptions)
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Geometry:
    """Everything the stage found. `figures` are numbers for the report; warnings name views."""

    views: UniformViews
    stereo: DenseStereo
    prior: DepthPrior
    cloud: Fused
    mesh: Fused
    matches: FeatureMatches | None
    drift: Drift | None
    figures: dict[str, float]
    warnings: tuple[str, ...]


def compute_geometry(
    source: ScanSource,
    out: str | Path,
    calibration: Path | None = None,
    options: GeometryOptions | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Geometry:
    """Run the stage; the COLMAP workspace is left in `out` (images/, sparse/, dense/).

    Raises UserError that names the view or file when a result cannot be had.
    """
    options, out = options or GeometryOptions(), Path(out)
    clock = _Clock(progress)
    views = load_uniform_views(source, calibration, cameras=options.cameras, progress=clock.step("developing"))
    warnings = list(views.warnings)
    views, matches, drift, seeds = _cameras(views, source, out / "features", options, clock, warnings)
    planned = len(source.uniform) + sum("uniform" in stem for stem in source.missing)
    if len(views.views) < planned:
        warnings.append(f"depth from {len(views.views)} of {planned} views: less complete than with all of them")
    stereo = dense_depth(
        _stereo_views(views), views.centre, source.volume, proxy_mm=_proxies(views, options.proxy),
        options=options.stereo, progress=clock.step("dense depth"),
    )  # fmt: skip
    clock.step("workspace")("writing", 0, 1)
    pictures = {name: display_image(view.linear, view.mask) for name, view in views.views.items()}
    cameras = {name: view.camera for name, view in views.views.items()}
    dense = write_workspace(out, cameras, pictures, stereo, seed_points_mm=seeds)
    if options.backend == "colmap-cuda":
        stereo = _by_patch_match(stereo, dense, source)
    clock.step("fusion")("fusing", 0, 1)
    cloud = fuse_workspace(dense)
    clock.step("mesh")("meshing", 0, 1)
    mesh = mesh_cloud(dense)
    clock.step("depth prior")("smoothing", 0, 1)
    centre = views.views[views.centre]
    face = face_mask(stereo, skin_mask(centre.linear, centre.mask), source.volume)
    prior = depth_prior(stereo, face, mesh=read_mesh(mesh.path) if options.prior == "mesh" else None)
    clock.step("")
    shutil.rmtree(out / "features", ignore_errors=True)
    warnings += [text for text in prior.warnings if text not in warnings]
    figures = {
        **{f"seconds {name}": round(seconds, 2) for name, seconds in clock.seconds.items()},
        "views": len(views.views),
        "pixel_mm": stereo.pixel_mm,
        "texture_snr": stereo.texture_snr,
        "cloud_points": cloud.count,
        "mesh_vertices": mesh.count,
        "face_pixels": int(face.sum()),
        "confidence_median": float(np.median(prior.confidence[face])),
        "bridged_share": float((prior.confidence[face] < 0.3).mean()),
    }
    return Geometry(views, stereo, prior, cloud, mesh, matches, drift, figures, tuple(warnings))


def _cameras(
    views: UniformViews,
    source: ScanSource,
    folder: Path,
    options: GeometryOptions,
    clock: "_Clock",
    warnings: list[str],
) -> tuple[UniformViews, FeatureMatches | None, Drift | None, np.ndarray | None]:
    """Matches, the drift check, and what follows from them: new poses where asked for, seed points."""
    if not options.features:
        if views.cameras_from == "sfm" or options.refine:
            raise UserError("finding or refining cameras needs features; leave features on")
        return views, None, None, None
    clock.step("features")("matching features", 0, 1)
    given = {name: FeatureView(view.camera, view.linear, view.mask) for name, view in views.views.items()}
    matches = match_features(given, folder, threads=options.stereo.threads, seed=options.seed)
    cameras = {name: view.camera for name, view in views.views.items()}
    if views.cameras_from == "sfm":
        clock.step("cameras")("structure from motion", 0, 1)
        solved = solve_cameras(folder, matches, cameras, threads=options.stereo.threads)
        cameras = solved.cameras
        warnings.append(
            "no calibration given: cameras were found from this scan's own features "
            f"({solved.points} points, {solved.error_px:.2f} px); the scale is the rig file's, only as good as its "
            "positions. Calibrate the rig for metric depth"
        )
    try:
        drift = check_drift(_rig(views, cameras), matches.tracks())
    except UserError as error:  # skin without texture, for example; stereo may still do, with a proxy
        if options.refine:
            raise
        warnings.append(f"the rig's drift could not be checked: {error}")
        return views.placed(cameras), matches, None, None
    if drift.exchanged:
        a, b = drift.exchanged
        raise UserError(
            f"views {a} and {b} have each other's pictures; correct the serial numbers or names of these two bodies in "
            "the rig file, and run again"
        )
    if options.refine:
        if drift.refined is None:
            raise UserError(f"poses cannot be refined: {'; '.join(drift.warnings)}")
        cameras = drift.refined.cameras
        warnings.append(
            f"poses refined on this scan: matches missed by {drift.refined.before_px:.2f} px, "
            f"now {drift.refined.after_px:.2f} px"
        )
    elif not drift.drifted or matches.matches_of(drift.moved) < FEWEST_MATCHES:
        warnings += drift.warnings  # too little evidence to leave a view out
    elif drift.moved == views.centre:
        raise UserError(f"{'; '.join(drift.warnings)}. Depth in a moved centre view is wrong; try --refine")
    else:
        warnings += [*drift.warnings, f"view {drift.moved}: left out of stereo, because it has moved"]
        cameras.pop(drift.moved)
    views = views.placed(cameras)
    if len(cameras) < FEWEST_VIEWS:
        raise UserError("; ".join(warnings))
    clock.step("seed points")("triangulating", 0, 1)
    seeds = triangulate(folder, cameras, threads=options.stereo.threads).points_mm
    return views, matches, drift, seeds if len(seeds) >= FEWEST_SEEDS else None


def _rig(views: UniformViews, cameras: Mapping[str, PinholeCamera]) -> CalibratedRig:
    """The undistorted cameras as the drift check takes them."""
    names = list(cameras)
    return CalibratedRig("", views.centre, dict(cameras), dict.fromkeys(names, ""), dict(views.baseline_px))


def _stereo_views(views: UniformViews) -> list[StereoView]:
    return [
        StereoView(name, grey_image(view.linear, view.mask), view.camera, view.mask)
        for name, view in views.views.items()
    ]


def _proxies(views: UniformViews, path: Path | None) -> dict[str, np.ndarray] | None:
    if path is None:
        return None
    vertices_mm, triangles = read_mesh(path)
    made = {name: depth_from_mesh(view.camera, vertices_mm, triangles) for name, view in views.views.items()}
    covered = float(np.isfinite(made[views.centre][views.views[views.centre].mask]).mean())
    if covered < 0.2:
        raise UserError(
            f"{path}: covers {100 * covered:.0f} % of the subject in the centre view; expected a mesh in world mm of "
            "this rig (x to the subject's left, y up, z to the centre camera)"
        )
    return made


def _by_patch_match(stereo: DenseStereo, dense: Path, source: ScanSource) -> DenseStereo:
    """COLMAP's CUDA maps in place of ours, which go on giving scores and checks where COLMAP has a depth too."""
    found = patch_match(dense, source.volume.range_mm(stereo.centre_camera))
    maps = {}
    for name, ours in stereo.maps.items():
        view = found[f"{name}.png"]
        there = np.isfinite(view.depth_mm)
        maps[name] = replace(ours, depth_mm=view.depth_mm, normal_cam=view.normal_cam, kept=there)
        write_view_maps(dense, f"{name}.png", maps[name])
    return replace(stereo, maps=maps)


class _Clock:
    """Times the steps and hands their progress on."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._name, self._since = progress, "", time.perf_counter()
        self.seconds: dict[str, float] = {}

    def step(self, name: str) -> Callable[[str, int, int], None]:
        """End the running step, start this one."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now
        return self._progress
