"""Flashes near the face: how much light of each one arrives at a point, and from where.

E = intensity * cos(angle to aim)^falloff_exponent / distance_mm^2, as in lights.json (docs/formats.md). A face is 10 %
of its distance to the flashes deep, so a model of far lights would be wrong by 14 degrees on such a rig.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import RigidTransform

LAMBERT = 1.0
"""Refractive index that stands for no coat at all: light enters and leaves without loss."""


@dataclass(frozen=True, eq=False)
class LightModel:
    """The flashes of a scan in the axes of one camera, in the order of its pairs.

    position_mm, axis (L, 3): place, and unit vector from there to the aim, camera axes. exponent (L,).
    intensity (L, 3): of red, green, blue, in the scan's linear units times mm^2.
    index: refractive index of the coat of the skin; 1 for an ideally matt surface.
    """

    names: tuple[str, ...]
    position_mm: np.ndarray
    axis: np.ndarray
    exponent: np.ndarray
    intensity: np.ndarray
    index: float = LAMBERT

    def __post_init__(self) -> None:
        count = len(self.names)
        for name, shape in (
            ("position_mm", (count, 3)),
            ("axis", (count, 3)),
            ("exponent", (count,)),
            ("intensity", (count, 3)),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
                raise ValueError(f"LightModel.{name}: {array.shape} {array.dtype}, but expected finite float64 {shape}")
        if not (self.intensity > 0).all():
            raise ValueError("LightModel.intensity: all above 0 expected")

    def chosen(self, names: Sequence[str]) -> "LightModel":
        """The same model for these lights in this order. Raises UserError for a light that it does not have."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise UserError(
                f"no calibration of light {', '.join(missing)}; calibrated: {', '.join(self.names)}. "
                "Is this the calibration of another rig?"
            )
        rows = [self.names.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            position_mm=self.position_mm[rows],
            axis=self.axis[rows],
            exponent=self.exponent[rows],
            intensity=self.intensity[rows],
        )

    def seen_by_moved_head(self, camera_from_reference: Sequence[RigidTransform]) -> "LightModel":
        """Lights in the head's reference pose: where the head moved by T, the lamp moved by T^-1 for its skin.

        `camera_from_reference`: per light, the motion of the head's points in camera axes since the reference.
        """
        position, axis = self.position_mm.copy(), self.axis.copy()
        for i, motion in enumerate(camera_from_reference):
            back = motion.inverse()
            position[i] = back.apply(position[i][None])[0]
            axis[i] = back.rotation @ axis[i]
        return replace(self, position_mm=position, axis=axis)

    def at(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors to the lights (L, N, 3) and irradiances per unit of intensity (L, N) at points (N, 3)."""
        offset = self.position_mm[:, None] - np.asarray(points_mm, np.float64)[None]
        distance = np.linalg.norm(offset, axis=2)
        direction = offset / distance[..., None]
        cosine = np.maximum(-(direction * self.axis[:, None]).sum(2), 0.0)
        return direction, cosine ** self.exponent[:, None] / distance**2


def light_model(lights: Mapping[str, Any], camera: PinholeCamera, scale: float = 1.0) -> LightModel:
    """The flashes of lights.json in the axes of `camera`.

    `scale`: the scan's linear units per unit of linear light (`reconstruct.sensor.exposure_gain` for images of
    `ScanSource.linear`, which are shares of the white level).
    Raises UserError when no flash is described, or one not completely.
    """
    flashes = [light for light in lights.get("lights", []) if light.get("role") == "flash"]
    if not flashes:
        raise UserError("lights.json describes no flash; calibrate the lights (`mesoface calibrate`)")
    rows = []
    for light in flashes:
        name = light.get("name", "?")
        try:
            position = np.asarray(light["position_mm"], np.float64)
            aim = np.asarray(light["aim_mm"], np.float64)
            exponent = float(light["falloff_exponent"])
            intensity = np.asarray(light["intensity_rgb"], np.float64) * scale
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"lights.json: light {name} is not described completely ({error!r})") from None
        good = position.shape == aim.shape == intensity.shape == (3,)
        if not good or not np.isfinite([*position, *aim, *intensity, exponent]).all() or not (intensity > 0).all():
            raise UserError(f"lights.json: light {name} needs finite position, aim, exponent and positive intensities")
        if np.linalg.norm(aim - position) < 1e-6:
            raise UserError(f"lights.json: light {name} aims at itself")
        rows.append((name, position, aim, exponent, intensity))
    rotation = camera.cam_from_world.rotation
    position = camera.cam_from_world.apply(np.array([row[1] for row in rows]))
    towards = np.array([row[2] - row[1] for row in rows]) @ rotation.T
    index = float(lights.get("skin_index", 1.4)) if lights.get("diffuse_model", "coated") == "coated" else LAMBERT
    return LightModel(
        tuple(row[0] for row in rows),
        position,
        towards / np.linalg.norm(towards, axis=1, keepdims=True),
        np.array([row[3] for row in rows], np.float64),
        np.array([row[4] for row in rows]),
        index,
    )


def transmission(cosine: np.ndarray, index: float) -> np.ndarray:
    """Share of unpolarised light that enters a smooth dielectric at this cosine of incidence; 1 for index 1."""
    c = np.clip(np.asarray(cosine, np.float64), 0.0, 1.0)
    if index == LAMBERT:
        return np.ones_like(c)
    ct = np.sqrt(1 - (1 - c * c) / index**2)
    r_s = ((c - index * ct) / (c + index * ct)) ** 2
    r_p = ((ct - index * c) / (ct + index * c)) ** 2
    return 1 - (r_s + r_p) / 2


def coat_gain(index: float) -> float:
    """Factor between albedo x E x n.l x transmission in x transmission out and the diffuse light of a coated surface.

    1 / (index^2 (1 - Fi)), Fi the mean reflectance of diffuse light on its way out; 1 for index 1.
    """
    if index == LAMBERT:
        return 1.0
    # mean over the hemisphere inside; beyond the critical angle everything stays
    sine2 = (np.arange(20000) + 0.5) / 20000
    inside = np.sqrt(1 - sine2)
    outside2 = 1 - sine2 * index**2
    escapes = outside2 > 0
    through = np.zeros_like(inside)
    through[escapes] = transmission(np.sqrt(outside2[escapes]), index)
    return float(1 / (index**2 * through.mean()))
