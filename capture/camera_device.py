"""One camera through libgphoto2: the only file that imports gphoto2, used only inside worker processes.

Thin and synchronous: errors come out as gphoto2.GPhoto2Error with libgphoto2's code; `camera_faults` puts them in
words. libgphoto2 keeps much state per process, may hang for minutes and may crash; hence the processes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import Any

from .camera_messages import CameraError, CameraIdentity, CardFile
from .camera_settings import press_and_release

BLOCK = 1 << 20
NOT_SUPPORTED = -6
EMPTY_POLL_S = 0.002


@dataclass(frozen=True)
class Widget:
    """One entry of a camera's configuration: what it says, what it could say (empty: free text or a switch)."""

    name: str
    label: str
    choices: tuple[str, ...]
    readonly: bool
    toggle: bool


def library() -> Any:
    """The module gphoto2 (untyped). Raises CameraError when it is not installed."""
    try:
        import gphoto2
    except ImportError as error:
        message = "cameras are driven by the package gphoto2, which is not installed here: pip install gphoto2"
        raise CameraError("failed", f"{message} ({error})") from None
    return gphoto2


def list_ports() -> list[tuple[str, str]]:
    """(port, model) of every camera on USB, as far as this process may see them."""
    gp = library()
    abilities, ports = gp.CameraAbilitiesList(), gp.PortInfoList()
    abilities.load()
    ports.load()
    found = abilities.detect(ports)
    return [(found.get_value(i), found.get_name(i)) for i in range(found.count())]


