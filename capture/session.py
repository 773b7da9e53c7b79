"""One capture session: connect, check, shoot, fetch, all of it into a take; and resuming one after a crash.

    with Session(take, connections, view) as session:
        session.connect()
        session.shoot(session.steps_missing())
        session.fetch()

What the bodies' cards hold and what the log of the take says decides everything; nothing is remembered elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .box import BoxError
from .camera_messages import CameraError
from .errors import UserError
from .plan import Step, steps
from .session_box import SessionBox
from .session_crew import Crew
from .session_recover import settle_open_press
from .session_shoot import Shooter
from .session_transfer import FileHook, Transfers
from .session_view import CameraView, SessionView
from .take import Take
from .take_cards import CardKey, card_record

GIVE_UP = 2
"""So many steps in a row that could not be shot end the shooting: nobody sits still for a broken rig."""


@dataclass(frozen=True)
class Connections:
    """Where the bodies and the box are: "usb" or gphoto2 ports, and a serial port or "auto"."""

    cameras: Any = "usb"
    trigger_box: str = "auto"


class Session:
    """Holds the connections of one take; use it as a context."""

    def __init__(
        self,
        take: Take,
        connections: Connections,
        view: SessionView,
        on_file: FileHook = lambda shot, path: None,
    ) -> None:
        self.take, self.view, self.connections = take, view, connections
        self.steps = steps(take.plan, take.rig)
        names = [camera.name for camera in take.rig.cameras if any(s.camera == camera.name for s in take.plan)]
        view.title = take.name
        view.cameras = {name: CameraView(name, take.rig.camera(name).serial) for name in names}
        view.steps = {step.index: "waiting" for step in self.steps}
        self.crew = Crew(take.rig, names, connections.cameras, view)
        lit = any(step.light_mask for step in self.steps)
        self.box = (
            SessionBox(take.rig, connections.trigger_box, take.manifest.take_id, self.steps, view) if lit else None
        )
        self.transfers = Transfers(take, self.crew, on_file)
        self.failed: dict[int, str] = {}
        for step in self.steps:
            if step.index not in take.state().missing_steps():
                view.set_step(step.index, "shot")

    def connect(self, *, for_shooting: bool = True) -> None:
        """Connect bodies and box, check them, note what was on the cards.

        Raises UserError with every reason why this rig cannot shoot now; the take stays as it is.
        """
        self.view.set_phase("connecting")
        self.crew.connect()
        if self.box is not None:
            try:
                self.box.connect()
            except BoxError as error:
                if for_shooting:
                    raise UserError(f"trigger box: {error}") from error
                # Fetching needs no lamps; only a step that was interrupted stays undecided without the box's log.
                self.view.say(f"without the trigger box: {error}", "warning")
        self._look_at_cards()
        needed: dict[str, int] = {}
        for index in self.take.state().missing_steps() if for_shooting else ():
            for shot in self._step(index).shots:
                needed[shot.camera] = needed.get(shot.camera, 0) + 1
        self.view.set_phase("checking")
        found, problems, warnings = self.crew.preflight(needed)
        for warning in warnings:
            self.view.say(warning, "warning")
        if problems and for_shooting:
            raise UserError("the rig is not ready:\n" + "\n".join(f"  {line}" for line in problems))
        self.take.log.append(
            "connected",
            cameras={
                name: {
                    "serial": self.take.rig.camera(name).serial,
                    "model": self.crew.identities[name].model,
                    "port": self.crew.identities[name].port,
                    "settings": self.crew.settings.get(name, {}),
                    "status": vars(found[name]) if name in found else None,
                }
                for name in self.crew.names
            },
            box=self.box.facts if self.box else None,
            warnings=warnings,
        )
        self._note_baselines()
        settle_open_press(self.take, self.crew, self.box, self._step)

    def _look_at_cards(self) -> None:
        """Are the cards of this take's earlier frames in the bodies? What is gone with a card counts as missing."""
        cards = self.take.state().cards
        seen = [name for name in self.crew.names if self.take.rig.camera(name).serial in cards]
        for name, error in self.crew.each(self._look_at_card, seen)[1].items():
            raise UserError(f"{name}: its card cannot be listed: {error}")

    def _look_at_card(self, name: str) -> None:
        """In the body's own thread. Raises CameraError."""
        if line := self.take.note_card(name, self.crew.cameras[name].list_files()):
            self.view.say(line, "warning")
            for index in self.take.state().missing_steps():
                self.view.set_step(index, "waiting")

    def _note_baselines(self) -> None:
        """What is on each card before the first exposure of this take: everything else that turns up is ours."""
        cards = self.take.state().cards
        new = [name for name in self.crew.names if self.take.rig.camera(name).serial not in cards]
        listed, errors = self.crew.each(lambda name: self.crew.cameras[name].list_files(), new)
        for name, error in errors.items():
            raise UserError(f"{name}: its card cannot be listed: {error}")
        for name, files in listed.items():
            serial = self.take.rig.camera(name).serial
            self.take.log.append("baseline", camera=name, serial=serial, files=card_record(files))
        self.crew.on_return = self._look_at_card

    def _step(self, index: int) -> Step:
        return next(step for step in self.steps if step.index == index)

    def with_partners(self, indices: Iterable[int]) -> list[int]:
        """Steps, and the other step of each pair among them: the two frames of a pair belong to one moment."""
        wanted = set(indices)
        unknown = wanted - {step.index for step in self.steps}
        if unknown:
            raise UserError(
                f"no step {', '.join(map(str, sorted(unknown)))} in this take; it has 0 to {self.steps[-1].index}"
            )
        pairs = {(s.pair, s.pose) for s in self.take.plan if s.step in wanted and s.polariser != "U"}
        return sorted(wanted | {s.step for s in self.take.plan if s.polariser != "U" and (s.pair, s.pose) in pairs})

    def shoot(
        self, indices: Sequence[int], before: Callable[[Step], None] = lambda step: None, fetch: bool = True
    ) -> dict[int, str]:
        """Shoot steps in their order; returns {step: why it could not be done}.

        `before` is called ahead of each step (guidance of calibration takes; may wait for the operator). Bodies that
        are done start sending at once.
        """
        self.view.set_phase("shooting")
        chosen = [self._step(index) for index in sorted(indices)]
        shooter = Shooter(self.take, self.crew, self.box)
        self.failed = {}
        in_a_row = 0
        try:
            for position, step in enumerate(chosen):
                before(step)
                problem = shooter.shoot(step)
                in_a_row = in_a_row + 1 if problem else 0
                if problem:
                    self.failed[step.index] = problem
                    self.view.say(f"step {step.index} is missing: {problem}", "error")
                if in_a_row == GIVE_UP:
                    self.view.say("the rig cannot go on like this; mend it, then shoot the missing steps", "error")
                    break
                if fetch and not problem:
                    self._queue_idle_bodies(chosen[position + 1 :])
        finally:
            if self.box is not None:
                try:
                    self.box.abort()
                except BoxError as error:
                    self.view.say(f"trigger box: {error}; it disarms itself after its arm timeout", "warning")
        return self.failed

    def _queue_idle_bodies(self, following: Sequence[Step]) -> None:
        busy = {shot.camera for step in following for shot in step.shots}
        self.transfers.queue_exposures([e for e in self.take.state().to_download() if e.camera not in busy])

    def fetch(self) -> dict[str, str]:
        """Bring everything that is on the cards and not on the disk; returns {camera: why some file is missing}."""
        self.view.set_phase("transferring")
        state = self.take.state()
        self.transfers.queue_exposures(state.to_download())
        self.transfers.wait()
        self._note_forgotten_frames()
        self.transfers.queue_strays(self.take.state().strays_to_download())
        self.transfers.wait()
        return self.transfers.failures

    def _note_forgotten_frames(self) -> None:
        """The last look at the cards: frames that no event ever announced."""

        def look(name: str) -> list[Any]:
            if name in self.transfers.failures:
                return []  # gone, or full: `resume` looks again
            if not self.crew.alive(name):
                self.crew.reconnect(name)
            serial = self.take.rig.camera(name).serial
            known = self.take.state().known(serial)
            return [f for f in self.crew.cameras[name].list_files() if (f.folder, f.name) not in known]

        found, errors = self.crew.each(look)
        for name, files in found.items():
            for file in files:
                self.view.say(f"{name}: {file.name} belongs to no step; it is kept under unassigned", "warning")
                self.take.note_stray(name, file)
        for name, error in errors.items():
            self.transfers.failures.setdefault(name, f"its card could not be listed at the end: {error}")

    def clear_cards(self) -> tuple[int, list[str]]:
        """Delete from the cards what is verified on disk, now and byte by byte; returns (deleted, problems).

        Only on the operator's explicit order.
        """
        from .take import verify_image

        state = self.take.state()
        names = {self.take.rig.camera(name).serial: name for name in self.crew.names}
        deleted, problems = 0, []
        for file in state.files:
            if file.key in state.cleared or file.serial not in names or not state.in_body(file.key):
                continue
            if wrong := verify_image(self.take.folder, file):
                problems.append(f"data/{file.path} {wrong}; its original stays on the card")
                continue
            name = names[file.serial]
            _, errors = self.crew.each(lambda body, f=file: self._delete(body, f.key), [name])
            if errors:
                problems.append(f"{name}: {file.card_name} cannot be deleted: {errors[name]}")
                continue
            deleted += 1
        return deleted, problems

    def _delete(self, name: str, key: CardKey) -> None:
        camera = self.crew.cameras[name]
        for listed in camera.list_files():
            if (listed.folder, listed.name) == (key.folder, key.name):
                camera.delete(listed)
                self.take.log.append("cleared", serial=key.serial, card_folder=key.folder, card_name=key.name)
                return
        raise CameraError("not_found", "it is not on the card any more", None)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self.crew.close(politely=kind is None)
        if self.box is not None:
            self.box.close()
