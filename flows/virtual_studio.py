"""`--rig virtual`: a rendered studio behind simulated cameras and lights, started on demand or found running."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..capture.calibration_plan import calibration_plan
from ..capture.files import write_text
from ..capture.plan import take_plan
from ..capture.rig import example_rig_path, load_rig
from ..capture.rig_models import Rig
from ..capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig, scaled_rig_text
from ..capture.take_manifest import TakeKind
from ..reconstruct.studio import render_scan
from ..reconstruct.studio_options import StudioOptions, parse_size
from .studio_commands import progress_display

Progress = Callable[[str, int, int], None]


def cache_folder() -> Path:
    """Where rendered studios are kept between runs; $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mesoface" / "virtual"


def rendered_scan(rig_path: Path, options: StudioOptions, progress: Progress) -> RenderedFolder:
    """The frames of a scan, rendered now or taken from the cache (an interrupted rendering continues)."""
    rig = load_rig(rig_path)
    folder = cache_folder() / f"scan-{_fingerprint(rig_path, options)}"
    render_scan(rig, options, folder, progress)
    # The ambient frame is not rendered: without any lamp the simulated sensor records its noise.
    plan = tuple(shot for shot in take_plan(rig) if shot.light_mask)
    return RenderedFolder(folder, plan)


def rendered_targets(rig_path: Path, kind: TakeKind, options: StudioOptions, progress: Progress) -> RenderedFolder:
    """The frames of a calibration take."""
    from ..reconstruct.targets import render_calibration
    from ..reconstruct.targets_scene import TargetOptions

    rig = load_rig(rig_path)
    folder = cache_folder() / f"{kind}-{_fingerprint(rig_path, options)}"
    chosen = TargetOptions(width_px=options.width_px, height_px=options.height_px, seed=options.seed)
    render_calibration(rig, kind, chosen, folder, progress)
    return RenderedFolder(folder, calibration_plan(rig, kind).shots)


def virtual_folders(
    rig_path: Path, kinds: tuple[TakeKind, ...], size: str, subject: int, expression: str, motion_mm: float = 0.0
) -> tuple[RenderedFolder, ...]:
    """Rendered folders for takes of these kinds, with a progress display."""
    width, height = parse_size(size)
    options = StudioOptions(
        width_px=width, height_px=height, subject=subject, expression=expression, motion_mm=motion_mm
    )
    folders = []
    with progress_display() as display:
        task = display.add_task("virtual studio", total=None)

        def progress(what: str, done: int, total: int) -> None:
            display.update(task, description=what, completed=done, total=total)

        for kind in kinds:
            if kind == "scan":
                folders.append(rendered_scan(rig_path, options, progress))
            else:
                folders.append(rendered_targets(rig_path, kind, options, progress))
    return tuple(folders)


def virtual_rig_file(path: Path, size_px: tuple[int, int]) -> Path:
    """The rig file of a simulated rig: as `path`, with bodies that deliver frames of the rendered size."""
    text = scaled_rig_text(path.read_text(encoding="utf-8"), *size_px)
    made = cache_folder() / f"rig-{hashlib.sha256(text.encode()).hexdigest()[:12]}.toml"
    if not made.exists():
        write_text(made, text)
    return made


@contextmanager
def virtual_rig(kind: TakeKind, size: str, subject: int, expression: str) -> Iterator[VirtualRig]:
    """The simulated rig that `mesoface studio serve` runs, else one of its own for as long as the body lasts."""
    running = VirtualRig.running()
    if running is not None:
        yield running
        return
    path = virtual_rig_file(example_rig_path(), parse_size(size))
    folders = virtual_folders(path, (kind,), size, subject, expression)
    with VirtualRig.start(SimulatedStudio(path, folders)) as started:
        yield started


def _fingerprint(rig_path: Path, options: StudioOptions) -> str:
    return hashlib.sha256(rig_path.read_bytes() + options.model_dump_json().encode()).hexdigest()[:12]


def rig_of(virtual: VirtualRig) -> tuple[str, Rig]:
    """Text and content of a simulated rig's description."""
    return virtual.rig_path.read_text(), load_rig(virtual.rig_path)