class Device:
    """A camera at one port. Call `open` first; use it from one thread only."""

    def __init__(self, port: str):
        self.port = port
        self.clock_read_s = 0.0
        """Unix time at which the camera told its date and time; EOS bodies tell it once a session."""
        self._camera: Any = None
        self._make: Callable[[], Any] | None = None
        self._fresh = True
        self._press: Callable[[], None] | None = None
        self._release: Callable[[], None] | None = None

    @property
    def connected(self) -> bool:
        """Whether a session is open; it may be dead all the same."""
        return self._camera is not None

    def open(self) -> None:
        """Connect."""
        gp = library()
        abilities, ports = gp.CameraAbilitiesList(), gp.PortInfoList()
        abilities.load()
        ports.load()
        # An equal model on another port must not be taken: always both, model and port (libgphoto2 issue 686).
        model = "PTP/IP Camera"
        if not self.port.startswith("ptpip:"):
            found = abilities.detect(ports)
            models = {found.get_value(i): found.get_name(i) for i in range(found.count())}
            if self.port not in models:
                raise gp.GPhoto2Error(gp.GP_ERROR_MODEL_NOT_FOUND)
            model = models[self.port]
        model_index, port_index = abilities.lookup_model(model), ports.lookup_path(self.port)

        def make() -> Any:
            # Both lists live on in this function: what is taken from them points into their memory.
            camera = gp.Camera()
            camera.set_abilities(abilities[model_index])
            camera.set_port_info(ports[port_index])
            camera.init()
            return camera

        self._make = make
        self._camera = make()

    def reopen(self) -> None:
        """Leave the session and begin a new one: the body tells all its settings afresh, pending events are lost."""
        assert self._make is not None
        self.close()
        # A new object: libgphoto2 may crash when one is used again after its exit.
        self._camera = self._make()

    def close(self) -> None:
        """Leave the session politely."""
        self._press = self._release = None
        self._fresh = True
        if self._camera is not None:
            camera, self._camera = self._camera, None
            camera.exit()

    def identity(self) -> CameraIdentity:
        """Port, model, serial and firmware. An EOS body's own number (EXIF carries it) goes before the PTP one."""
        widgets = self.settings()

        def read(*names: str) -> str:
            return next((w.label.strip() for name in names if (w := widgets.get(name)) and w.label.strip()), "")

        return CameraIdentity(
            self.port, read("cameramodel"), read("eosserialnumber", "serialnumber"), read("deviceversion")
        )

    def settings(self) -> dict[str, Widget]:
        """The whole configuration by widget name."""
        gp = library()
        kinds_with_choices = (gp.GP_WIDGET_RADIO, gp.GP_WIDGET_MENU)
        widgets: dict[str, Widget] = {}
        pending = [self._camera.get_config()]
        asked_s = time()
        while pending:
            widget = pending.pop()
            kind = widget.get_type()
            if kind in (gp.GP_WIDGET_WINDOW, gp.GP_WIDGET_SECTION):
                pending.extend(widget.get_child(i) for i in reversed(range(widget.count_children())))
                continue
            choices: tuple[str, ...] = ()
            if kind in kinds_with_choices:
                choices = tuple(widget.get_choice(i) for i in range(widget.count_choices()))
            name = widget.get_name()
            toggle = kind == gp.GP_WIDGET_TOGGLE
            # A later entry of the same name (Nikon bodies have some) does not hide the first.
            entry = Widget(name, _text(widget.get_value()), choices, bool(widget.get_readonly()), toggle)
            widgets.setdefault(name, entry)
        if self._fresh or "eosremoterelease" not in widgets:
            self.clock_read_s = asked_s
        self._fresh = False
        return widgets

    def setting(self, name: str) -> str | None:
        """What one widget says; None when the camera lacks it."""
        gp = library()
        try:
            return _text(self._camera.get_single_config(name).get_value())
        except gp.GPhoto2Error as error:
            if error.code == gp.GP_ERROR_BAD_PARAMETERS:
                return None
            raise

    def write(self, widget: Widget, label: str) -> None:
        """Set one widget. `label` must be one of its choices: libgphoto2 may crash on others."""
        entry = self._camera.get_single_config(widget.name)
        entry.set_value(int(label) if widget.toggle else label)
        self._camera.set_single_config(widget.name, entry)

    def prepare_release(self) -> None:
        """Look up, once a session, how this body is released, so that `press` is a single call."""
        gp = library()
        if self._press is not None:
            return

        def push(entry: Any, label: str) -> Callable[[], None]:
            def call() -> None:
                entry.set_value(label)
                self._camera.set_single_config("eosremoterelease", entry)

            return call

        try:
            entry = self._camera.get_single_config("eosremoterelease")
            choices = tuple(entry.get_choice(i) for i in range(entry.count_choices()))
        except gp.GPhoto2Error as error:
            if error.code != gp.GP_ERROR_BAD_PARAMETERS:
                raise
            entry, choices = None, ()
        labels = press_and_release(choices)
        if labels is None:
            self._press, self._release = self._camera.trigger_capture, lambda: None
        else:
            self._press, self._release = push(entry, labels[0]), push(entry, labels[1])

    def press(self) -> None:
        """Release the shutter; returns when the body has accepted it. Raises code -110 while it is busy."""
        self.prepare_release()
        assert self._press is not None
        self._press()

    def release(self) -> None:
        """Let go of the button, where the body knows one."""
        if self._release is not None:
            self._release()

    def next_file(self, timeout_s: float) -> tuple[CardFile | None, bool]:
        """(the next file the camera announces, whether it has nothing more to tell just now).

        Waits up to `timeout_s`; news of another kind ends the wait early.
        """
        gp = library()
        started_s = monotonic()
        kind, data = self._camera.wait_for_event(max(0, round(timeout_s * 1000)))
        if kind == gp.GP_EVENT_FILE_ADDED:
            seen_s = monotonic()
            return self.describe(data.folder, data.name, seen_s=seen_s), False
        # Some drivers return at once when there is nothing to tell, or tell the same change for ever.
        if monotonic() - started_s < EMPTY_POLL_S < timeout_s:
            sleep(EMPTY_POLL_S)
        return None, kind == gp.GP_EVENT_TIMEOUT

    def describe(self, folder: str, name: str, **fields: Any) -> CardFile:
        """Size and time of a file on the card."""
        gp = library()
        info = self._camera.file_get_info(folder, name).file
        time_s = float(info.mtime) if info.fields & gp.GP_FILE_INFO_MTIME and info.mtime else None
        return CardFile(folder, name, int(info.size), time_s, **fields)

    def list_names(self) -> list[tuple[str, str]]:
        """(folder, name) of every file on the card."""
        names: list[tuple[str, str]] = []
        pending = ["/"]
        while pending:
            folder = pending.pop()
            files = self._camera.folder_list_files(folder)
            names += [(folder, files.get_name(i)) for i in range(files.count())]
            folders = self._camera.folder_list_folders(folder)
            pending += [f"{folder.rstrip('/')}/{folders.get_name(i)}" for i in range(folders.count())]
        return sorted(names)

    def blocks(self, file: CardFile) -> Iterator[memoryview]:
        """The bytes of a file in pieces; each piece is valid until the next one is asked for."""
        gp = library()
        buffer = bytearray(min(BLOCK, max(file.bytes, 1)))
        offset = 0
        try:
            while offset < file.bytes:
                count = self._camera.file_read(file.folder, file.name, gp.GP_FILE_TYPE_NORMAL, offset, buffer)
                if not count:
                    return
                offset += count
                yield memoryview(buffer)[:count]
            return
        except gp.GPhoto2Error as error:
            if error.code != NOT_SUPPORTED or offset:
                raise
        # Bodies that cannot send parts of a file. The CameraFile must stay alive while its bytes are read: the view
        # points into its memory.
        camera_file = self._camera.file_get(file.folder, file.name, gp.GP_FILE_TYPE_NORMAL)
        data = memoryview(camera_file.get_data_and_size())
        for start in range(0, len(data), BLOCK):
            yield data[start : start + BLOCK]

    def delete(self, file: CardFile) -> None:
        """Delete a file from the card."""
        self._camera.file_delete(file.folder, file.name)

    def free_bytes(self) -> int | None:
        """Free space of all cards together; asks the camera, so it also shows whether it still answers."""
        gp = library()
        stores = self._camera.get_storageinfo()
        free = [s.freekbytes * 1024 for s in stores if s.fields & gp.GP_STORAGEINFO_FREESPACEKBYTES]
        return sum(free) if free else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)
