"""Render a calibration take: board, balls, card, chart or darkness as the rig's cameras would deliver them.

Flow: rig + kind -> plan (capture/calibration_plan.py) -> real rig and real placements -> per shot: light -> sensor ->
TIFF and DNG. The folder is laid out as a rendered scan; a rerun continues with what is missing.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..capture.calibration_plan import calibration_plan
from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.plan import Shot
from ..capture.rig_models import Rig
from .frame_files import write_frame
from .scan_folder import ScanFolder
from .sensor import Sensor, expose
from .studio_options import memory_available_bytes
from .targets_scene import TargetOptions, TargetScene
from .targets_truth import target_truth_files, write_target_truth

TARGETS_VERSION = 1
"""Goes up when the same options give other pixels; part of the content hash."""
BYTES_PER_PIXEL = 210
"""Peak memory of one image in the making, measured."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) whenever something is done or starts."""


def render_calibration(
    rig: Rig, kind: str, options: TargetOptions, out: Path, progress: Progress = lambda what, done, total: None
) -> Path:
    """Render a calibration take of `kind` (board, sphere, flat, chart, dark) into `out`; returns `out`.

    Continues an interrupted one. Raises UserError for what cannot be rendered or a folder that holds something else;
    nothing is written then.
    """
    plan = calibration_plan(rig, kind)
    workers = _check(rig, options)
    content = {
        "render_version": TARGETS_VERSION,
        "calibration": plan.kind,
        "options": options.model_dump(),
        "rig": rig.model_dump(mode="json"),
    }
    folder = ScanFolder(Path(out), content)
    missing = [shot for shot in plan.shots if not folder.done(*shot_files(shot))]
    truth_missing = not folder.done(*target_truth_files(plan.kind))
    total = len(plan.shots) + 1
    done = total - len(missing) - truth_missing
    if missing or truth_missing:
        scene = TargetScene(rig, options, plan)
        folder.start()
        if truth_missing:
            progress("truth", done, total)
            write_target_truth(folder, rig, options, scene)
            done += 1
        pool = ThreadPoolExecutor(workers)
        try:
            jobs = [pool.submit(_write_shot, folder.folder, scene, shot) for shot in missing]
            for shot, job in zip(missing, jobs, strict=True):
                progress(f"image {shot.stem}", done, total)
                job.result()
                folder.record(*shot_files(shot))
                done += 1
        finally:
            pool.shutdown(cancel_futures=True)
    folder.finish()
    progress("complete", total, total)
    return folder.folder


def shot_files(shot: Shot) -> list[str]:
    """Names of one exposure's files, relative to the folder."""
    return [f"images/{shot.stem}.tif", f"raw/{shot.stem}.dng"]


def _check(rig: Rig, options: TargetOptions) -> int:
    """Refuse what cannot be rendered; how many images to make at a time."""
    width, height = options.width_px, options.height_px
    if width % 2 or height % 2:
        raise UserError(f"size {width}x{height}: a raw mosaic needs an even width and height")
    for camera in rig.cameras:
        PinholeCamera.from_rig(camera).scaled(width, height)
    needed, available = BYTES_PER_PIXEL * width * height, memory_available_bytes()
    if needed > available:
        raise UserError(
            f"size {width}x{height} needs about {needed / 2**30:.1f} GiB of memory, {available / 2**30:.1f} GiB are "
            "free; choose a smaller --size"
        )
    return max(1, min(os.cpu_count() or 1, available // (2 * needed)))


def _write_shot(root: Path, scene: TargetScene, shot: Shot) -> None:
    options, sensor, camera = scene.options, Sensor(), scene.rig.camera(shot.camera)
    kind = scene.plan.kind.encode().hex()
    rng = np.random.Generator(np.random.PCG64([options.seed, int(kind, 16) % 2**32, shot.index]))
    numbers = expose(scene.light(shot), camera.exposure, sensor, rng if options.noise else None)
    image, raw = shot_files(shot)
    minute, second = divmod(shot.step, 60)
    write_frame(root / image, root / raw, numbers, sensor, camera, shot, minute, second)
