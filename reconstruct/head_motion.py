"""Involuntary motion of the subject between exposures: a slow rigid drift, for robustness tests."""

import numpy as np
from scipy.spatial.transform import Rotation

from ..capture.rigid import RigidTransform


def drift(exposures: int, amplitude_mm: float, seed: int) -> tuple[RigidTransform, ...]:
    """world_from_head for each exposure: a smooth random walk that starts at the identity.

    Args:
        exposures: how many, in shooting order.
        amplitude_mm: about the root-mean-square distance of the face centre from its place at the first exposure.
            The head also turns by 0.1 degrees per millimetre, about a neck joint 120 mm behind and 100 mm below.
    """
    if amplitude_mm <= 0:
        return (RigidTransform(np.eye(3), np.zeros(3)),) * exposures
    rng = np.random.Generator(np.random.PCG64([0xD51F7, seed]))
    walk = np.cumsum(rng.standard_normal((exposures, 6)), axis=0)
    walk -= walk[0]
    walk /= max(float(np.sqrt((walk[:, :3] ** 2).sum(1).mean())), 1e-12)
    neck_mm = np.array([0.0, -100.0, -120.0])
    transforms = []
    for shift, turn in zip(amplitude_mm * walk[:, :3], np.deg2rad(0.1 * amplitude_mm) * walk[:, 3:], strict=True):
        rotation = Rotation.from_rotvec(turn).as_matrix()
        transforms.append(RigidTransform(rotation, shift + neck_mm - rotation @ neck_mm))
    return tuple(transforms)
