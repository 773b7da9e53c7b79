"""A clean take of the virtual studio, and the faults a rig can have, put into its raw files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mesoface.capture.dng import DngFacts, write_dng
from mesoface.capture.plan import Shot, shot_plan
from mesoface.capture.quality import judge
from mesoface.capture.quality_frame import frame_facts, measure_frames
from mesoface.capture.quality_models import FrameFacts, Quality
from mesoface.capture.raw import read_raw
from mesoface.capture.rig_models import Rig

RANGE_DN, FULL_WELL_E = 12952, 30000
SIZE_PX = (240, 160)
Signal = np.ndarray


def parallel(flash: int) -> int:
    """Shot index of the parallel frame of flash 1 to 9 in the shipped rig; the crossed one is the next."""
    return 3 + 2 * flash


def crossed(flash: int) -> int:
    return 4 + 2 * flash


@dataclass
class StudioTake:
    """Facts of all frames; `judge` takes changed frames by shot index."""

    folder: Path
    scratch: Path
    rig: Rig
    shots: tuple[Shot, ...]
    facts: dict[int, FrameFacts]

    @classmethod
    def of(cls, scan: Path, scratch: Path, rig: Rig) -> "StudioTake":
        shots = shot_plan(rig)
        facts, unreadable = measure_frames({s.index: scan / "raw" / f"{s.stem}.dng" for s in shots}, shots, rig)
        assert not unreadable
        return cls(scan, scratch, rig, shots, facts)

    def signal(self, index: int) -> Signal:
        """Sensor numbers above black of a frame as rendered."""
        return read_raw(self.folder / "raw" / f"{self.shots[index].stem}.dng").mosaic

    def frame(self, index: int, signal: Signal, **body) -> FrameFacts:
        """Facts of a frame with another content. body: serial, iso, aperture, shutter_s, taken."""
        camera = self.rig.camera(self.shots[index].camera)
        numbers = np.clip(np.rint(signal + 2048), 0, 15000).astype(np.uint16)
        path = self.scratch / f"{index}.dng"
        facts = DngFacts(
            2048,
            15000,
            camera.model,
            body.get("serial", camera.serial),
            body.get("iso", camera.exposure.iso),
            body.get("shutter_s", camera.exposure.shutter_s),
            body.get("aperture", camera.exposure.aperture),
            body.get("taken", "2026:01:01 12:00:00"),
        )
        write_dng(path, numbers, facts)
        return frame_facts(path, self.shots[index], self.rig)

    def changed(self, change: Callable[[Signal], Signal], *indices: int) -> dict[int, FrameFacts]:
        return {index: self.frame(index, change(self.signal(index))) for index in indices}

    def showing(self, **by_name: int) -> dict[int, FrameFacts]:
        """Frames with the light of others and noise of their own: s7=5 puts the scene of shot 5 into shot 7."""
        return {int(k[1:]): self.frame(int(k[1:]), with_noise(self.signal(other))) for k, other in by_name.items()}

    def judge(
        self,
        changes: Mapping[int, FrameFacts] | None = None,
        without: tuple[int, ...] = (),
        started_s: Mapping[int, float] | None = None,
        **more,
    ) -> Quality:
        facts = {i: f for i, f in {**self.facts, **(changes or {})}.items() if i not in without}
        times = {s.index: 0.2 * s.step for s in self.shots} if started_s is None else started_s
        return judge(more.pop("rig", self.rig), more.pop("shots", self.shots), facts, times, size_px=SIZE_PX, **more)


def with_noise(signal: Signal, seed: int = 9) -> Signal:
    variance = np.maximum(signal, 0) * RANGE_DN / FULL_WELL_E + 1.7
    return signal + 0.5 * np.sqrt(variance) * np.random.default_rng(seed).standard_normal(signal.shape)


def nothing(signal: Signal) -> Signal:
    """A frame without light."""
    return with_noise(np.zeros_like(signal), seed=int(abs(signal).sum()) % 1000)


def blurred(sigma_px: float) -> Callable[[Signal], Signal]:
    def blur(signal: Signal) -> Signal:
        result = signal.copy()
        for row in (0, 1):
            for column in (0, 1):
                plane = np.ascontiguousarray(signal[row::2, column::2])
                result[row::2, column::2] = cv2.GaussianBlur(plane, (0, 0), sigma_px / 2)
        return result

    return blur
