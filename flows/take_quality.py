"""Judge a take: measure its frames as they arrive, write quality.json and the contact sheet."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from ..capture.errors import UserError
from ..capture.files import write_text
from ..capture.quality import judge
from ..capture.quality_frame import frame_facts
from ..capture.quality_models import FrameFacts, Quality
from ..capture.take import Take
from ..capture.take_state import TakeState
from .take_sheet import SheetHeader, write_contact_sheet

QUALITY, SHEET = "quality.json", "contact-sheet.html"
ONE_PASS_S = 60.0
"""Exposures further apart than this were not shot in one go: a step that was shot again, a resumed take."""


class TakeQuality:
    """The verdict on a take and what it rests on."""

    def __init__(
        self, quality: Quality, facts: dict[int, FrameFacts], started_s: dict[int, float], seconds: float = 0.0
    ) -> None:
        self.quality, self.facts, self.started_s, self.seconds = quality, facts, started_s, seconds

    @property
    def verdict(self) -> str:
        return self.quality.verdict

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps to shoot again, whole pairs."""
        return self.quality.reshoot_steps

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, worst first, in words."""
        return tuple(finding.message for finding in self.quality.findings if finding.severity != "note")


class QualityRun:
    """Measures frames in two threads; nothing starts before `release`, so that shooting has the processor alone."""

    def __init__(self, take: Take) -> None:
        self.take = take
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="quality")
        self._open = threading.Event()
        self._futures: dict[tuple[int, str], Future[FrameFacts]] = {}

    def add(self, shot: int, path: Path) -> None:
        """A new verified frame."""
        self._futures[shot, path.name] = self._pool.submit(self._measure, shot, path)

    def release(self) -> None:
        """Begin to measure."""
        self._open.set()

    def _measure(self, shot: int, path: Path) -> FrameFacts:
        self._open.wait()
        return frame_facts(path, self.take.plan[shot], self.take.rig)

    def finish(self, report: Callable[[int, int], None] = lambda done, total: None) -> TakeQuality:
        """Measure what is left and judge the take as it is on disk now. `report` is told (done, total)."""
        self.release()
        state = self.take.state()
        facts: dict[int, FrameFacts] = {}
        unreadable: dict[int, str] = {}
        images = {shot.index: image for shot in self.take.plan if (image := state.image(shot.index)) is not None}
        for shot, image in images.items():
            path = self.take.data / image.path
            if (shot, path.name) not in self._futures:
                self.add(shot, path)
        for done, (shot, image) in enumerate(images.items(), start=1):
            try:
                facts[shot] = self._futures[shot, Path(image.path).name].result()
            except UserError as error:
                unreadable[shot] = str(error)
            report(done, len(images))
        started_s = exposure_times_s(state)
        quality = judge(self.take.rig, self.take.plan, facts, started_s, unreadable)
        return TakeQuality(quality, facts, started_s)

    def __enter__(self) -> "QualityRun":
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def judge_take(take: Take, report: Callable[[int, int], None] = lambda done, total: None) -> TakeQuality:
    """Measure and judge all frames that are on disk."""
    with QualityRun(take) as run:
        return run.finish(report)


def exposure_times_s(state: TakeState) -> dict[int, float]:
    """When exposures began, Unix time in s by shot index: those of the longest uninterrupted pass of the take."""
    times: dict[int, float] = {}
    for shot in state.plan:
        for exposure in state.current(shot.index)[:1]:
            record = exposure.record
            if record.get("pressed_s") is None or record.get("seen_s") is None:
                continue
            # The record was written right after the frame was seen; that ties the monotonic clock to the calendar.
            written_s = datetime.fromisoformat(record["utc"]).timestamp()
            times[shot.index] = written_s - (record["seen_s"] - record["pressed_s"])
    passes: list[list[int]] = []
    for index in sorted(times, key=lambda index: times[index]):
        if passes and times[index] - times[passes[-1][-1]] <= ONE_PASS_S:
            passes[-1].append(index)
        else:
            passes.append([index])
    longest = max(passes, key=len, default=[])
    return {index: times[index] for index in longest}


def write_quality(take: Take, found: TakeQuality) -> None:
    """Write data/quality.json and data/contact-sheet.html."""
    write_text(take.data / QUALITY, found.quality.model_dump_json(indent=1) + "\n")
    manifest = take.manifest
    rows = [
        ("subject", manifest.subject),
        ("expression", manifest.expression),
        ("shot (UTC)", manifest.created_utc),
        ("operator", manifest.operator or "not noted"),
        ("consent", manifest.consent or "no reference"),
        ("rig", manifest.rig_name),
    ]
    if manifest.notes:
        rows.append(("notes", manifest.notes))
    steps = ",".join(map(str, found.steps))
    command = f"mesoface take reshoot {take.folder.name} --steps {steps}" if found.steps else ""
    header = SheetHeader(take.name, tuple(rows), command)
    write_contact_sheet(take.data / SHEET, header, take.plan, found.facts, found.quality, found.started_s)


def read_quality(folder: Path) -> Quality | None:
    """The last verdict on a take, or None when it was never judged or the file is damaged."""
    try:
        return Quality.model_validate(json.loads((folder / "data" / QUALITY).read_text()))
    except (OSError, ValueError):
        return None
