"""The demo's dataset: the reconstructed take in texture space, its patches, their basis and the card."""

from pathlib import Path

import cv2
import numpy as np

from ..capture.image_files import read_tiff
from ..dataset.assemble import assemble, read_face_patches
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.uv_maps import read_uv_maps
from ..dataset.uv_registration import RegistrationOptions
from ..model.landmark_detector import LandmarkNetwork
from ..reconstruct.detail_truth import band
from ..reconstruct.face_load import load_face_model
from ..reconstruct.scan_source import open_scan
from . import html
from .dataset_basis import fit_basis
from .dataset_card import write_card
from .dataset_stages import PATCHES_FILE, model_in_use, run_patches, run_uv
from .pictures import map_with_scale, shrink
from .proxy_command import weights_of

SIZE, PATCH, COUNT = 512, 64, 24
"""Maps, patches and their number: the demo's small pictures hold no more."""
BAND_MM = (1.0, 8.0)


def demo_dataset(out: Path, take: Path) -> None:
    """out/uv, out/patches and out/dataset from out's reconstruction; valid stages are kept."""
    used = model_in_use(load_face_model("procedural"), SIZE)
    run_uv(
        open_scan(take), out, used, LandmarkNetwork(), RegistrationOptions(size=SIZE),
        detector_id=weights_of("network", None),
    )  # fmt: skip
    patches = run_patches(out / "uv", used, SamplingOptions(patch=PATCH, count=COUNT, least_valid=0.6), seed=0)
    folder = out / "dataset"
    face = read_face_patches(patches.folder / PATCHES_FILE)
    index = assemble([face], folder, "demo", shares={"train": 1.0, "val": 0.0, "test": 0.0})
    if face.count >= 2:
        fit_basis(folder, index, min(64, face.count), 0, lambda what, done, total: None)
    write_card(folder, index, {})


def dataset_parts(out: Path, scan: Path) -> list[str]:
    """What the demo's report shows of it."""
    maps = read_uv_maps(out / "uv")
    full = read_tiff(scan / "truth/uv/displacement_mm.tif")[0]
    true_mm = cv2.resize(full, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    ours, true = (
        band(field, maps.valid, max(BAND_MM[0], 2 * maps.texel_mm), BAND_MM[1], maps.texel_mm)[maps.valid]
        for field in (maps.displacement_mm, true_mm)
    )
    correlation = float(np.corrcoef(ours, true)[0, 1])
    rows, columns = np.nonzero(maps.valid)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    texture = np.clip(maps.texture_linear / max(float(np.quantile(maps.texture_linear, 0.99)), 1e-6), 0, 1)
    shown = (255 * texture ** (1 / 2.2)).astype(np.uint8)
    hidden = np.where(maps.valid, maps.displacement_mm, np.nan)
    return [
        html.heading(
            "Dataset: the scan in texture space",
            "Registered to the face model, patches cut where detail is strongest, their basis and a card: "
            "dataset/card.html.",
        ),
        html.table(
            [
                ["texels that can be trusted", f"{100 * maps.valid.mean():.0f} % of the map"],
                ["displacement from 1 to 8 mm, correlation with the truth at the same texel", f"{correlation:.2f}"],
                ["its error", f"{1000 * float(np.sqrt(np.mean((ours - true) ** 2))):.0f} micrometres"],
            ]
        ),
        html.gallery(
            [
                ("diffuse texture", shrink(shown[window], 420)),
                ("displacement", map_with_scale(shrink(hidden[window], 420), "mm", True, 0.3)),
                ("true displacement", map_with_scale(
                    shrink(np.where(maps.valid, true_mm, np.nan)[window], 420), "mm", True, 0.3)),
            ],
            300,
        ),
    ]  # fmt: skip
