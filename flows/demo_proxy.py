"""The demo's faces from one picture: a virtual portrait, whose truth is known, and a real photograph."""

import json
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
from ..reconstruct.uv_charts import uv_charts
from . import html
from .pictures import map_with_scale, shrink
from .proxy_command import find_detector, weights_of
from .proxy_stage import ProxyTools
from .synthesize_stage import DETAIL, PROXY, SynthesisTools, run_synthesis

PHOTO_LEAST_PX = 80
"""The sample photograph's face is 92 px across: enough for a proxy, too little for skin."""
MOST_MM = 6.0
"""Mean distance between fitted and true face, moved and scaled onto each other, that a demo may have."""


SIZE, EDGE_MM = 1024, 1.0
"""Of the displacement maps and the detailed meshes: the demo's pictures hold no more."""
BAND_MM = (1.0, 8.0)


def demo_faces(out: Path, portrait: Path) -> None:
    """Proxy and detail of out/portrait with its own landmarks, and of a photograph by the landmark network.

    Results go to out/faces/NAME/proxy and out/faces/NAME/detail.
    """
    import skimage.data

    network = load_dfdn()
    tools = ProxyTools(
        load_face_model("procedural"), SIZE, find_detector("network", None), least_face_px=1,
        detector_id=weights_of("network", None),
    )  # fmt: skip
    synthesis = SynthesisTools([network], [f"shipped: {network.about.trained_on}"], tools, SIZE, edge_mm=EDGE_MM)
    run_synthesis(portrait / "portrait.png", out / "faces/portrait", synthesis, portrait / "truth.json")
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


def proxy_parts(out: Path, subject: int) -> tuple[list[str], bool]:
    """What the demo's report shows of the proxies, and whether they are good."""
    error_mm = shape_error_mm(out, subject)
    rows, pictures = [], []
    for name, words in (
        ("portrait", "virtual portrait"),
        ("photo", "a real photograph: astronaut, NASA, public domain"),
    ):
        folder = out / "faces" / name / PROXY
        content = json.loads((folder / "proxy.json").read_text(encoding="utf-8"))
        pose = ", ".join(f"{key} {value:+.0f}" for key, value in content["pose_deg"].items())
        rows.append([words, pose, f"{content['confidence']:.2f}", (folder / "report.html").relative_to(out).as_posix()])
        for file, caption in (("overlay.png", "landmarks and fitted outline"), ("texture.png", "texture")):
            picture = cv2.imread(str(folder / file))
            assert picture is not None
            pictures.append((f"{words}: {caption}", np.ascontiguousarray(picture[..., ::-1])))
    passed = error_mm < MOST_MM
    verdict = "" if passed else f" (more than {MOST_MM:g} mm: bad)"
    return [
        html.heading(
            "Proxy: a photograph in texture space", "Face model, expression, light and albedo of one picture."
        ),
        html.table(rows, ("picture", "pose, degrees", "confidence", "report")),
        html.table([["shape of the portrait's proxy against the truth", f"{error_mm:.2f} mm mean{verdict}"]]),
        html.gallery(pictures, 420),
    ], passed


def detail_parts(out: Path) -> list[str]:
    """What the demo's report shows of the detail, the portrait's beside its truth."""
    model, folder = load_face_model("procedural"), out / "faces/portrait"
    truth = portrait_maps(open_portrait(out / "portrait"), model, uv_charts(model, SIZE), proxy=folder / PROXY)
    found_mm = read_tiff(folder / DETAIL / "displacement_mm.tif")[0]
    shortest = max(BAND_MM[0], 2 * truth.texel_mm)
    ours, true = (
        band(field, truth.valid, shortest, BAND_MM[1], truth.texel_mm)[truth.valid].astype(np.float64)
        for field in (found_mm, truth.displacement_mm)
    )
    error, zero = (1000 * float(np.sqrt(np.mean(x**2))) for x in (ours - true, true))
    rows, columns = np.nonzero(truth.valid)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    maps = [(words, map_with_scale(shrink(np.where(truth.valid, field, np.nan)[window], 420), "mm", True, 0.3))
            for words, field in (("predicted", found_mm), ("true displacement", truth.displacement_mm))]  # fmt: skip
    again = []
    for name in ("portrait", "photo"):
        picture = cv2.imread(str(out / "faces" / name / DETAIL / "rerender.png"))
        assert picture is not None
        again.append((f"{name}, re-rendered with the predicted detail", np.ascontiguousarray(picture[..., ::-1])))
    reports = ", ".join(f"faces/{name}/{DETAIL}/report.html" for name in ("portrait", "photo"))
    return [
        html.heading(
            "Detail: wrinkles from one picture",
            "Predicted by the network that comes with mesoface, trained on synthetic heads only. With a 3D view: "
            f"{reports}.",
        ),
        html.table(
            [
                ["error of the portrait's displacement, 1 to 8 mm", f"{error:.1f} micrometres"],
                ["that of a zero map", f"{zero:.1f} micrometres"],
                ["correlation with the truth", f"{np.corrcoef(ours, true)[0, 1]:.2f}"],
            ]
        ),
        html.gallery([*maps, *again], 420),
    ]
