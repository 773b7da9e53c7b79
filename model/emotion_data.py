"""Labelled faces for Emotion-Net: AffectNet as it is distributed, plain class folders, and rendered ones."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.errors import UserError
from .emotion_net import EMOTIONS, FACE_PX

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
AFFECTNET_COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
                     "expression", "valence", "arousal")  # fmt: skip
"""Header of training.csv; validation.csv comes without a header in some releases, in the same order."""
RENDERED = {
    "neutral": "Neutral", "smile": "Happiness", "laugh": "Happiness", "sadness": "Sadness", "surprise": "Surprise",
    "fear": "Fear", "disgust": "Disgust", "anger": "Anger", "frown": "Anger",
}  # fmt: skip
"""Named expressions of rendered faces and the category each shows."""


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """A face in a picture file and its category."""

    path: Path
    label: int
    """Index into EMOTIONS."""
    box_px: tuple[int, int, int, int] | None
    """Left, top, width, height of the face; None: the whole picture."""


def read_affectnet(table: Path, images: Path) -> list[LabelledFace]:
    """Faces of AffectNet's `training.csv` or `validation.csv` whose picture lies under `images`.

    Rows whose picture is missing are left out (parts of AffectNet are often all there is). Raises UserError for a
    table of another layout and when no picture is found.
    """
    wanted = f"expected an AffectNet table with the columns {', '.join(AFFECTNET_COLUMNS)}"
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            lines = [line for line in csv.reader(handle) if line]
    except FileNotFoundError:
        raise UserError(f"{table}: {wanted}, found no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: {wanted}, but it cannot be read ({error}).") from None
    if lines and lines[0][0].strip() == AFFECTNET_COLUMNS[0]:
        header, lines = [cell.strip() for cell in lines[0]], lines[1:]
    else:
        header = list(AFFECTNET_COLUMNS)
    place = {name: k for k, name in enumerate(header)}
    if any(name not in place for name in AFFECTNET_COLUMNS[:7]):
        raise UserError(f"{table}: {wanted}, found {', '.join(header[:9])}.")
    faces, missing = [], 0
    for number, line in enumerate(lines, 2):
        try:
            label = int(line[place["expression"]])
            left, top, width, height = (int(float(line[place[name]])) for name in AFFECTNET_COLUMNS[1:5])
            name = line[place[AFFECTNET_COLUMNS[0]]]
        except (ValueError, IndexError):
            raise UserError(f"{table}, line {number}: {wanted}, found {line[:7]}") from None
        if not 0 <= label < len(EMOTIONS):
            raise UserError(f"{table}, line {number}: expression is {label}, AffectNet has 0 to {len(EMOTIONS) - 1}")
        path = images / name
        if path.is_file():
            faces.append(LabelledFace(path, label, (left, top, width, height) if width > 0 and height > 0 else None))
        else:
            missing += 1
    if not faces:
        raise UserError(
            f"{table}: none of its {missing} pictures lies under {images}. Give the folder that holds the numbered "
            "sub-folders (Manually_Annotated_Images)."
        )
    return faces


def read_class_folders(folder: Path) -> list[LabelledFace]:
    """Faces of a folder with one sub-folder per category, named as in EMOTIONS (any case) or by its number.

    Raises UserError where there is no such sub-folder or no picture.
    """
    names = {name.lower(): k for k, name in enumerate(EMOTIONS)} | {str(k): k for k in range(len(EMOTIONS))}
    names |= {"happy": 1, "sad": 2, "surprised": 3, "disgusted": 5, "angry": 6, "noface": 10, "no_face": 10}
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with one sub-folder per emotion, found no such folder.")
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    classes = [(entry, names[entry.name.lower()]) for entry in found if entry.name.lower() in names]
    faces = [
        LabelledFace(path, label, None)
        for entry, label in classes
        for path in sorted(entry.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    if not faces:
        here = ", ".join(entry.name for entry in found[:8]) or "none"
        raise UserError(
            f"{folder}: expected sub-folders with pictures named {', '.join(EMOTIONS)}, found the sub-folders {here}."
        )
    return faces


def load_faces(
    faces: list[LabelledFace], progress: Callable[[int], None] = lambda done: None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Grey faces (N, 48, 48) uint8, labels (N,) int64, and a line for every picture that cannot be read.

    Boxes are cut with the picture's edge repeated beyond it. Raises UserError when no picture can be read.
    """
    import cv2

    images, labels, failures = [], [], []
    for number, face in enumerate(faces):
        try:
            data = np.frombuffer(face.path.read_bytes(), np.uint8)
            grey = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
        except OSError as error:
            grey, _ = None, failures.append(f"{face.path}: {error.strerror}")
        else:
            if grey is None:
                failures.append(f"{face.path}: no picture, or a damaged one")
        if grey is not None:
            images.append(_cut(grey, face.box_px))
            labels.append(face.label)
        progress(number + 1)
    if not images:
        raise UserError(f"none of the {len(faces)} pictures could be read; the first: {(failures or ['?'])[0]}")
    return np.stack(images), np.array(labels, np.int64), failures


def _cut(grey: np.ndarray, box: tuple[int, int, int, int] | None) -> np.ndarray:
    import cv2

    if box is not None:
        left, top, width, height = box
        rows = np.clip(np.arange(top, top + height), 0, grey.shape[0] - 1)
        columns = np.clip(np.arange(left, left + width), 0, grey.shape[1] - 1)
        grey = grey[rows[:, None], columns[None]]
    return cv2.resize(grey, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)


def render_faces(count: int, seed: int = 0, face_model: str = "procedural", people: int = 6,
                 progress: Callable[[int], None] = lambda done: None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Rendered faces (count, 48, 48) uint8 and labels (count,): seven emotions of `RENDERED` in turn.

    Aligned by their landmarks with the jitter of a detector, as the dictionary and the prior align them.
    """
    from ..reconstruct.expressions import EXPRESSIONS
    from ..reconstruct.fast_portrait import FastPortraitOptions, fast_portraits
    from .appearance_features import aligned_face
    from .landmark_data import grey_of

    options = FastPortraitOptions(size_px=112, detail=1.0, yaw_deg=14, pitch_deg=8)
    maker = fast_portraits(face_model, options, people)
    model = maker.model
    groups = {emotion: [e for e, shown in RENDERED.items() if shown == emotion] for emotion in EMOTIONS}
    shown = [emotion for emotion in EMOTIONS if groups[emotion]]
    faces, labels = np.zeros((count, FACE_PX, FACE_PX), np.uint8), np.zeros(count, np.int64)
    for k in range(count):
        rng = np.random.Generator(np.random.PCG64([0xE307, seed, k]))
        emotion = shown[k % len(shown)]
        name = groups[emotion][rng.integers(len(groups[emotion]))]
        strength = rng.uniform(0.55, 1.0)
        units = {unit: strength * value for unit, value in EXPRESSIONS[name].items()}
        for unit in rng.choice(list(model.expression_names), 2, replace=False):
            units[unit] = min(1.0, units.get(unit, 0.0) + rng.uniform(0, 0.2))
        made = maker.draw(rng, beta=model.beta_from_units(units))
        points = made.landmarks_px + rng.normal(0, 0.8, (68, 2))
        faces[k] = np.rint(255 * np.clip(aligned_face(grey_of(made.image_srgb), points, FACE_PX), 0, 1))
        labels[k] = EMOTIONS.index(emotion)
        progress(k + 1)
    return faces, labels
