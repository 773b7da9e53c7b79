"""Figures of the fast portraits, the landmark network and the expression dictionary.

python benchmarks/landmarks.py speed                              # pictures, features and queries per second, one core
python benchmarks/landmarks.py accuracy --face-model procedural --face-model ict.h5 --images 300
python benchmarks/landmarks.py studio PORTRAIT_FOLDER ...         # portraits of `mesoface studio portrait`
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from cyclopts import App

app = App(help=__doc__, help_format="plaintext")


@app.command
def speed(*, images: int = 200, entries: int = 90_000) -> None:
    """Pictures per second of CPU time on one core, and milliseconds per query."""
    import torch

    from mesoface.model.appearance_features import aligned_face, description, load_regressors
    from mesoface.model.dictionary_build import portrait_options
    from mesoface.model.emotion_net import build_emotion_net, describe
    from mesoface.model.expression_dictionary import DictionaryIndex, ExpressionDictionary, sample_beta
    from mesoface.model.landmark_data import grey_of
    from mesoface.reconstruct.fast_portrait import FastPortraitOptions, fast_portraits

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for title, options in (
        ("training pictures, 160 px", FastPortraitOptions(size_px=160, detail=1.0)),
        ("dictionary pictures, 112 px", portrait_options(112)),
    ):
        maker = fast_portraits("procedural", options)
        maker.draw(rng)
        started = time.process_time()
        for _ in range(images):
            maker.draw(rng)
        print(f"{title}: {images / (time.process_time() - started):.0f} per CPU second")
    maker, regressors, network = (
        fast_portraits("procedural", portrait_options(112)),
        load_regressors(),
        build_emotion_net(),
    )
    network.eval()
    started, at_wall = time.process_time(), time.perf_counter()
    for first in range(0, images, 50):
        faces, described = [], []
        for _ in range(min(50, images - first)):
            made = maker.draw(rng, beta=sample_beta(maker.model, rng))
            grey = grey_of(made.image_srgb)
            faces.append(aligned_face(grey, made.landmarks_px, 48))
            described.append(description(grey, made.landmarks_px))
        describe(network, np.stack(faces))
        regressors.intensities(np.stack(described))
    spent, wall = time.process_time() - started, time.perf_counter() - at_wall
    print(f"dictionary entries with features: {images / spent:.0f} per CPU second ({images / wall:.0f} per second)")
    made_up = ExpressionDictionary(
        rng.random((entries, 26), np.float32),
        rng.standard_normal((entries, 128), np.float32),
        rng.random((entries, 17), np.float32),
        face_model="",
        face_model_identity="",
        extractors="",
        about="",
    )
    index = DictionaryIndex(made_up)
    questions = [(rng.standard_normal(128, np.float32), rng.random(17, np.float32)) for _ in range(50)]
    index.query(*questions[0])
    times = []
    for question in questions:
        started = time.perf_counter()
        index.query(*question, k=1)
        times.append(time.perf_counter() - started)
    print(f"query of {entries}: median {1e3 * np.median(times):.1f} ms, slowest {1e3 * max(times):.1f} ms")


@app.command
def accuracy(*, face_model: list[str] | None = None, images: int = 300, seed: int = 4_000_037) -> None:
    """NME of the shipped landmark network on people it never saw, by face model and yaw."""
    import torch

    from mesoface.model import landmark_data
    from mesoface.model.landmark_net import shipped_network
    from mesoface.model.landmark_train import nme

    torch.set_num_threads(1)
    landmark_data.SHARD = images
    for name in face_model or ["procedural"]:
        with tempfile.TemporaryDirectory() as folder:
            pictures = landmark_data.render_pictures([name], images, Path(folder), seed=seed, people=4)
        errors = nme(shipped_network(), pictures)
        per_face = np.nanmean(errors, axis=1)
        seen = np.nanmean(np.where(pictures.visible, errors, np.nan), axis=1)
        inner = np.nanmean(errors[:, 17:], axis=1)
        print(
            f"{Path(name).name}: {images} heads, NME mean {100 * per_face.mean():.2f} %, median "
            f"{100 * np.median(per_face):.2f} %, 90th percentile {100 * np.percentile(per_face, 90):.2f} %; visible "
            f"points {100 * np.nanmean(seen):.2f} %; without the jaw {100 * inner.mean():.2f} %; above 8 %: "
            f"{100 * (per_face > 0.08).mean():.1f} % of heads"
        )


@app.command
def studio(*folders: Path) -> None:
    """Error of the whole detector on path-traced portraits with truth.json."""
    import torch

    from mesoface.model.landmark_detector import LandmarkNetwork
    from mesoface.reconstruct.photo import load_photo

    torch.set_num_threads(1)
    detector, found = LandmarkNetwork(), []
    for folder in folders:
        truth = [p or [np.nan, np.nan] for p in json.loads((folder / "truth.json").read_text())["landmarks_px"]]
        truth = np.array(truth, np.float64)
        started = time.perf_counter()
        faces = detector.detect(load_photo(folder / "portrait.png").srgb)
        spent = time.perf_counter() - started
        if not faces:
            print(f"{folder}: no face found")
            continue
        away = np.linalg.norm(faces[0].points_px - truth, axis=1) / np.linalg.norm(truth[36] - truth[45])
        found.append(np.nanmean(away[17:]))
        print(f"{folder}: NME of 17-67 {100 * found[-1]:.2f} %, all 68 {100 * np.nanmean(away):.2f} %, {spent:.2f} s")
    if found:
        print(f"mean of {len(found)} of {len(folders)}: {100 * np.mean(found):.2f} %")


if __name__ == "__main__":
    app()
