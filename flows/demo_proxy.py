"""The demo's proxies: of the virtual portrait, whose shape is known, and of a real photograph."""

import json
from pathlib import Path

import cv2
import numpy as np

from ..capture.image_files import write_png
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import FACE_REGIONS
from ..reconstruct.head import subject_coefficients
from ..reconstruct.proxy_files import read_proxy
from . import html
from .proxy_command import find_detector, weights_of
from .proxy_stage import ProxyTools, run_proxy

PHOTO_LEAST_PX = 80
"""The sample photograph's face is 92 px across: enough for a proxy, too little for skin."""
MOST_MM = 6.0
"""Mean distance between fitted and true face, moved and scaled onto each other, that a demo may have."""


def demo_proxies(out: Path, portrait: Path) -> None:
    """out/proxies/portrait from the portrait's own landmarks; out/proxies/photo by the landmark network."""
    import skimage.data

    tools = ProxyTools(
        load_face_model("procedural"), 1024, find_detector("network", None), least_face_px=1,
        detector_id=weights_of("network", None),
    )  # fmt: skip
    run_proxy(portrait / "portrait.png", out / "proxies/portrait", tools, portrait / "truth.json")
    photo = out / "photo.png"
    if not photo.is_file():
        write_png(photo, skimage.data.astronaut())
    tools.least_face_px = PHOTO_LEAST_PX
    run_proxy(photo, out / "proxies/photo", tools)


def shape_error_mm(out: Path, subject: int) -> float:
    """Mean distance over the face between the portrait's proxy and the neutral-identity truth of its subject.

    The true expression is taken from the fit, so identity alone is judged; similarity transforms do not count.
    """
    model = load_face_model("procedural")
    proxy = read_proxy(out / "proxies/portrait")
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
        folder = out / "proxies" / name
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
