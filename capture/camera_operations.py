"""What a camera worker can do with its camera: set up, look, release, wait for files, fetch, delete."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from .camera_device import Device, Widget, library
from .camera_faults import BUSY, camera_error
from .camera_messages import CameraError, CameraStatus, CardFile, Download, Press
from .camera_settings import Meaning, Wanted, choose, describe_wanted, meanings, read_battery_percent, says
from .verified_write import VerifiedWriter, WriteError

SPIN_S = 0.001
"""How long before its instant a release stops sleeping: long enough for a late wake-up, short on a shared core."""
POLL_S = 0.005
PROGRESS_S = 0.1
SETTLE_S = 2.0
"""How long a body may stay busy before it takes a setting, or the end of a release."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.004, 0.03
DRAIN_EVENTS, DRAIN_S = 64, 0.02
"""Bounds of looking through what a camera has announced: some drivers repeat themselves without end."""


class Operations:
    """A device and what is known of its card. All failures are CameraError."""

    def __init__(self, device: Device):
        self.device = device
        self.known: set[tuple[str, str]] = set()
        self._found: list[CardFile] = []
        """New files that a directory listing showed, not handed out yet."""
        self._early: set[tuple[str, str]] = set()
        """Files of this session that a listing showed; their event may still come."""

    def learn_card(self, known: Sequence[tuple[str, str]] | None) -> None:
        """Note which files are on the card; those not in `known`, what an earlier worker had seen, are new."""
        try:
            if known is None:
                self.known = set(self.device.list_names())
            else:
                self.known = {(folder, name) for folder, name in known}
                self._compare_card()
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "list") from error

    def apply(self, values: Wanted, require: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Set everything, read it back from the body: (label by meaning, notes on what could not be done).

        Raises CameraError "setting" or "denied" when a required meaning has no widget, no matching choice, is refused,
        or reads back as something else.
        """
        wanted = meanings(values)
        try:
            widgets = self.device.settings()
            changed = False
            for meaning in wanted:
                widget = _widget(meaning, widgets)
                # The capture target's label is libgphoto2's wish, not the body's state: writing it shows a refusal.
                if widget is None or (says(meaning, widget.label) and meaning.name != "target"):
                    continue
                if self._set(meaning, widget, meaning.firm or meaning.name in require):
                    changed = changed or not says(meaning, widget.label)
                    if meaning.name == "exposure_mode":
                        widgets = self.device.settings()  # other modes offer other choices
            # libgphoto2 notes what it wrote to an EOS body as the body's value. Only a new session tells the truth.
            if changed and "eosremoterelease" in widgets:
                self._new_session()
            if changed:
                widgets = self.device.settings()
            self.device.prepare_release()
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "setting") from error
        return self._compare(wanted, widgets, require)

    def _set(self, meaning: Meaning, widget: Widget, required: bool) -> bool:
        label = choose(meaning, widget.choices)
        if not widget.choices and not widget.readonly:
            label = str(meaning.wanted)
        if label is None or widget.readonly:
            if required:
                raise CameraError("setting", self._no_choice(meaning, widget))
            return False
        try:
            self._write(widget, label)
        except library().GPhoto2Error as error:
            problem = camera_error(self.device, error, "setting")
            if problem.kind == "lost" or required:
                message = f'{problem}: {widget.name} = "{label}"; {meaning.advice}'.rstrip("; ")
                raise CameraError(problem.kind, message, problem.code) from error
            return False
        return True

    def _write(self, widget: Widget, label: str) -> None:
        give_up_s = monotonic() + SETTLE_S
        while True:
            try:
                self.device.write(widget, label)
                return
            except library().GPhoto2Error as error:
                if error.code != BUSY or monotonic() > give_up_s:
                    raise
            time.sleep(LONGEST_PAUSE_S)

    def _compare(
        self, wanted: Sequence[Meaning], widgets: dict[str, Widget], require: Sequence[str]
    ) -> tuple[dict[str, str], list[str]]:
        labels: dict[str, str] = {}
        notes: list[str] = []
        for meaning in wanted:
            widget = _widget(meaning, widgets)
            required = meaning.name in require or (meaning.firm and widget is not None)
            if widget is None:
                message = f"this body has no setting {' or '.join(meaning.widgets)}"
            elif says(meaning, widget.label):
                labels[meaning.name] = widget.label
                continue
            else:
                labels[meaning.name] = widget.label
                message = f'{widget.name} is "{widget.label}", expected {describe_wanted(meaning)}'
                message = f"{message}: {meaning.advice}" if meaning.advice else message
            if required:
                raise CameraError("setting", f"camera at {self.device.port}: {message}")
            notes.append(f"{meaning.name}: {message}")
        return labels, notes

    def _no_choice(self, meaning: Meaning, widget: Widget) -> str:
        choices = ", ".join(f'"{choice}"' for choice in widget.choices) or "none"
        text = f"camera at {self.device.port}: no choice of {widget.name} means {describe_wanted(meaning)}"
        return f"{text}; found {choices}. {meaning.advice or 'Change the value in the rig file'}"

    def preflight(self) -> CameraStatus:
        """Battery, space, lens, focus switch and clock as the body reports them."""
        try:
            widgets = self.device.settings()
            free_bytes = self.device.free_bytes()
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "setting") from error

        def label(*names: str) -> str | None:
            return next((w.label.strip() for n in names if (w := widgets.get(n)) is not None and w.label.strip()), None)

        battery, shots = label("batterylevel"), label("availableshots")
        clock = label("datetimeutc", "datetime")
        return CameraStatus(
            battery_percent=None if battery is None else read_battery_percent(battery),
            shots_left=int(shots) if shots is not None and shots.isdigit() else None,
            free_bytes=free_bytes,
            lens=label("lensname"),
            focus=label("focusmode"),
            clock_offset_s=float(clock) - self.device.clock_read_s if clock is not None and clock.isdigit() else None,
            exposure_mode=label("autoexposuremode", "expprogram"),
            drive_mode=label("drivemode", "capturemode"),
        )

    def press(self, at_s: float, give_up_s: float) -> Press:
        """Release at `at_s`; while the body is busy, try again until `give_up_s`. Both are monotonic times."""
        stray: list[CardFile] = []
        retries, pause_s = 0, FIRST_PAUSE_S
        try:
            self.device.prepare_release()
            while at_s - monotonic() > 2 * POLL_S:
                stray += self._new_files(POLL_S)
            # What was announced before this release does not belong to it.
            stray += self._drain()
            _wait_until(at_s)
            while True:
                started_s = monotonic()
                try:
                    self.device.press()
                    break
                except library().GPhoto2Error as error:
                    if error.code != BUSY or monotonic() + pause_s > give_up_s:
                        raise
                retries += 1
                resume_s = monotonic() + pause_s
                stray += self._drain()
                _wait_until(resume_s)
                pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
            ended_s = monotonic()
        except library().GPhoto2Error as error:
            self._found = stray + self._found  # the next answer tells of them
            raise camera_error(self.device, error, "press") from error
        self._let_go(ended_s + SETTLE_S)
        return Press(started_s, ended_s, retries, tuple(stray))

    def _let_go(self, give_up_s: float) -> None:
        while True:
            try:
                self.device.release()
                return
            except library().GPhoto2Error as error:
                if error.code != BUSY or monotonic() > give_up_s:
                    raise camera_error(self.device, error, "press") from error
                time.sleep(POLL_S)

    def _new_files(self, timeout_s: float) -> list[CardFile]:
        """Files that became known within `timeout_s` and were not handed out yet."""
        if self._found:
            found, self._found = self._found, []
            return found
        return self._admit(self.device.next_file(timeout_s)[0])

    def _drain(self) -> list[CardFile]:
        """All files that became known by now."""
        files, self._found = self._found, []
        give_up_s = monotonic() + DRAIN_S
        for _ in range(DRAIN_EVENTS):
            file, quiet = self.device.next_file(0)
            files += self._admit(file)
            if quiet or monotonic() > give_up_s:
                break
        return files

    def _admit(self, file: CardFile | None) -> list[CardFile]:
        # An event is believed even when the name is known: another card may be in, or the numbering start again.
        if file is None:
            return []
        if (file.folder, file.name) in self._early:
            self._early.remove((file.folder, file.name))
            return []
        if file.folder in ("", "/"):
            raise CameraError(
                "setting",
                f"camera at {self.device.port} keeps its photographs in its own memory, not on the card: "
                "set capturetarget to the memory card",
            )
        self.known.add((file.folder, file.name))
        return [file]

    def _new_session(self) -> None:
        """Begin a session afresh without losing a file: the events that were pending are gone with the old one."""
        self.device.reopen()
        self._compare_card()

    def _compare_card(self) -> None:
        self._early.clear()
        for folder, name in self.device.list_names():
            if (folder, name) not in self.known:
                self.known.add((folder, name))
                self._early.add((folder, name))
                self._found.append(self.device.describe(folder, name, seen_s=monotonic(), via="listing"))

    def wait_files(self, count: int, deadline_s: float) -> list[CardFile]:
        """Files that appear until there are `count`, at most until `deadline_s`; then the card itself is asked.

        Further files announced by then are in the result, too; with 0 it is all that appear until the deadline.
        Raises CameraError "timeout" with the files that came.
        """
        files: list[CardFile] = []
        try:
            while (len(files) < count or not count) and (left_s := deadline_s - monotonic()) > 0:
                files += self._new_files(min(left_s, POLL_S))
            if len(files) < count:
                self._new_session()  # libgphoto2 remembers directories: only a new session reads them again
                self.device.prepare_release()
            files += self._drain()
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "events") from error
        if len(files) < count:
            raise CameraError(
                "timeout",
                f"camera at {self.device.port}: {len(files)} of {count} photographs came in time",
                files=tuple(files),
            )
        return files

    def list_files(self) -> list[CardFile]:
        """Everything on the card, by a new session."""
        try:
            self._new_session()
            files = [self.device.describe(*pair, via="listing") for pair in self.device.list_names()]
            self.device.prepare_release()
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "list") from error
        return files

    def download(self, file: CardFile, destination: Path, progress: Callable[[int], None]) -> Download:
        """Bring a file to this computer, verified; `progress` gets the bytes so far, at most ten times a second."""
        next_s = -math.inf
        try:
            with VerifiedWriter(destination) as writer:
                for block in self.device.blocks(file):
                    writer.write(block)
                    if (now_s := monotonic()) >= next_s:
                        progress(writer.bytes)
                        next_s = now_s + PROGRESS_S
                return writer.finish(file.bytes)
        except WriteError as error:
            raise CameraError("truncated" if error.kind == "truncated" else "io", str(error)) from error
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "download") from error

    def delete(self, file: CardFile) -> None:
        """Delete a file from the card, if it is still the file that is meant."""
        try:
            there = self.device.describe(file.folder, file.name)
            if there.bytes != file.bytes:
                raise CameraError(
                    "failed", f"{file.path} has {there.bytes:,} bytes, not {file.bytes:,}: not deleted from the card"
                )
            self.device.delete(file)
        except library().GPhoto2Error as error:
            raise camera_error(self.device, error, "delete") from error
        self.known.discard((file.folder, file.name))


def _widget(meaning: Meaning, widgets: dict[str, Widget]) -> Widget | None:
    return next((widgets[name] for name in meaning.widgets if name in widgets), None)


def _wait_until(at_s: float) -> None:
    if (left_s := at_s - monotonic() - SPIN_S) > 0:
        time.sleep(left_s)
    while monotonic() < at_s:
        pass
