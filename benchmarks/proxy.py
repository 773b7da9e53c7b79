"""Error of the proxy fit on held-out identities against eos-py, and what an expression prior gains.

python benchmarks/proxy.py [--portraits 67] [--json FILE]

Portraits: subjects 1000, 1001, ... of the built-in model with a random expression (a named one at 30 to 100 %, plus two
random units up to 50 %), seen from 0.6 to 2.5 m at one size, at a random yaw of each bin and up to 10 degrees of pitch
and roll. Landmarks are the exact projections of the model's landmark vertices unless a row says otherwise ("noise": see
NOISE_MM). The constants of the fit were chosen on subjects 0 to 99. Error: mean distance of corresponding vertices in
mm after a similarity alignment over the face (forehead to chin, no ears, neck or scalp), every 4th vertex.

eos-py (pip install mesoface[eos]) gets the same model with its expression units as blend shapes, and every landmark as
a vertex. It returns NaN for some portraits; those are counted and left out of its mean.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mesoface.reconstruct.expressions import EXPRESSIONS
from mesoface.reconstruct.face_model import FACE_REGIONS, FaceModel, Region
from mesoface.reconstruct.face_procedural import procedural_face_model
from mesoface.reconstruct.head import subject_coefficients
from mesoface.reconstruct.landmarks import landmarks_from_points
from mesoface.reconstruct.portrait import PortraitOptions
from mesoface.reconstruct.proxy_contour import contour_strips, outline
from mesoface.reconstruct.proxy_fit import FitOptions, fit_proxy

BINS_DEG = ((0, 5), (5, 15), (15, 30))
FIRST_SUBJECT = 1000
DISTURBED = 0.15
"""Standard deviation of the error of the disturbed prior, per unit activation."""
NOISE_MM = 2.0
"""Standard deviation of noisy landmarks per axis, about 3 % of the distance of the eyes' outer corners, of which a
detector is capable; the jaw is then on the outline."""
AREA_MM = 8.0
Answer = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Portrait:
    alpha: np.ndarray
    beta: np.ndarray
    points_px: np.ndarray
    outline_px: np.ndarray
    """As `points_px`, with hidden jaw landmarks on the visible outline."""
    noise: np.ndarray
    """(68, 2) standard normal."""
    px_per_mm: float
    prior: np.ndarray
    """The true expression, disturbed."""


class Judge:
    """Truth and errors at some face vertices."""

    def __init__(self, model: FaceModel) -> None:
        self.model = model
        face = np.flatnonzero(np.isin(model.regions, [*FACE_REGIONS]))[::4]
        self.face, mean, mark = face, model.mean_mm[face].astype(np.float64), model.mean_mm[model.landmarks]
        regions = model.regions[face]
        lids = np.isin(regions, [Region.EYELID_LEFT, Region.EYELID_RIGHT])
        folds = [(31, (-5, 2, -2), 48, (-8, -2, -3)), (35, (5, 2, -2), 54, (8, -2, -3))]  # beside nostril and mouth
        bags = [(41, (0, -8, 0), 40, (0, -8, 0)), (47, (0, -8, 0), 46, (0, -8, 0))]  # 8 mm below the lower lids
        near = {
            name: np.min(
                [_to_segment(mean, mark[a] + np.array(da), mark[b] + np.array(db)) for a, da, b, db in lines], 0
            )
            for name, lines in (("folds", folds), ("eyes", bags))
        }
        self.areas = {
            "face": np.ones(len(face), bool),
            "cheeks": np.isin(regions, [Region.CHEEK_LEFT, Region.CHEEK_RIGHT]),
            "nasolabial folds": near["folds"] < AREA_MM,
            "under the eyes": (near["eyes"] < AREA_MM) & ~lids,
        }
        self.basis = np.concatenate([model.identity_mm[:, face], model.expression_mm[:, face]]).astype(np.float64)
        self.mean = mean

    def shape(self, answer: Answer) -> np.ndarray:
        return self.mean + np.tensordot(np.concatenate(answer), self.basis, 1)

    def errors_mm(self, answer: Answer, portrait: Portrait) -> list[float]:
        found, true = self.shape(answer), self.shape((portrait.alpha, portrait.beta))
        a, b = found - found.mean(0), true - true.mean(0)
        left, values, right = np.linalg.svd(a.T @ b)
        sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
        aligned = a @ (left * sign) @ right * (values @ sign / (a * a).sum())
        distance = np.linalg.norm(aligned - b, axis=1)
        return [float(distance[area].mean()) for area in self.areas.values()]


def _to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(points - a - share[:, None] * (b - a), axis=1)


def random_expression(model: FaceModel, rng: np.random.Generator) -> np.ndarray:
    named = EXPRESSIONS[list(EXPRESSIONS)[rng.integers(len(EXPRESSIONS))]]
    beta = rng.uniform(0.3, 1.0) * model.beta_from_units(named).astype(np.float64)
    beta[rng.choice(len(beta), 2, replace=False)] += rng.uniform(0, 0.5, 2)
    return np.clip(beta, 0, 1)


def make_portrait(model: FaceModel, subject: int, yaw_bin: tuple[int, int]) -> Portrait:
    rng = np.random.default_rng([subject, yaw_bin[0]])
    alpha, beta = subject_coefficients(model, subject)[0], random_expression(model, rng)
    yaw = float(rng.uniform(*yaw_bin) * rng.choice([-1, 1]))
    distance_mm = float(np.exp(rng.uniform(np.log(600), np.log(2500))))
    camera = PortraitOptions(
        yaw_deg=yaw,
        pitch_deg=float(rng.uniform(-10, 10)),
        roll_deg=float(rng.uniform(-10, 10)),
        distance_mm=distance_mm,
        focal_mm=85 * distance_mm / 1200,
    ).camera()
    vertices = model.shape_mm(alpha, beta).astype(np.float64)
    points, depth = camera.project(vertices[model.landmarks])
    px_per_mm = float(camera.fx_px / np.median(depth))
    strips = contour_strips(model)
    assert strips is not None
    chains = camera.project(vertices[strips.vertices].reshape(-1, 3))[0].reshape(*strips.vertices.shape, 2)
    seen = outline(strips, chains, strips.outward @ camera.cam_from_world.rotation[:2].T, px_per_mm)
    moved = points.copy()
    moved[:17] = chains[np.arange(17), seen.slot]
    prior = np.clip(beta + DISTURBED * rng.standard_normal(len(beta)), 0, 1)
    return Portrait(alpha, beta, points, moved, rng.standard_normal((68, 2)), px_per_mm, prior)


def ours(model: FaceModel, prior: str, points: str, noise_mm: float, **options: Any) -> Callable[[Portrait], Answer]:
    def fit(portrait: Portrait) -> Answer:
        places = portrait.outline_px if points == "outline" else portrait.points_px
        places = places + noise_mm * portrait.px_per_mm * portrait.noise
        beta = {"none": None, "true": portrait.beta, "disturbed": portrait.prior}[prior]
        found = fit_proxy(
            model, landmarks_from_points(places, "benchmark"), beta_prior=beta, options=FitOptions(**options)
        )
        return found.alpha, found.beta

    return fit


def eos_fit(model: FaceModel, lambda_identity: float) -> Callable[[Portrait], Answer] | None:
    """eos-py's fit of pose, identity and blend shapes; None where it is not installed."""
    try:
        eos: Any = importlib.import_module("eos")
    except ImportError:
        return None
    rows = model.landmarks
    identity = model.identity_mm[:, rows].transpose(1, 2, 0).reshape(3 * len(rows), -1)
    length = np.linalg.norm(identity, axis=0)
    shape = eos.morphablemodel.PcaModel(
        model.mean_mm[rows].reshape(-1, 1), identity / length, (length**2)[:, None], [[0, 1, 2]]
    )
    blends = [
        eos.morphablemodel.Blendshape(name, offset[rows].reshape(-1, 1))
        for name, offset in zip(model.expression_names, model.expression_mm, strict=True)
    ]
    small = eos.morphablemodel.MorphableModel(shape, blends, eos.morphablemodel.PcaModel(), None, [], [])

    def fit(portrait: Portrait) -> Answer:
        places = [eos.core.Landmark(str(k), p.astype(np.float32)) for k, p in enumerate(portrait.points_px)]
        _, _, alpha, beta = eos.fitting.fit_shape_and_pose(
            small, places, eos.core.LandmarkMapper(), 640, 800, lambda_identity=lambda_identity,
            lambda_expressions=lambda_identity,
        )  # fmt: skip
        return np.array(alpha), np.array(beta)

    return fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=int, default=67, help="per yaw bin")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    model = procedural_face_model()
    judge = Judge(model)
    portraits = {
        yaw: [make_portrait(model, FIRST_SUBJECT + k, yaw) for k in range(arguments.portraits)] for yaw in BINS_DEG
    }
    print(f"{arguments.portraits} portraits per bin of yaw; mm: {' / '.join(judge.areas)}")
    methods: dict[str, Callable[[Portrait], Answer] | None] = {
        "mean face, no expression": lambda portrait: (0 * portrait.alpha, 0 * portrait.beta),
        "eos-py, lambda 30 (its default)": eos_fit(model, 30.0),
        "eos-py, lambda 3 (better on subjects 0-14)": eos_fit(model, 3.0),
        "ours": ours(model, "none", "vertices", 0),
        "ours, orthographic": ours(model, "none", "vertices", 0, camera="orthographic"),
        "ours, affine (the paper's camera)": ours(model, "none", "vertices", 0, camera="affine"),
        "ours, jaw on the outline": ours(model, "none", "outline", 0),
        "ours, disturbed prior, fixed": ours(model, "disturbed", "vertices", 0),
        "ours, disturbed prior, soft": ours(model, "disturbed", "vertices", 0, prior_sigma=DISTURBED),
        "ours, true expression": ours(model, "true", "vertices", 0),
        "ours, noise": ours(model, "none", "outline", NOISE_MM),
        "ours, noise, disturbed prior, fixed": ours(model, "disturbed", "outline", NOISE_MM),
        "ours, noise, disturbed prior, soft": ours(model, "disturbed", "outline", NOISE_MM, prior_sigma=DISTURBED),
        "ours, noise, true expression": ours(model, "true", "outline", NOISE_MM),
    }
    figures: dict[str, dict[str, list[float]]] = {}
    for name, fit in methods.items():
        if fit is None:
            print(f"{name}: not installed (pip install mesoface[eos])")
            continue
        figures[name] = {}
        cells, failed, seconds = [], 0, 0.0
        for yaw, cases in portraits.items():
            errors = []
            for case in cases:
                start = time.process_time()
                answer = fit(case)
                seconds += time.process_time() - start
                if np.isfinite(np.concatenate(answer)).all():
                    errors.append(judge.errors_mm(answer, case))
                else:
                    failed += 1
            mean = np.mean(errors, axis=0)
            figures[name][f"{yaw[0]}-{yaw[1]}"] = [round(float(x), 4) for x in mean]
            cells.append(f"{yaw[0]}-{yaw[1]} deg: " + " / ".join(f"{x:.2f}" for x in mean))
        count = len(BINS_DEG) * arguments.portraits
        print(f"{name:<46} {'; '.join(cells)}; {1000 * seconds / count:.0f} ms" + f"; {failed} NaN" * (failed > 0))
    report_gain(figures, "ours", "")
    report_gain(figures, "ours, noise", ", noise")
    if arguments.json:
        arguments.json.write_text(json.dumps({"areas": list(judge.areas), "error_mm": figures}, indent=1) + "\n")


def report_gain(figures: dict[str, dict[str, list[float]]], base: str, suffix: str) -> None:
    """How much lower the error of the small areas is with an expression prior."""
    for kind in ("true expression", "disturbed prior, soft"):
        with_prior = figures[f"ours{suffix}, {kind}"]
        gains = {yaw: [100 * (1 - with_prior[yaw][k] / figures[base][yaw][k]) for k in (1, 2, 3)] for yaw in with_prior}
        cells = "; ".join(f"{yaw} deg: " + " / ".join(f"{g:.0f}" for g in gain) for yaw, gain in gains.items())
        print(f"lower by % with {kind}{suffix} (cheeks / folds / under the eyes): {cells}")


if __name__ == "__main__":
    main()
