"""The room the simulated rig stands in: light that the trigger box really fired decides what a body records.

A shutter that opens sends its X-sync edge to the box; when it has closed, every firing within its open time is in the
picture. Each exposure is noted with its true light and the hash of its bytes, so that a test can tell afterwards
whether an image was filed under the step it belongs to.
"""

import hashlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from .dng import DngFacts, dng_bytes
from .plan import Polariser, Step
from .rig_models import Rig
from .sim_camera_types import ExposureSettings, SimFile
from .sim_images import ImageLibrary, Light


class Firing(Protocol):
    """Light that left the lamps; see sim_box."""

    @property
    def step(self) -> int: ...
    @property
    def light_mask(self) -> int: ...
    @property
    def polariser(self) -> Polariser: ...
    @property
    def energy_permille(self) -> int: ...
    @property
    def time_s(self) -> float: ...


class Box(Protocol):
    """What the room needs of the simulated trigger box."""

    def sync_edge(self, camera: str, time_s: float) -> None: ...
    def firings_between(self, start_s: float, end_s: float) -> Any: ...


@dataclass(frozen=True)
class ExposureTruth:
    """What really happened in one exposure: light masks and polariser states in the picture, hashes of its files."""

    camera: str
    exposure: int
    opened_s: float
    closed_s: float
    pose: int | None
    lights: tuple[tuple[int, str], ...]
    sha256: tuple[str, ...]


class VirtualRoom:
    """The `World` of the simulated bodies: one for the whole rig. Methods are called from the bodies' threads."""

    def __init__(self, rig: Rig, library: ImageLibrary, box: Box, planned: tuple[Step, ...], seed: int = 0) -> None:
        self.rig, self.library, self.box = rig, library, box
        self.seed = seed
        self.stray_light = 0.0
        self.pose: int | None = None
        self.unplugged: set[str] = set()
        self.truths: list[ExposureTruth] = []
        self.truncate: set[str] = set()
        self._energy = {step.light_mask: step.energy_permille for step in planned}
        self._lock = threading.Lock()

    def shutter_opened(self, camera: str, opened_s: float) -> None:
        """The X-sync contact of a body closes; an unplugged cable carries nothing."""
        if camera not in self.unplugged:
            self.box.sync_edge(camera, opened_s)

    def develop(
        self, camera: str, exposure: int, opened_s: float, closed_s: float, settings: ExposureSettings
    ) -> list[SimFile]:
        """The files of one exposure: the RAW, and a small JPEG behind it when the body is set to RAW+JPEG."""
        rig_camera = self.rig.camera(camera)
        lights = tuple(self._seen(camera, firing) for firing in self.box.firings_between(opened_s, closed_s))
        reference = rig_camera.exposure
        gain = settings.iso / reference.iso * (reference.aperture / settings.aperture) ** 2
        stray = self.stray_light * settings.shutter_s / reference.shutter_s
        identity = hashlib.sha256(f"{rig_camera.serial} {exposure} {opened_s} {self.seed}".encode()).hexdigest()
        mosaic = self.library.mosaic(camera, self.pose, lights, gain, stray, int(identity[:8], 16))
        moment = datetime.now(UTC) - timedelta(seconds=closed_s - opened_s)
        raw = dng_bytes(
            mosaic,
            DngFacts(
                black_level=self.library.black_level,
                white_level=self.library.white_level,
                model=rig_camera.model,
                serial=rig_camera.serial,
                iso=settings.iso,
                exposure_s=settings.shutter_s,
                f_number=settings.aperture,
                datetime_text=f"{moment:%Y:%m:%d %H:%M:%S}",
                subsecond_text=f"{moment.microsecond // 1000:03d}",
                unique_id=identity[:32],
            ),
        )
        with self._lock:
            if camera in self.truncate:
                self.truncate.discard(camera)
                raw = raw[
                    : len(raw) * 3 // 5
                ]  # what a body writes when its card fails: whole for the protocol, not a RAW
        files = [SimFile("CR2", raw)] if "RAW" in settings.image_format else []
        if "JPEG" in settings.image_format:
            files.append(SimFile("JPG", _jpeg(mosaic, self.library.black_level, self.library.white_level)))
        truth = ExposureTruth(
            camera,
            exposure,
            opened_s,
            closed_s,
            self.pose,
            tuple((light.light_mask, light.polariser) for light in lights),
            tuple(hashlib.sha256(file.data).hexdigest() for file in files),
        )
        with self._lock:
            self.truths.append(truth)
        return files

    def _seen(self, camera: str, firing: Firing) -> Light:
        """A firing through this body's own filter: fixed analysers of a two_bodies rig don't follow the box."""
        state = firing.polariser
        if state != "U" and self.rig.pair_mode == "two_bodies":
            state = "X" if camera == self.rig.cross_camera.name else "P"
        planned = self._energy.get(firing.light_mask)
        return Light(firing.light_mask, state, firing.energy_permille / planned if planned else 1.0)


def _jpeg(mosaic: Any, black_level: int, white_level: int) -> bytes:
    """A quarter-size preview as a body would write it beside the RAW."""
    import cv2
    import numpy as np

    from .image_files import srgb_from_linear

    scale = np.float32(1 / (white_level - black_level))
    planes = [mosaic[row::4, column::4] for row, column in ((1, 1), (0, 1), (0, 0))]
    height, width = min(p.shape[0] for p in planes), min(p.shape[1] for p in planes)
    linear = np.stack([(p[:height, :width].astype(np.float32) - black_level) * scale for p in planes], axis=-1)
    done, data = cv2.imencode(".jpg", srgb_from_linear(linear))
    if not done:
        raise OSError("the preview cannot be encoded")
    return data.tobytes()
