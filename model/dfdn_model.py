"""A trained DFDN, ready to infer: textures in, millimetres out.

model = load_dfdn(Path("runs/dfdn"))
height_mm = model.displacement_mm(texture_srgb, valid)      # (B, 256, 256) float32
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..dataset.pca_basis import PcaBasis
from .dfdn_checkpoint import (
    BEST,
    LAST,
    SHIPPED,
    DfdnAbout,
    export_model,
    network_of,
    read_checkpoint,
    read_exported,
)
from .dfdn_presets import Preset


@dataclass(frozen=True, eq=False)
class DfdnModel:
    """A network with what it is for."""

    network: Any
    """torch.nn.Module of `dfdn_networks.build_dfdn`, in evaluation mode."""
    preset: Preset
    about: DfdnAbout

    def displacement_mm(
        self, texture_srgb: np.ndarray, valid: np.ndarray, *, pdim_only: bool = False, region: np.ndarray | None = None
    ) -> np.ndarray:
        """(B, P, P) float32 mm of textures (B, P, P, 3) float32 sRGB in [0, 1] and valid (B, P, P) bool.

        region: (B, P, P) labels of Region, needed by models with region conditioning, else ignored. The noise z is 0.
        A patch's result does not depend on the others in the batch; 0 outside valid and where the texture is not
        finite. Raises UserError for patches of another size.
        """
        import torch

        side = self.about.patch_px
        if texture_srgb.shape[1:] != (side, side, 3) or valid.shape != texture_srgb.shape[:3]:
            raise UserError(
                f"expected textures (B, {side}, {side}, 3) and valid (B, {side}, {side}): the model was trained on "
                f"patches of {side} texels; found {texture_srgb.shape} and {valid.shape}"
            )
        if self.preset.region_conditioning and region is None:
            raise UserError("this model is told each texel's facial region: give `region`")
        finite = np.isfinite(texture_srgb).all(-1)
        usable = np.asarray(valid, bool) & finite
        texture = np.where(usable[..., None], texture_srgb, 0).astype(np.float32)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            colours = torch.from_numpy(np.clip(texture, 0, 1)).to(device).permute(0, 3, 1, 2)
            mask = torch.from_numpy(usable[:, None].astype(np.float32)).to(device)
            labels = None if region is None else torch.from_numpy(region.astype(np.int64)[:, None]).to(device)
            seen = self.network.prepare(colours, mask, labels)
            found = self.network(seen, None, mask, pdim_only=pdim_only)[1]
            return (found * mask)[:, 0].cpu().numpy()

    def to(self, device: str) -> "DfdnModel":
        """The same on another device ("cpu", "cuda"); the network is moved, not copied."""
        return DfdnModel(self.network.to(device), self.preset, self.about)

    def export(self, path: Path) -> None:
        """Write the model as float16 .npz, for `load_dfdn` without a run folder."""
        export_model(path, self.network, self.preset, self.about)


def load_dfdn(path: str | Path | None = None) -> DfdnModel:
    """A model from a run folder (its best checkpoint), a checkpoint .pt, an exported .npz, or as shipped (None).

    Raises UserError when there is none, or it is damaged or of another version.
    """
    if path is None:
        if not SHIPPED.is_file():
            raise UserError(
                "no DFDN model comes with this installation; train one with `mesoface train dfdn DATASET --out RUN` "
                "and give its folder with --model RUN"
            )
        path = SHIPPED
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in (BEST, LAST) if (path / name).is_file()]
        if not found:
            raise UserError(f"{path}: expected a run of `mesoface train dfdn` with {BEST} or {LAST}, found neither")
        path = found[0]
    content = read_exported(path) if path.suffix == ".npz" else read_checkpoint(path)
    network, preset, about = network_of(path, content)
    return DfdnModel(_ready(network), preset, about)


def new_dfdn(preset: Preset, basis: PcaBasis, about: DfdnAbout, seed: int = 0) -> DfdnModel:
    """An untrained model with random weights of a seed, last layers included, whatever the preset starts at."""
    import torch

    from .dfdn_networks import build_dfdn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_dfdn(preset, basis, about.height_scale_mm)
        if preset.zero_start:
            for layer in network.body.last_layers():
                torch.nn.init.normal_(layer.weight, 0.0, 0.02)
    return DfdnModel(_ready(network), preset, about)


def _ready(network: Any) -> Any:
    import torch

    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
