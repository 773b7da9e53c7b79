"""Measure one frame as its file arrives: one decoding, everything later checks need.

    facts = frame_facts("05_flash1_parallel.cr2", shot, rig)

About a second for 24 MP on one core; files are independent, so `measure_frames` spreads them over threads.
"""

import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .demosaic import demosaic
from .errors import UserError
from .plan import Shot
from .quality_detail import noise_at_mid_grey, noise_gain, sharpness
from .quality_face import face_window
from .quality_models import HISTOGRAM_BINS, HISTOGRAM_STOPS, FrameFacts
from .raw import RawImage, read_raw
from .rig_models import Rig

Image = NDArray[np.float32]

PREVIEW_ROWS = 200
# Pictures up to this width are looked at in full, wider ones in bins of whole 2 x 2 blocks.
VIEW_WIDTH_PX = 1000
# A pixel whose every colour is below this share of the white level is black.
BLACK_LEVEL = 0.003
CRC_ROWS = 8
# Noise of interpolated green in the band that sharpness looks at, over white noise: half as many pixels, smoothed.
INTERPOLATED_NOISE = 1.33


def frame_facts(path: str | Path, shot: Shot, rig: Rig) -> FrameFacts:
    """Measure the raw file of a shot.

    Any size with the aspect of the rig's sensor is measured; `judge` tells when it is not the rig's.
    Raises UserError when the file cannot be decoded or its aspect is not the sensor's.
    """
    start_s = time.perf_counter()
    sensor = rig.camera(shot.camera).sensor
    raw = read_raw(path, (sensor.width_px, sensor.height_px), any_scale=True)
    width, height = raw.size_px
    half = demosaic(raw.mosaic, raw.cfa, "half")
    half /= np.float32(raw.range_dn)
    view = _view(raw, half)
    detail = half if width > VIEW_WIDTH_PX else view
    window = face_window(rig, shot.camera, view.shape[1], view.shape[0])
    face = np.ascontiguousarray(window.cut(view), np.float32)
    lit = face[window.mask]
    gain, is_bound = noise_gain(raw, face_window(rig, shot.camera, width // 2, height // 2))
    detail_window = face_window(rig, shot.camera, detail.shape[1], detail.shape[0])
    # half-size green is the mean of two pixels
    green_noise = 0.0 if is_bound or gain is None else gain * (0.5 if detail is half else INTERPOLATED_NOISE)
    preview_size = (max(1, round(PREVIEW_ROWS * width / height)), PREVIEW_ROWS)
    mean_rgb = lit.mean(axis=0)
    return FrameFacts(
        shot=shot.index,
        stem=shot.stem,
        camera=shot.camera,
        file=Path(path).name,
        serial=raw.serial,
        model=raw.model,
        taken=raw.exif.taken,
        iso=raw.exif.iso,
        aperture=raw.exif.aperture,
        shutter_s=raw.exif.shutter_s,
        width_px=width,
        height_px=height,
        clipped_share=float(np.count_nonzero(raw.mosaic >= raw.clipped_dn) / raw.mosaic.size),
        black_share=float((face.max(axis=2) < BLACK_LEVEL).mean()),
        mean_rgb=(float(mean_rgb[0]), float(mean_rgb[1]), float(mean_rgb[2])),
        face_level=float(mean_rgb[1]),
        brightest=float(np.percentile(view.max(axis=2), 99.9)),
        histogram=_histogram(view),
        sharpness=sharpness(np.ascontiguousarray(detail[..., 1]), detail_window, green_noise),
        noise=None if gain is None else noise_at_mid_grey(gain),
        noise_is_bound=is_bound,
        fingerprint=_fingerprint(raw),
        mm_per_px=window.mm_per_px,
        view_px=(view.shape[1], view.shape[0]),
        seconds=time.perf_counter() - start_s,
        preview=cv2.resize(view, preview_size, interpolation=cv2.INTER_AREA),
        face=face,
    )


def measure_frames(
    paths: Mapping[int, str | Path],
    shots: Iterable[Shot],
    rig: Rig,
    workers: int | None = None,
    done: Callable[[int], None] = lambda index: None,
) -> tuple[dict[int, FrameFacts], dict[int, str]]:
    """`frame_facts` of many files at once, in threads: decoding and image processing run outside Python's lock.

    Args:
        paths: raw file by shot index. workers: threads, default one per core, about 0.5 GB each at 24 MP.
        done: called with the shot's index after each frame.

    Returns the facts by shot index, and the reason by shot index for files that cannot be read.
    """
    wanted = [shot for shot in shots if shot.index in paths]
    facts: dict[int, FrameFacts] = {}
    unreadable: dict[int, str] = {}

    def measure(shot: Shot) -> None:
        try:
            facts[shot.index] = frame_facts(paths[shot.index], shot, rig)
        except UserError as error:
            unreadable[shot.index] = str(error)
        done(shot.index)

    with ThreadPoolExecutor(workers or cpu_count() or 1) as pool:
        list(pool.map(measure, wanted))
    return facts, unreadable


def _view(raw: RawImage, half: Image) -> Image:
    """Linear RGB at most about VIEW_WIDTH_PX wide, shares of the white level."""
    width, _ = raw.size_px
    if width <= VIEW_WIDTH_PX:
        view = demosaic(raw.mosaic, raw.cfa, "malvar")
        view /= np.float32(raw.range_dn)
        return view
    bins = max(1, round(half.shape[1] / VIEW_WIDTH_PX))
    size = (half.shape[1] // bins, half.shape[0] // bins)
    return np.asarray(cv2.resize(half, size, interpolation=cv2.INTER_AREA), np.float32) if bins > 1 else half


def _histogram(view: Image) -> tuple[int, ...]:
    level = view.max(axis=2)
    stops = np.log2(np.maximum(level, 2.0**-HISTOGRAM_STOPS)) + HISTOGRAM_STOPS
    bins = np.clip(stops * (HISTOGRAM_BINS / HISTOGRAM_STOPS), 0, HISTOGRAM_BINS - 1).astype(np.int64)
    return tuple(int(n) for n in np.bincount(bins.ravel(), minlength=HISTOGRAM_BINS))


def _fingerprint(raw: RawImage) -> str:
    """CRC-32 of every eighth row: noise makes it different for any two exposures."""
    return f"{zlib.crc32(np.ascontiguousarray(raw.mosaic[::CRC_ROWS]).data):08x}"
