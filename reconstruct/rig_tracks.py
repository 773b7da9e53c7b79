"""Points matched between the views of one scan, seen with the rig's cameras: triangulated, measured, cleaned.

    tracks = tracks_of_matches(keypoints, matches)      # or any list of {camera name: pixel}
    seen = TrackTable.of(cameras, tracks)
    errors_px = seen.errors_px(RigPoses.of(cameras))    # (N, C), NaN where a view has no match

Pixels are the project's, centres at integers: subtract 0.5 from those of a COLMAP database. Lenses are taken off once;
errors are in px of the undistorted picture.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import Array, RigidTransform
from .targets_rays import ray_directions

Track = Mapping[str, Array]
"""One point of the subject: camera name -> its pixel (2,), column and row."""

WORST_RATIO, SMALLEST_WORST_PX = 3.0, 0.5
"""An observation this many times, and this many px, beyond what is usual for its cameras is a wrong match."""


@dataclass(frozen=True, eq=False)
class RigPoses:
    """Rotations (C, 3, 3) camera from world, and centres (C, 3) in world mm."""

    rotations: Array
    centres_mm: Array

    @classmethod
    def of(cls, cameras: Mapping[str, PinholeCamera]) -> "RigPoses":
        rotations = np.array([camera.cam_from_world.rotation for camera in cameras.values()])
        return cls(rotations, np.array([camera.centre_mm for camera in cameras.values()]))

    def without(self, column: int) -> "RigPoses":
        return RigPoses(np.delete(self.rotations, column, axis=0), np.delete(self.centres_mm, column, axis=0))

    def camera(self, column: int, like: PinholeCamera) -> PinholeCamera:
        """The camera `like` with the pose of one column."""
        rotation = self.rotations[column]
        return replace(like, cam_from_world=RigidTransform(rotation, -rotation @ self.centres_mm[column]))


@dataclass(frozen=True, eq=False)
class TrackTable:
    """Tracks of C cameras: `slopes` (N, C, 2) = x/z and y/z of the rays, NaN where unseen; `focal_px` (C,)."""

    names: tuple[str, ...]
    slopes: Array
    focal_px: Array

    @classmethod
    def of(cls, cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track]) -> "TrackTable":
        """Tracks that two or more of the cameras see; other cameras' pixels are ignored."""
        slopes = np.full((len(tracks), len(cameras), 2), np.nan)
        for column, (name, camera) in enumerate(cameras.items()):
            rows = [row for row, track in enumerate(tracks) if name in track]
            if rows:
                pixels = np.array([tracks[row][name] for row in rows], np.float64).reshape(-1, 2)
                local = replace(camera, cam_from_world=RigidTransform(np.eye(3), np.zeros(3)))
                rays = ray_directions(local, pixels)
                slopes[rows, column] = rays[:, :2] / rays[:, 2:]
        focal_px = np.array([np.sqrt(camera.fx_px * camera.fy_px) for camera in cameras.values()])
        return cls(tuple(cameras), slopes, focal_px).usable()

    def __len__(self) -> int:
        return len(self.slopes)

    @property
    def seen(self) -> np.ndarray:
        """(N, C) bool."""
        return np.isfinite(self.slopes[..., 0])

    @property
    def freedom(self) -> int:
        """Measured numbers beyond those that the points take up."""
        return 2 * int(self.seen.sum()) - 3 * len(self)

    def usable(self) -> "TrackTable":
        return replace(self, slopes=self.slopes[self.seen.sum(axis=1) >= 2])

    def without(self, column: int) -> "TrackTable":
        """The table of the other cameras."""
        names = (*self.names[:column], *self.names[column + 1 :])
        return TrackTable(names, np.delete(self.slopes, column, axis=1), np.delete(self.focal_px, column)).usable()

    def thinned(self, most: int) -> "TrackTable":
        """At most so many tracks, evenly chosen."""
        if len(self) <= most:
            return self
        return replace(self, slopes=self.slopes[np.linspace(0, len(self) - 1, most).astype(int)])

    def solve(self, poses: RigPoses) -> tuple[Array, Array]:
        """Points (N, 3) mm with the least reprojection error, and the offsets (N, C, 2) px that remain; NaN unseen."""
        seen, slopes = self.seen, np.nan_to_num(self.slopes)
        ahead = poses.rotations[:, 2]
        # a point on the ray of a view is on the two planes that cut there: (r_x - slope r_z) . (point - centre) = 0
        planes = poses.rotations[None, :, :2] - slopes[..., None] * ahead[None, :, None]
        level = np.einsum("ncki,ci->nck", planes, poses.centres_mm)
        weight = seen.astype(np.float64)
        points = np.zeros((len(self), 3))
        for _ in range(3):  # the weight that makes a distance from a plane a distance in px needs the depth
            weighted = planes * weight[..., None, None]
            matrix = np.einsum("ncki,nckj->nij", weighted, weighted)
            right = np.einsum("ncki,nck->ni", weighted, level * weight[..., None])
            scale = np.trace(matrix, axis1=1, axis2=2)[:, None, None]
            points = np.linalg.solve(matrix + 1e-12 * scale * np.eye(3), right[..., None])[..., 0]
            depth = np.einsum("nci,ci->nc", points[:, None] - poses.centres_mm, ahead)
            weight = seen * self.focal_px / np.maximum(np.abs(depth), 1.0)
        offsets = weight[..., None] * (np.einsum("ncki,ni->nck", planes, points) - level)
        offsets[~seen] = np.nan
        return np.asarray(points, np.float64), np.asarray(offsets, np.float64)

    def errors_px(self, poses: RigPoses) -> Array:
        """Distances (N, C) px of the triangulated points' projections from the matches; NaN where unseen."""
        return np.linalg.norm(self.solve(poses)[1], axis=2)

    def cleaned(self, poses: RigPoses) -> "TrackTable":
        """Without wrong matches: single observations that spoil their track, else whole tracks.

        What counts as wrong is measured against the usual error of a track's own cameras, so all observations of a
        camera that has moved stay.
        """
        table = self
        for _ in range(2):
            worst = _worst(table.errors_px(poses))
            seen = table.seen
            usual = np.array([np.median(worst[column]) if column.any() else 0.0 for column in seen.T])
            limit = np.maximum(WORST_RATIO * (seen * usual).max(axis=1), SMALLEST_WORST_PX)
            bad = np.flatnonzero(worst > limit)
            if not len(bad):
                break
            slopes = table.slopes.copy()
            least, mended = np.full(len(bad), np.inf), np.full(slopes[bad].shape, np.nan)
            for column in range(len(table.names)):
                trial = table.slopes[bad].copy()
                trial[:, column] = np.nan
                enough = np.isfinite(trial[..., 0]).sum(axis=1) >= 2
                rest = np.full(len(bad), np.inf)
                if enough.any():
                    rest[enough] = _worst(replace(table, slopes=trial[enough]).errors_px(poses))
                better = (rest < least) & (rest <= limit[bad])
                least[better], mended[better] = rest[better], trial[better]
            slopes[bad] = mended
            table = replace(table, slopes=slopes).usable()
        return table


