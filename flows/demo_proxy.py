"""The demo's faces from one picture: a virtual portrait, whose truth is known, and a real photograph."""

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..capture.image_files import read_tiff, write_png
from ..dataset.portrait_maps import open_portrait, portrait_maps
from ..model.dfdn_model import load_dfdn
from ..reconstruct.detail_truth import band
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import FACE_REGIONS
from ..reconstruct.head import subject_coefficients
from ..reconstruct.proxy_files import read_proxy
from ..reconstruct.uv_charts import UvCharts, uv_charts
from . import html
from .demo_figures import Figure
from .demo_plan import DemoPlan
from .demo_steps import Shown
from .pictures import map_with_scale, shrink
from .proxy_command import find_detector, weights_of
from .proxy_stage import ProxyTools
from .synthesize_stage import DETAIL, PROXY, SynthesisTools, run_synthesis

PHOTO_LEAST_PX = 80
"""The sample photograph's face is 92 px across: enough for a proxy, too little for skin."""
SIZE, EDGE_MM = 1024, 1.0
"""Of the displacement maps and the detailed meshes: the demo's pictures hold no more."""
BAND_MM = (1.0, 8.0)
LIMIT_MM = 0.3
NAMES = {"portrait": "virtual portrait", "photo": "a real photograph: astronaut, NASA, public domain"}


def demo_faces(out: Path, shown: Shown) -> None:
    """Proxy and detail of out/portrait with its own landmarks, and of a photograph by the landmark network.

    Results go to out/faces/NAME/proxy and out/faces/NAME/detail, kept while they are valid.
    """
    import skimage.data

    network = load_dfdn()
    tools = ProxyTools(
        load_face_model("procedural"), SIZE, find_detector("network", None), least_face_px=1,
        detector_id=weights_of("network", None),
    )  # fmt: skip
    synthesis = SynthesisTools([network], [f"shipped: {network.about.trained_on}"], tools, SIZE, edge_mm=EDGE_MM)
    shown("portrait", 0, 2)
    run_synthesis(out / "portrait/portrait.png", out / "faces/portrait", synthesis, out / "portrait/truth.json")
    shown("photograph", 1, 2)
    photo = out / "photo.png"
    if not photo.is_file():
        write_png(photo, skimage.data.astronaut())
    tools.least_face_px = PHOTO_LEAST_PX
    run_synthesis(photo, out / "faces/photo", synthesis)


def shape_error_mm(out: Path, subject: int) -> float:
    """Mean distance over the face between the portrait's proxy and the neutral-identity truth of its subject.

    The true expression is taken from the fit, so identity alone is judged; similarity transforms do not count.
    """
    model = load_face_model("procedural")
    proxy = read_proxy(out / "faces/portrait" / PROXY)
    alpha = subject_coefficients(model, subject)[0]
    face = np.isin(model.regions, FACE_REGIONS)
    found = model.shape_mm(proxy.alpha, proxy.beta)[face].astype(np.float64)
    true = model.shape_mm(alpha, proxy.beta)[face].astype(np.float64)
    found, true = found - found.mean(0), true - true.mean(0)
    left, values, right = np.linalg.svd(found.T @ true)
    turn = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation, scale = left @ turn @ right, float((values * np.diag(turn)).sum() / (found**2).sum())
    return float(np.linalg.norm(scale * found @ rotation - true, axis=1).mean())


@cache
def _charts() -> UvCharts:
    return uv_charts(load_face_model("procedural"), SIZE)


def _portrait_heights(out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Predicted and true displacement (S, S) mm of the portrait, where both are known (S, S) bool, and mm per texel."""
    folder = out / "faces/portrait"
    truth = portrait_maps(
        open_portrait(out / "portrait"), load_face_model("procedural"), _charts(), proxy=folder / PROXY
    )
    return read_tiff(folder / DETAIL / "displacement_mm.tif")[0], truth.displacement_mm, truth.valid, truth.texel_mm


def face_figures(out: Path, plan: DemoPlan) -> list[Figure]:
    """Shape of the portrait's proxy, and its detail beside a zero map."""
    found_mm, true_mm, valid, texel_mm = _portrait_heights(out)
    ours, true = (
        band(field, valid, max(BAND_MM[0], 2 * texel_mm), BAND_MM[1], texel_mm)[valid].astype(np.float64)
        for field in (found_mm, true_mm)
    )
    share = float(np.sqrt(np.mean((ours - true) ** 2) / np.mean(true**2)))
    words = f"{BAND_MM[0]:g} to {BAND_MM[1]:g} mm"
    return [
        Figure("portrait: shape of the proxy, mean error", shape_error_mm(out, plan.portrait_subject), "mm",
               plan.bounds["proxy"], True, "synthesis"),
        Figure(f"portrait: error of the predicted detail, {words}", share, "of a zero map's", plan.bounds["portrait"],
               True, "synthesis"),
        Figure("portrait: correlation of the predicted detail with the truth", float(np.corrcoef(ours, true)[0, 1]), "",
               plan.bounds["portrait correlation"], False, "synthesis"),
    ]  # fmt: skip


def face_parts(out: Path) -> list[str]:
    """What the report shows of proxies and detail, the portrait's beside its truth."""
    found_mm, true_mm, valid, _ = _portrait_heights(out)
    rows, fits, again = [], [], []
    for name, words in NAMES.items():
        folder = out / "faces" / name
        content = json.loads((folder / PROXY / "proxy.json").read_text(encoding="utf-8"))
        pose = ", ".join(f"{key} {value:+.0f}" for key, value in content["pose_deg"].items())
        reports = ", ".join((folder / part / "report.html").relative_to(out).as_posix() for part in (PROXY, DETAIL))
        rows.append([words, pose, f"{content['confidence']:.2f}", reports])
        fits += [
            (f"{name}: {caption}", _picture(folder / PROXY / file))
            for file, caption in (("overlay.png", "landmarks and fitted outline"), ("texture.png", "texture"))
        ]
        again.append((f"{name}, re-rendered with the predicted detail", _picture(folder / DETAIL / "rerender.png")))
    rows_seen, columns_seen = np.nonzero(valid)
    window = (slice(rows_seen.min(), rows_seen.max() + 1), slice(columns_seen.min(), columns_seen.max() + 1))
    maps = [
        (
            f"portrait: {words}",
            map_with_scale(shrink(np.where(valid, field, np.nan)[window], 420), "mm", True, LIMIT_MM),
        )
        for words, field in (("predicted displacement", found_mm), ("true displacement", true_mm))
    ]
    return [
        html.table(rows, ("picture", "pose, degrees", "confidence", "reports, with a 3D view")),
        html.gallery(fits, 260),
        html.gallery([*maps, *again], 260),
    ]  # fmt: skip


def _picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.ascontiguousarray(picture[..., ::-1])
