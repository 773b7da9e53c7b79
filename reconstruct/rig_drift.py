"""Has the rig moved since it was calibrated? Reprojection errors of points matched in a scan, against the calibration.

    drift = check_drift(calibrated, tracks)
    drift.warnings          # empty, or words that name the view
    drift.refined           # cameras moved so that the matches agree, for those who want to go on with them

Matches have noise of their own, often more than a camera's drift. So errors are compared with those that remain when
the cameras may move: what moving them takes away is drift, the rest is noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import chi2

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .rig_files import CalibratedRig
from .rig_refine import MOST_TRACKS, RefinedPoses, described, refined
from .rig_tracks import RigPoses, Track, TrackTable

TOLERANCE_PX, TOLERANCE_WIDTH_PX = 0.3, 1500
"""Drift that may come on top of the calibration's own error, in pictures of this width; 0.005 degrees do no harm."""
FEWEST_TRACKS, FEWEST_OF_CAMERA = 30, 12
SURE = 0.999
"""Probability with which drift must be more than chance."""
EXPLAINED = 0.5
"""A view is named when the others, without it, show less than this part of the drift."""
NOISY_PX = 2.0
"""Noise of matches, in pictures of 1500 px, from which they tell nothing."""
EXCHANGED, EXCHANGE_TRACKS = 0.2, 300
"""Views count as exchanged when exchanging them leaves less than this part of the error."""


@dataclass(frozen=True, eq=False)
class Drift:
    """Reprojection errors in px after best triangulation with the stored cameras, wrong matches left out.

    `error_px`: mean; `per_camera_px`: mean per camera (those with matches). `noise_px`: mean error that remains when
    the cameras may move. `drift_px`: rms of what moving them takes away, to be compared with `limit_px`.
    `moved`: the view that has moved, "" when none has or when it is not one alone. `exchanged`: two views that have
    each other's pictures. `refined`: poses that agree with the matches; None when these make no sense.
    """

    tracks: int
    error_px: float
    per_camera_px: dict[str, float]
    noise_px: float
    drift_px: float
    limit_px: float
    moved: str
    exchanged: tuple[str, ...]
    refined: RefinedPoses | None
    warnings: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        return self.drift_px > self.limit_px


