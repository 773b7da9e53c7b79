"""Weights of the networks that ship with mesoface: float16 in an .npz that names what it is, read without pickle."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path

NOT_WEIGHTS = ("format", "about")
COUNTER = "num_batches_tracked"


def save_weights(network: Any, path: Path, format_name: str, about: str) -> None:
    """Write the state of a torch network as float16, atomically; `about`: how it was made, one line."""
    state = {
        name: value.detach().cpu().numpy().astype(np.float16)
        for name, value in network.state_dict().items()
        if not name.endswith(COUNTER)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, format=format_name, about=about, **state)


def load_weights(network: Any, path: Path, format_name: str, command: str) -> Any:
    """`network` in evaluation mode with the weights of `path`. command: what writes such files, for messages.

    Raises UserError for a missing, damaged or foreign file, and for weights of another network.
    """
    import torch

    wanted = f"expected weights written by `{command}` (.npz)"
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data.get("format", "")) != format_name:
                raise UserError(f"{path}: {wanted}, found another kind of .npz file. Give the right file.")
            state = {
                name: torch.from_numpy(data[name].astype(np.float32)) for name in data.files if name not in NOT_WEIGHTS
            }
    except FileNotFoundError as error:
        raise UserError(f"{path}: {wanted}, found no such file. Train them, or reinstall mesoface.") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: {wanted}, but it cannot be read ({error}). Copy or train it again.") from error
    own = network.state_dict()
    wrong = [
        name
        for name in own
        if not name.endswith(COUNTER) and (name not in state or state[name].shape != own[name].shape)
    ]
    if wrong:
        raise UserError(f"{path}: {wanted}, found weights of another network ({wrong[0]} differs). Train them again.")
    network.load_state_dict(state, strict=False)
    return network.eval()
