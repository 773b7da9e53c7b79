"""Shoot the steps of a plan so that no image can end up under the wrong one.

Per step: note the intent, release all bodies at one instant, take exactly one new exposure per body from their events,
and exactly one row from the trigger box, which must be the planned light. Only then the exposure is written down as
this step's. Whatever else happens, the step is void: the bodies are asked what is on their cards, frames without a
step are noted as strays, and the step is shot again.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from .box import BoxError
from .box_protocol import BoxLogRow
from .camera_messages import CameraError, CardFile, Press
from .plan import Step
from .session_box import SessionBox
from .session_crew import Crew
from .take import Take

ATTEMPTS = 4
LEAD_S = 0.02
"""Between the order to release and the instant of release: longer than it takes to reach all workers."""
SURPRISES = 3
LAG_ERROR_S = 0.004
EVENT_S = 3.0
"""A body may take this long to report a file, beyond exposure and frame interval."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended: files by body when it is good, else why not."""

    files: dict[str, list[CardFile]]
    presses: dict[str, Press]
    rows: tuple[BoxLogRow, ...]
    problem: str
    via: str = "event"
    hopeless: bool = False


class Shooter:
    """Shoots steps of a take with a crew and a box (None for plans without light)."""

    def __init__(self, take: Take, crew: Crew, box: SessionBox | None) -> None:
        self.take, self.crew, self.box = take, crew, box
        self._settled = False
        self._lags_s: list[float] = []

    def shoot(self, step: Step) -> str:
        """Shoot one step, again if need be; returns an empty text, or why it could not be done."""
        view = self.crew.view
        problem = ""
        for _ in range(ATTEMPTS):
            attempt = self.take.state().attempts.get(step.index, 0)
            view.set_step(step.index, "retry" if problem else "shooting")
            outcome = self._attempt(step, attempt)
            if not outcome.problem:
                self._record(step, attempt, outcome)
                view.set_step(step.index, "shot")
                return ""
            problem = outcome.problem
            view.say(f"step {step.index}: {problem}", "warning")
            if outcome.hopeless:
                break
        view.set_step(step.index, "failed")
        return problem

    def _attempt(self, step: Step, attempt: int) -> Outcome:
        bodies = [shot.camera for shot in step.shots]
        if problem := self._ready(step, bodies):
            return problem
        self.take.log.append("press", step=step.index, attempt=attempt, cameras=bodies)
        at_s = time.monotonic() + (LEAD_S if len(bodies) > 1 else 0.0)
        shutter_s = max(self.crew.rig.camera(name).exposure.shutter_s for name in bodies)
        wait_s = shutter_s + 1 / self.crew.rig.limits.frames_per_s + EVENT_S
        counts = {name: self._files_per_exposure(name) for name in bodies}

        def release(name: str) -> tuple[Press, list[CardFile]]:
            camera = self.crew.cameras[name]
            press = camera.press(at_s)
            return press, camera.wait_files(counts[name], time.monotonic() + wait_s)

        done, errors = self.crew.each(release, bodies)
        presses = {name: press for name, (press, _) in done.items()}
        files = {name: found for name, (_, found) in done.items()}
        for name in done:
            self.crew.view.camera(name, state="ready")
        try:
            rows = self.box.new_rows() if self.box and step.light_mask else ()
        except BoxError as error:
            return self._settle(step, attempt, presses, (), f"trigger box: {error}", counts)
        problem = "; ".join(f"{name}: {error}" for name, error in errors.items())
        extra = [name for name, found in files.items() if len(found) != counts[name] or presses[name].stray]
        if not problem and extra:
            problem = f"{', '.join(extra)}: more than one exposure arrived"
        if not problem:
            problem = self._apart(presses)
        if not problem and self.box and step.light_mask:
            problem = self.box.judge(step, rows) or self._too_early(rows, presses)
        if problem:
            outcome = self._settle(step, attempt, presses, rows, problem, counts)
            full = any(error.kind == "card_full" for error in errors.values())
            return replace(outcome, hopeless=True) if full and outcome.problem else outcome
        return Outcome(files, presses, rows, "")

    def _too_early(self, rows: tuple[BoxLogRow, ...], presses: dict[str, Press]) -> str:
        """Lamps that some other pulse on a sync cable set off, before the shutter was open.

        A body opens its shutter a certain time after its release; an edge that comes much sooner is not its own. How
        much is judged by how evenly the earlier edges of this session came.
        """
        if self.box is None or not rows or not presses:
            return ""
        lag_s = self.box.edge_after_s(rows[0], min(press.started_s for press in presses.values()))
        usual_s = statistics.median(self._lags_s) if len(self._lags_s) >= 3 else 0.0
        spread_s = statistics.median(abs(x - usual_s) for x in self._lags_s) if len(self._lags_s) >= 3 else 0.0
        if lag_s < usual_s - max(LAG_ERROR_S, 6 * spread_s):
            return "the lamps fired before the shutter was open: look for a loose sync cable"
        self._lags_s.append(lag_s)
        return ""

    def _apart(self, presses: dict[str, Press]) -> str:
        """Bodies that were released too far apart for one flash to reach them all."""
        starts_s = [press.started_s for press in presses.values()] or [0.0]
        apart_s, limit_s = max(starts_s) - min(starts_s), self.crew.rig.limits.skew_s
        if apart_s <= limit_s:
            return ""
        return f"the bodies were released {1000 * apart_s:.0f} ms apart, limits.skew_s is {1000 * limit_s:.0f} ms"

    def _ready(self, step: Step, bodies: Sequence[str]) -> Outcome | None:
        """Everything that must hold before the release; None when it does."""
        lost = [name for name in bodies if not self.crew.alive(name)]
        errors = self.crew.each(self.crew.reconnect, lost)[1]
        if errors:
            text = "; ".join(f"{name}: {error}" for name, error in errors.items())
            return Outcome({}, {}, (), text, hopeless=True)
        if self.take.state().open_press is not None or self._settled:
            self._collect_strays(bodies)
            self._settled = False
        if self.box is None or not step.light_mask:
            return None
        try:
            if self.box.box is None:
                self.box.connect()
            for _ in range(SURPRISES):
                surprise = self.box.prepare(step)
                if not surprise:
                    return None
                self.crew.view.say(surprise, "warning")
                self._collect_strays(bodies)
        except BoxError as error:
            self.box.close()
            return Outcome({}, {}, (), f"trigger box: {error}", hopeless=error.kind == "unsafe")
        return Outcome({}, {}, (), "shutters open all the time although nobody releases them", hopeless=True)

    def _settle(
        self,
        step: Step,
        attempt: int,
        presses: dict[str, Press],
        rows: tuple[BoxLogRow, ...],
        problem: str,
        counts: dict[str, int],
    ) -> Outcome:
        """After trouble: disarm, let the bodies finish, look at their cards; save the step if it is beyond doubt."""
        late: tuple[BoxLogRow, ...] = ()
        if self.box is not None and step.light_mask:
            try:
                late = self.box.new_rows()
                judged = self.box.judge(step, (*rows, *late)) or self._too_early((*rows, *late), presses)
                self.box.abort()
            except BoxError as error:
                self.box.close()
                judged = f"trigger box: {error}"
        else:
            judged = ""
        found, errors = self._new_on_cards(list(counts))
        if errors:
            # The press stays open in the log: a later listing of the card tells what became of it.
            self._settled = True
            text = "; ".join(f"{name}: {error}" for name, error in errors.items())
            return Outcome({}, presses, rows, f"{problem}; {text}", hopeless=True)
        exact = all(len(found[name]) == counts[name] for name in counts) and not self._apart(presses)
        if exact and not judged and (self.box is None or not step.light_mask or _all_edges(step, rows, late)):
            return Outcome(found, presses, (*rows, *late), "", via="listing")
        reason = problem if problem == judged or not judged else f"{problem}; {judged}"
        self.take.log.append("void", step=step.index, attempt=attempt, reason=reason)
        for name, strays in found.items():
            for stray in strays:
                self.take.note_stray(name, stray)
        self._settled = True
        return Outcome({}, presses, (*rows, *late), reason)

    def _new_on_cards(self, bodies: Sequence[str]) -> tuple[dict[str, list[CardFile]], dict[str, CameraError]]:
        """Files that nobody has accounted for yet, on bodies that have come to rest."""

        def look(name: str) -> list[CardFile]:
            if not self.crew.alive(name):
                self.crew.reconnect(name)
            known = self.take.state().known(self.crew.rig.camera(name).serial)
            camera = self.crew.cameras[name]
            count = -1
            while True:  # two equal listings, an exposure apart
                listed = [f for f in camera.list_files() if (f.folder, f.name) not in known]
                if len(listed) == count:
                    return sorted(listed, key=lambda f: (f.folder, f.name))
                count = len(listed)
                exposure = self.crew.rig.camera(name).exposure
                time.sleep(exposure.shutter_s + 2 / self.crew.rig.limits.frames_per_s)

        return self.crew.each(look, bodies)

    def _collect_strays(self, bodies: Sequence[str]) -> None:
        """Note frames that came late, so that they are never taken for the next step's."""
        found, _ = self._new_on_cards(bodies)
        for name, strays in found.items():
            for stray in strays:
                self.take.note_stray(name, stray)

        def forget(name: str) -> None:
            # What the listing showed is accounted for by the log now; the worker would still announce it as new.
            while self.crew.cameras[name].wait_files(0, time.monotonic()):
                pass

        self.crew.each(forget, [name for name in bodies if self.crew.alive(name)])

    def _files_per_exposure(self, name: str) -> int:
        return 2 if self.crew.rig.camera(name).exposure.image_format == "RAW+JPEG" else 1

    def _record(self, step: Step, attempt: int, outcome: Outcome) -> None:
        files = []
        for shot in step.shots:
            # RAW first: it is the shot's image, a JPEG beside it is a preview.
            for file in sorted(outcome.files[shot.camera], key=lambda f: f.name.lower().endswith((".jpg", ".jpeg"))):
                press = outcome.presses.get(shot.camera)
                files.append(
                    {
                        "shot": shot.index,
                        "camera": shot.camera,
                        "serial": self.crew.rig.camera(shot.camera).serial,
                        "card_folder": file.folder,
                        "card_name": file.name,
                        "bytes": file.bytes,
                        "time_s": file.time_s,
                        "pressed_s": press.started_s if press else None,
                        "released_s": press.ended_s if press else None,
                        "seen_s": round(time.monotonic(), 4),
                        "via": file.via if outcome.via == "event" else outcome.via,
                    }
                )
        row = asdict(outcome.rows[0]) if outcome.rows else None
        self.take.log.append(
            "exposed",
            step=step.index,
            attempt=attempt,
            light_mask=step.light_mask,
            polariser=step.polariser,
            box=row,
            files=files,
        )


def _all_edges(step: Step, rows: tuple[BoxLogRow, ...], late: tuple[BoxLogRow, ...]) -> bool:
    """Did every body's shutter open while the box listened? Then each new file is this firing's."""
    return [row.inputs.bit_count() for row in (*rows, *late)] == [len(step.shots)]