def check_drift(
    rig: CalibratedRig,
    tracks: Sequence[Track],
    cameras: Mapping[str, PinholeCamera] | None = None,
    tolerance_px: float | None = None,
) -> Drift:
    """Triangulate tracks with the stored calibration and compare their errors with its own.

    Args:
        tracks: at least 30 that two or more calibrated cameras see; a minority of wrong matches is tolerated.
        cameras: those of the pictures in which the tracks were found, when these are not the calibration's (scaled,
            undistorted, some views only); poses must be the stored ones.
        tolerance_px: drift that is still well; default 0.3 px in pictures 1500 px wide, more in larger ones.

    Raises UserError when there are too few tracks to tell, naming the views that have next to none.
    """
    cameras = dict(rig.cameras if cameras is None else cameras)
    table, stored = TrackTable.of(cameras, tracks), RigPoses.of(cameras)
    counts = dict(zip(cameras, (int(n) for n in table.seen.sum(axis=0)), strict=True))
    poor = [name for name, count in counts.items() if count < FEWEST_OF_CAMERA]
    if len(table) < FEWEST_TRACKS:
        raise UserError(
            f"drift check: {len(table)} points matched in two or more views, {FEWEST_TRACKS} are needed "
            f"({', '.join(f'view {name}: {count}' for name, count in counts.items())}); is a view black, blurred or of "
            "another subject?"
        )
    warnings = [
        f"view {name}: {counts[name]} matched points, too few to check its pose; is it black, blurred, exchanged or "
        "of another subject?"
        for name in poor
    ]
    enlarged = max(1.0, max(camera.width_px for camera in cameras.values()) / TOLERANCE_WIDTH_PX)
    calibrated_px = [rig.baseline_px[name] for name in cameras if name in rig.baseline_px]
    limit = float(np.sqrt(np.mean(np.square(calibrated_px)))) if calibrated_px else 0.0
    limit += TOLERANCE_PX * enlarged if tolerance_px is None else tolerance_px
    poses, kept = refined(table, stored)
    sensible = len(kept) >= max(FEWEST_TRACKS // 2, 0.5 * min(len(table), MOST_TRACKS))
    sensible = sensible and kept.freedom > 8 * len(cameras)
    if not sensible:
        kept = table.cleaned(stored)
    errors = kept.errors_px(stored)
    error, noise = float(np.nanmean(errors)), float(np.nanmean(kept.errors_px(poses)))
    per_camera = {
        name: float(np.nanmean(column))
        for name, column in zip(cameras, errors.T, strict=True)
        if np.isfinite(column).any()
    }
    before, after = _variance(kept, stored), _variance(kept, poses, 6 * len(cameras) - 7)
    drift = float(np.sqrt(2 * max(before - after, 0.0)))
    by_chance = after * float(chi2.ppf(SURE, 6 * len(cameras) - 7))
    if before * kept.freedom - after * kept.freedom < by_chance:
        drift = 0.0
    moved: str = ""
    exchanged: tuple[str, ...] = ()
    drifted, noisy = drift > limit or not sensible, noise > NOISY_PX * enlarged
    if drifted or noisy:
        exchanged = _exchanged(cameras, tracks, stored)
    if exchanged:
        warnings.append(
            f"views {exchanged[0]} and {exchanged[1]} have each other's pictures: exchange them, or their serial "
            "numbers in the rig file"
        )
    elif drifted:
        moved, rest = _most_suspect(kept, stored, after)
        if moved and rest <= max(limit, EXPLAINED * drift):
            words = (
                f"view {moved}: has moved since the calibration (matched points miss by {error:.2f} px on average; "
                f"drift {drift:.2f} px, {rest:.2f} px without this view, {limit:.2f} px allowed); calibrate the rig "
                "again, refine the poses, or leave this view out"
            )
        else:
            moved = ""
            words = (
                f"matched points miss by {error:.2f} px on average (drift {drift:.2f} px, {limit:.2f} px allowed), in "
                "no single view alone: several cameras have moved, or the calibration is of another rig; calibrate "
                "again"
            )
        warnings.append(words)
    elif noisy:
        warnings.append(
            f"matched points disagree by {noise:.2f} px however the cameras stand, so drift cannot be seen: are all "
            "views sharp, of one subject, and taken at one time?"
        )
    made = described(cameras, kept, poses) if sensible and not exchanged else None
    return Drift(
        len(kept), error, per_camera, noise, drift, limit, moved, exchanged, made, tuple(dict.fromkeys(warnings))
    )


def _variance(table: TrackTable, poses: RigPoses, fitted: int = 0) -> float:
    """Variance of one measured coordinate in px squared, allowing for the points and numbers fitted to them."""
    return float(np.nansum(table.solve(poses)[1] ** 2)) / max(table.freedom - fitted, 1)


def _most_suspect(table: TrackTable, stored: RigPoses, noise: float) -> tuple[str, float]:
    """The view without which the others show the least drift in px, and that; ("", inf) with fewer than 3 views."""
    best, least = "", float("inf")
    for column, suspect in enumerate(table.names):
        rest = table.without(column)
        if len(rest) >= FEWEST_TRACKS // 2 and len(rest.names) >= 2:
            drift = float(np.sqrt(2 * max(_variance(rest, stored.without(column)) - noise, 0.0)))
            if drift < least:
                best, least = suspect, drift
    return best, least


def _exchanged(cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track], stored: RigPoses) -> tuple[str, ...]:
    """Two views whose exchange makes the matches agree; empty when no exchange does."""
    tracks = tracks[:: max(1, len(tracks) // EXCHANGE_TRACKS)]

    def usual_error(names: Mapping[str, str]) -> float:
        table = TrackTable.of(cameras, [{names.get(n, n): pixel for n, pixel in track.items()} for track in tracks])
        return float(np.median(np.nanmean(table.errors_px(stored), axis=1))) if len(table) else float("inf")

    least, best = EXCHANGED * usual_error({}), ()
    for first, second in combinations(cameras, 2):
        rest = usual_error({first: second, second: first})
        if rest < least:
            least, best = rest, (first, second)
    return best
