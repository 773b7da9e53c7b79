"""Checkpoints of the DFDN: everything that inference needs in one file, read without pickle.

A run's checkpoint (.pt) is a dict of tensors and plain data that `torch.load(weights_only=True)` accepts; an exported
model (.npz) is the same in float16 for shipping. Both carry preset, PCA basis, units and what they were trained on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path
from ..dataset.pca_basis import PcaBasis
from .dfdn_presets import Preset, preset_from

FORMAT = "mesoface-dfdn"
SCHEMA_VERSION = 1
BEST, LAST, EXPORTED = "best.pt", "last.pt", "dfdn.npz"
SHIPPED = Path(__file__).parent / "tables" / EXPORTED
META = "about"
COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class DfdnAbout:
    """What a model is for and where it comes from."""

    face_model: str
    map_size: int
    """Of the texture maps its patches were cut from: a texel must mean the same length again."""
    patch_px: int
    texel_mm: float
    height_scale_mm: float
    area: str
    """"all", "UPPER" or "LOWER"."""
    dataset_sha256: str
    pca_sha256: str
    trained_on: str
    """In words."""
    steps: int = 0
    epochs: float = 0.0
    version: str = ""
    """Of mesoface."""


def pack(network: Any, preset: Preset, about: DfdnAbout, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Plain data and tensors of a model; state: other weights than the network's own."""
    weights: Mapping[str, Any] = network.state_dict() if state is None else state
    return {
        "format": FORMAT, "schema_version": SCHEMA_VERSION, "unit": "mm", "preset": _plain(asdict(preset)),
        "about": _plain(asdict(about)), "network": {name: value.detach().cpu() for name, value in weights.items()},
    }  # fmt: skip


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dict of tensors and plain data, whole or not at all."""
    import torch

    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(content), file)  # to a path it writes the name of the temporary file into the bytes


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Contents of a checkpoint, tensors on the CPU. Raises UserError for a missing, damaged, foreign or newer file."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; train one with `mesoface train dfdn`") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"{path}: expected a checkpoint of `mesoface train dfdn`, but it cannot be read ({first}). It is truncated "
            f"or of another program: copy it again, use {BEST if path.name == LAST else LAST} of the same run, or train"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: expected a checkpoint of `mesoface train dfdn`, found another kind of torch file")
    _check(path, content)
    return content


def export_model(path: Path, network: Any, preset: Preset, about: DfdnAbout) -> None:
    """Write a model for inference: float16 weights and basis, preset and about in one .npz."""
    told = {"schema_version": SCHEMA_VERSION, "unit": "mm", "preset": asdict(preset), "about": asdict(about)}
    state = {
        name: value.detach().cpu().numpy().astype(np.float16)
        for name, value in network.state_dict().items()
        if not name.endswith(COUNTER)
    }
    wrong = [name for name, values in state.items() if not np.isfinite(values).all()]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} is not finite in float16; the model is not sound, train it again")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, format=FORMAT, about=json.dumps(told, sort_keys=True), **state)


def read_exported(path: Path) -> dict[str, Any]:
    """As `read_checkpoint`, of an exported .npz."""
    import torch

    wanted = "expected a model of `mesoface model export` (.npz)"
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data.get("format", "")) != FORMAT:
                raise UserError(f"{path}: {wanted}, found another kind of .npz file")
            content: dict[str, Any] = json.loads(str(data[META]))
            content["network"] = {
                name: torch.from_numpy(data[name].astype(np.float32))
                for name in data.files
                if name not in ("format", META)
            }
    except FileNotFoundError:
        raise UserError(f"{path}: {wanted}, found no such file") from None
    except UserError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile, KeyError) as error:
        raise UserError(f"{path}: {wanted}, but it cannot be read ({error}). Copy or export it again.") from None
    _check(path, content)
    return content


def network_of(path: Path, content: Mapping[str, Any]) -> tuple[Any, Preset, DfdnAbout]:
    """The network of a checkpoint's contents, in training mode. Raises UserError when the weights don't fit."""
    from .dfdn_networks import build_dfdn

    preset, about = preset_from(content["preset"]), about_of(path, content)
    state = dict(content["network"])
    network = build_dfdn(preset, basis_of(path, content), about.height_scale_mm)
    own = network.state_dict()
    wrong = [
        name
        for name, value in own.items()
        if not name.endswith(COUNTER) and (name not in state or state[name].shape != value.shape)
    ]
    wrong += [name for name in state if name not in own]
    if wrong:
        raise UserError(f"{path}: weights of another network than preset {preset.name} says ({wrong[0]} differs)")
    network.load_state_dict(state, strict=False)
    return network, preset, about


def basis_of(path: Path, content: Mapping[str, Any]) -> PcaBasis:
    """The PCA basis that a checkpoint holds; variances are those of the coefficients' scale."""
    try:
        state = content["network"]
        components, mean = state["components"].numpy(), state["mean_mm"].numpy()
        spread = state["coefficient_mm"].numpy().astype(np.float64)
        side = len(mean)
        return PcaBasis(components.reshape(-1, side, side), mean, spread**2, float((spread**2).sum()), 0, "all")
    except (KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: holds no usable PCA basis ({error}); copy it again or train again") from None


def about_of(path: Path, content: Mapping[str, Any]) -> DfdnAbout:
    """Raises UserError when entries are missing or unknown."""
    names = {entry.name for entry in fields(DfdnAbout)}
    if set(content["about"]) != names:
        raise UserError(f"{path}: written by another version of mesoface; train again or update")
    return DfdnAbout(**content["about"])


def _check(path: Path, content: Mapping[str, Any]) -> None:
    if content.get("schema_version", 0) > SCHEMA_VERSION:
        raise UserError(f"{path}: schema version {content['schema_version']} is newer than {SCHEMA_VERSION}; update")
    if content.get("unit") != "mm" or not {"preset", "about", "network"} <= set(content):
        raise UserError(f"{path}: is damaged or not in mm; copy it again or train again")


def _plain(value: Any) -> Any:
    """Tuples as lists: what weights_only loading accepts and JSON gives back."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value
