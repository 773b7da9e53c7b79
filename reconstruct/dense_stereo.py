"""Dense stereo of a set of calibrated views on the CPU: sweep every view, let views help and check each other."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ..capture.errors import UserError
from .stereo_checks import agreement_of, check_views, warnings_of
from .stereo_exchange import confirmed_by, seen_from
from .stereo_merge import merge_depths
from .stereo_normals import normals_from_depth
from .stereo_pyramid import Pyramid, build_pyramid, level_divisors
from .stereo_smooth import texture_over_noise
from .stereo_swaps import find_swap, suspects, told
from .stereo_sweep import POLISH, SEARCH, ViewSweep
from .stereo_types import DenseStereo, DepthMap, Progress, StereoOptions, StereoView, WorkingVolume

JUMP = 0.006
"""Neighbours whose depths differ by more than this share are not one surface."""
TOLERANCE_MM = 0.28
"""A pixel is confirmed when the way to another view and back ends within one pixel, or this far on the subject."""


def dense_depth(
    views: Sequence[StereoView],
    centre: str,
    volume: WorkingVolume | None = None,
    *,
    proxy_mm: Mapping[str, np.ndarray] | None = None,
    expected: Sequence[str] = (),
    options: StereoOptions | None = None,
    progress: Progress = lambda what, done, total: None,
) -> DenseStereo:
    """Depth, score, normals and checks of every view.

    Args:
        views: two to five or more views of one instant, undistorted.
        centre: name of the view whose depth matters most; it must be usable.
        volume: where the subject is; default: the shipped rig's, around the world's origin.
        proxy_mm: view name -> (H, W) depth of a proxy surface (a fitted face model) in mm, NaN outside. Views without
            one are swept over the whole volume. `depth_from_mesh` of mesh_raster.py makes it.
        expected: names of the views that the rig should give; those that are missing are named in a warning.

    Views without a subject are left out with a warning that names them, views that disagree with the others, are
    blurred or look swapped are named. Raises UserError when fewer than two views are usable or the centre view is not.
    """
    options, volume = options or StereoOptions(), volume or WorkingVolume()
    used, problems, sharpness = check_views(views, centre, expected)
    proxies = proxy_mm or {}
    with ThreadPoolExecutor(options.threads) as pool:
        maps, shares = _matched(used, volume, proxies, options, pool, progress)
        agreement = agreement_of(shares, sharpness, problems)
        if len(used) > 2:

            def mean_agreement(trial: Sequence[StereoView]) -> float:
                tried = _matched(trial, volume, {}, replace(options, finest_level=1), pool)[1]
                return float(np.mean([verdict.confirmed for verdict in agreement_of(tried, sharpness, {}).values()]))

            swap = find_swap(used, suspects(agreement), sum(volume.range_mm(used[0].camera)) / 2, mean_agreement)
            agreement = told(swap, agreement) if swap else agreement
    snr = texture_over_noise(maps[centre].score)
    cameras = {view.name: view.camera for view in used}
    merged = merge_depths(maps, cameras, centre)
    return DenseStereo(maps, cameras, centre, merged, agreement, snr, warnings_of(agreement, snr, bool(proxies)))


def nearest_sources(view: StereoView, views: Sequence[StereoView], count: int) -> list[StereoView]:
    """The other views, nearest camera first."""
    others = [other for other in views if other.name != view.name]
    others.sort(key=lambda other: float(np.linalg.norm(other.camera.centre_mm - view.camera.centre_mm)))
    return others[:count]


def _matched(
    views: Sequence[StereoView],
    volume: WorkingVolume,
    proxies: Mapping[str, np.ndarray],
    options: StereoOptions,
    pool: Executor,
    progress: Progress = lambda what, done, total: None,
) -> tuple[dict[str, DepthMap], dict[str, dict[str, float]]]:
    """Maps of all views, and which share of each view each other view confirms."""
    sweeps = _start(views, volume, proxies, options, pool)
    levels = sorted(next(iter(sweeps.values())).reference.levels, reverse=True)[1:]
    done, total = 0, len(levels) * len(sweeps) + 1
    for level in levels:
        passes = (SEARCH, POLISH) if level > options.finest_level else (SEARCH,)
        for name, sweep in sweeps.items():
            progress(f"depth of {name} at 1/{level}", done, total)
            sweep.refine(level, passes)
            done += 1
        if options.exchange and len(views) > 2:
            _exchange(sweeps, level)
    progress("checking", done, total)
    depths, scores = {}, {}
    for name, sweep in sweeps.items():
        sweep.refine(options.finest_level, (POLISH,))
        depths[name] = sweep.reference.placed(sweep.depth, np.nan)
        scores[name] = sweep.reference.placed(sweep.score, 0)
        sweep.depth = sweep.score = np.zeros((0, 0), np.float32)
    return _checked(views, depths, scores, volume, options, pool)


def _start(
    views: Sequence[StereoView],
    volume: WorkingVolume,
    proxies: Mapping[str, np.ndarray],
    options: StereoOptions,
    pool: Executor,
) -> dict[str, ViewSweep]:
    ranges = {view.name: volume.range_mm(view.camera) for view in views}
    # one set of levels for all views, so that any view can be any other's source
    divisors = level_divisors(views[0], sum(ranges[views[0].name]) / 2, options)
    pyramids: dict[str, Pyramid] = {view.name: build_pyramid(view, divisors) for view in views}
    sweeps = {}
    for view in views:
        sources = [pyramids[other.name] for other in nearest_sources(view, views, options.sources)]
        if np.linalg.norm(view.camera.centre_mm - sources[0].view.camera.centre_mm) < 1:
            raise UserError(
                f'views "{view.name}" and "{sources[0].view.name}" stand in the same place (less than 1 mm apart); '
                "stereo needs a baseline: check the poses of the cameras"
            )
        sweeps[view.name] = ViewSweep.start(
            pyramids[view.name], sources, ranges[view.name], options, pool, proxies.get(view.name)
        )
    return sweeps


def _exchange(sweeps: Mapping[str, ViewSweep], level: int) -> None:
    """Every view considers the depth that the others found. All see the state before the exchange."""
    planes = {name: sweep.reference.levels[level] for name, sweep in sweeps.items()}
    depths = {name: sweep.depth for name, sweep in sweeps.items()}
    good = {name: planes[name].mask & (sweep.score > 0.3) for name, sweep in sweeps.items()}
    for name, sweep in sweeps.items():
        others = [source.view.name for source in sweep.sources]
        proposals = [
            seen_from(depths[other], good[other], planes[other].camera, planes[name].camera, 2 * level * JUMP)
            for other in others
        ]
        sweep.consider(proposals, level)


def _checked(
    views: Sequence[StereoView],
    depths: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    volume: WorkingVolume,
    options: StereoOptions,
    pool: Executor,
) -> tuple[dict[str, DepthMap], dict[str, dict[str, float]]]:
    """Maps with counts, normals and `kept`; and which share of each view each other view confirms."""
    maps, shares = {}, {}
    for view in views:
        depth, score = depths[view.name], scores[view.name]
        near, far = volume.range_mm(view.camera)
        pixel_mm = (near + far) / 2 / view.camera.fx_px
        count, shares[view.name] = np.zeros(depth.shape, np.uint8), {}
        others = [other for other in views if other.name != view.name]
        verdicts = pool.map(
            lambda other, view=view, depth=depth, pixel_mm=pixel_mm: confirmed_by(
                depth, view.camera, depths[other.name], other.camera,
                max(options.finest_level, TOLERANCE_MM / pixel_mm),
            ),
            others,
        )  # fmt: skip
        sure = score > options.min_score
        for other, verdict in zip(others, verdicts, strict=True):
            count += verdict == 1
            seen = sure & (verdict >= 0)
            shares[view.name][other.name] = float((verdict[seen] == 1).mean()) if seen.sum() > 100 else np.nan
        with np.errstate(invalid="ignore"):
            kept = (count >= options.min_views) & sure & (depth > near) & (depth < far)
        sigma_px = max(options.normal_sigma_mm / pixel_mm, 1.0)
        normals = normals_from_depth(depth, view.camera, sigma_px)
        maps[view.name] = DepthMap(depth, score, count, normals, kept)
    return maps, shares