def _worst(errors_px: Array) -> Array:
    """Largest error (N,) of each track."""
    return np.nanmax(errors_px, axis=1) if len(errors_px) else np.zeros(0)


def tracks_of_matches(
    keypoints: Mapping[str, Array], matches: Mapping[tuple[str, str], np.ndarray]
) -> list[dict[str, Array]]:
    """Chain pairwise matches to tracks; a chain that meets one view twice is dropped as a contradiction.

    Args:
        keypoints: camera name -> (K, 2) px. matches: pair of names -> (M, 2) int, indices of keypoints. Give matches
            that were checked among themselves (a fundamental matrix of their own), not against the stored cameras:
            those checks would throw away just the points that show a moved camera.
    """
    parent: dict[tuple[str, int], tuple[str, int]] = {}

    def root(node: tuple[str, int]) -> tuple[str, int]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for (first, second), pairs in matches.items():
        for a, b in np.asarray(pairs, np.int64).reshape(-1, 2):
            parent[root((first, int(a)))] = root((second, int(b)))
    chains: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    for node in parent:
        chains[root(node)].append(node)
    tracks = []
    for chain in chains.values():
        track = {name: np.asarray(keypoints[name][index], np.float64) for name, index in chain}
        if len(track) == len(chain) >= 2:
            tracks.append(track)
    return tracks
