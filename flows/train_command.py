"""`mesoface train ...`: make the networks that come with mesoface, or better ones."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..capture.errors import UserError


def landmarks(
    *,
    out: Path = Path("runs/landmarks"),
    images: int = 12000,
    epochs: int = 12,
    face_model: Annotated[list[str], Parameter(consume_multiple=True)] = ["procedural"],  # noqa: B006
    seed: int = 0,
    threads: int = 2,
) -> None:
    """Train the landmark network on fast portraits; interrupted runs continue with the same command.

    Example: mesoface train landmarks --face-model procedural --face-model ICT-FaceKit/FaceXModel

    Writes landmarks.npz into the run's folder. A core renders about 100 pictures a second,
    and learns about 100 crops.

    Parameters
    ----------
    out
        Folder of the run: rendered pictures, checkpoint, weights.
    images
        Pictures to render; each a person of its own.
    epochs
        How often each picture is seen, every time cropped anew.
    face_model
        'procedural', a folder of ICT-FaceKit, or a .h5 face model with landmarks and texture coordinates; several may
        be given and take turns.
    seed
        Seed of pictures and training.
    threads
        Threads for the network.
    """
    _needs_torch()
    import torch

    from ..model.landmark_data import SHARD, render_pictures
    from ..model.landmark_net import load_network
    from ..model.landmark_train import LandmarkTraining, nme, train_landmarks

    training = LandmarkTraining(images=images, epochs=epochs, seed=seed)
    if not 1 <= threads <= 256:
        raise UserError(f"threads {threads}: allowed are 1 to 256")
    torch.set_num_threads(threads)
    console = Console()
    with _progress(console) as bar:
        task = bar.add_task("render", total=images)
        pictures = render_pictures(face_model, images, out / "pictures", seed=seed,
                                   progress=lambda done: bar.update(task, completed=done))  # fmt: skip
        learn = bar.add_task("train", total=None)

        def report(step: int, steps: int, error_px: float) -> None:
            bar.update(learn, completed=step, total=steps, description=f"train, error {error_px:.2f} px")

        names = ", ".join(Path(name).name for name in face_model)
        about = f"mesoface train landmarks: {images} images, {epochs} epochs, seed {seed}, face models {names}"
        weights = train_landmarks(pictures, out, training, about=about, progress=report)
        assert weights is not None  # None only when paused, and nothing here pauses
        check = bar.add_task("check", total=min(SHARD, 500))
        held_out = render_pictures(face_model, min(SHARD, 500), out / "held_out", seed=seed + 1_000_003,
                                   progress=lambda done: bar.update(check, completed=done))  # fmt: skip
    errors = nme(load_network(weights), held_out)
    import numpy as np

    per_face = np.nanmean(errors, axis=1)
    console.print(
        f"wrote {escape(str(weights))}: NME on {len(per_face)} held-out people {100 * per_face.mean():.2f} % of the "
        f"distance of the outer eye corners (median {100 * np.median(per_face):.2f} %)"
    )


def _needs_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UserError("training needs PyTorch, which is not installed: `pip install torch`") from error


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                    console=console)  # fmt: skip


def emotion(
    source: Path | None = None,
    *,
    images: Path | None = None,
    rendered: int = 0,
    out: Path = Path("runs/emotion"),
    validate: Path | None = None,
    epochs: int = 20,
    batch: int = 32,
    balance: bool = True,
    seed: int = 0,
    threads: int = 2,
) -> None:
    """Train Emotion-Net: Adam at 1e-3, 20 epochs as in the paper; interrupted runs continue with the same command.

    Example: mesoface train emotion AffectNet/training.csv --images AffectNet/Manually_Annotated_Images

    Writes emotion.npz and confusion.json into the run's folder.

    Parameters
    ----------
    source
        AffectNet's training.csv, or a folder with one sub-folder of pictures per emotion.
    images
        For AffectNet: the folder that holds its numbered sub-folders.
    rendered
        Instead of a source: so many rendered faces of seven emotions.
    out
        Folder of the run.
    validate
        AffectNet's validation.csv or another class folder, for the confusion matrix; without it a tenth is held out.
    epochs
        How often each face is seen.
    batch
        Faces per step.
    balance
        Let rare emotions weigh more, so that all count the same.
    seed
        Seed of rendering and training.
    threads
        Threads for the network.
    """
    _needs_torch()
    import numpy as np
    import torch

    from ..capture.files import write_json
    from ..model.emotion_data import render_faces
    from ..model.emotion_net import EMOTIONS, load_emotion_net
    from ..model.emotion_train import EmotionTraining, confusion, train_emotion

    if (source is None) == (rendered == 0):
        raise UserError("train emotion: give either a source (AffectNet's training.csv, a folder) or --rendered N")
    training = EmotionTraining(epochs=epochs, batch=batch, balance=balance, seed=seed)
    torch.set_num_threads(max(1, threads))
    console = Console()
    with _progress(console) as bar:
        load = bar.add_task("faces", total=rendered or None)
        if source is None:
            faces, labels = render_faces(rendered, seed, progress=lambda done: bar.update(load, completed=done))
        else:
            faces, labels = _labelled(console, source, images)
        if validate is not None:
            held, held_labels = _labelled(console, validate, images)
        else:
            order = np.random.Generator(np.random.PCG64(seed)).permutation(len(faces))
            hold, keep = order[: max(1, len(order) // 10)], order[max(1, len(order) // 10) :]
            held, held_labels, faces, labels = faces[hold], labels[hold], faces[keep], labels[keep]
        learn = bar.add_task("train", total=epochs)
        about = (
            f"mesoface train emotion: {source.name if source else 'rendered faces'}, {len(faces)} faces, seed {seed}"
        )

        def report(done: int, whole: int, loss: float) -> None:
            bar.update(learn, completed=done, description=f"train, loss {loss:.3f}")

        weights = train_emotion(faces, labels, out, training, about=about, progress=report)
    table = confusion(load_emotion_net(weights), held, held_labels)
    write_json(out / "confusion.json", {"categories": list(EMOTIONS), "rows_are_truth": table.tolist()})
    share = float(np.trace(table) / max(table.sum(), 1))
    console.print(f"wrote {escape(str(weights))}: {100 * share:.1f} % of {int(table.sum())} held-out faces right")


def appearance(
    *,
    out: Path = Path("runs/appearance"),
    images: int = 4000,
    face_model: Annotated[list[str], Parameter(consume_multiple=True)] = ["procedural"],  # noqa: B006
    seed: int = 0,
) -> None:
    """Train the regressors of facial action units on rendered faces.

    Example: mesoface train appearance --images 4000

    Parameters
    ----------
    out
        Folder for appearance.npz.
    images
        Faces to render.
    face_model
        'procedural' or a folder of ICT-FaceKit; several may be given and take turns.
    seed
        Seed of the faces.
    """
    import numpy as np

    from ..model.appearance_features import AU_NAMES, save_regressors
    from ..model.appearance_train import render_descriptions, train_regressors

    if images < 100:
        raise UserError(f"images {images}: allowed are 100 and more")
    console = Console()
    with _progress(console) as bar:
        task = bar.add_task("render", total=images)
        found = render_descriptions(face_model, images, seed, progress=lambda done: bar.update(task, completed=done))
    names = ", ".join(Path(name).name for name in face_model)
    regressors, scores = train_regressors(*found, f"mesoface train appearance: {images} images, {names}, seed {seed}")
    save_regressors(regressors, out / "appearance.npz")
    told = ", ".join(f"{name} {score:.2f}" for name, score in zip(AU_NAMES, scores, strict=True))
    console.print(
        f"wrote {escape(str(out / 'appearance.npz'))}: correlation on held-out faces {np.nanmean(scores):.2f}"
    )
    console.print(f"by unit: {told}")


def _labelled(console: Console, source: Path, images: Path | None):
    from ..model.emotion_data import load_faces, read_affectnet, read_class_folders

    if source.is_dir():
        listed = read_class_folders(source)
    elif images is None:
        raise UserError(
            f"{source}: give the folder of AffectNet's pictures with --images, or a folder of classes instead"
        )
    else:
        listed = read_affectnet(source, images)
    faces, labels, failures = load_faces(listed)
    for line in failures[:10]:
        console.print(f"[yellow]left out:[/] {escape(line)}")
    if len(failures) > 10:
        console.print(f"[yellow]left out:[/] {len(failures) - 10} more")
    return faces, labels
