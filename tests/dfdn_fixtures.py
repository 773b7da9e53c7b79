"""A tiny dataset for training the DFDN in seconds: lit ridges, with photographs of them, and its PCA basis."""

from pathlib import Path

import numpy as np
from dataset_fixtures import OPTIONS, PATCH, made_maps, written_patches

from mesoface.dataset.assemble import assemble, read_face_patches
from mesoface.dataset.patch_shards import Patch, PatchInfo, ShardReader, write_shard
from mesoface.dataset.pca_basis import PcaBasis, fit_pca, write_pca
from mesoface.model.dfdn_checkpoint import DfdnAbout

COMPONENTS = 16
ABOUT = DfdnAbout("procedural", 256, PATCH, 0.4, 0.1, "all", "", "", "nothing")


def random_basis(side: int = PATCH, components: int = COMPONENTS) -> PcaBasis:
    """An orthonormal basis of smooth random patches."""
    rng = np.random.default_rng(1)
    flat = np.linalg.qr(rng.standard_normal((side * side, components)))[0].T
    patches = flat.reshape(components, side, side).astype(np.float32)
    return PcaBasis(patches, np.zeros((side, side), np.float32), np.linspace(0.2, 0.01, components), 3.0, 100, "all")


def lit_dataset(folder: Path) -> Path:
    """folder/set: 6 subjects x 2 expressions x 10 patches of 32 texels whose texture is shaded by its ridges."""
    faces_folder = folder / "faces"
    faces_folder.mkdir(parents=True)
    faces = []
    for number in range(6):
        for k, expression in enumerate(("neutral", "smile")):
            maps = made_maps(f"S{number:03d}", expression, 10 * number + k)
            slope = np.gradient(maps.displacement_mm, 0.4, axis=0)
            maps.texture_linear[...] = np.clip(0.4 + 0.5 * slope, 0.02, 1)[..., None] * [1.0, 0.8, 0.7]
            faces.append(written_patches(faces_folder, maps))
    faces.append(_photographed(faces_folder, faces[0].path))
    assemble(faces, folder / "set", "lit", shard_patches=40)
    with ShardReader(faces[0].path) as first, ShardReader(faces[5].path) as second:
        block = np.stack(
            [reader.arrays(k)["displacement_mm"] for reader in (first, second) for k in range(OPTIONS.count)]
        )
    write_pca(folder / "set" / "pca.npz", fit_pca(lambda: iter([block]), components=COMPONENTS), {})
    return folder / "set"


def _photographed(folder: Path, scan: Path):
    """The patches of a scan as a photograph under light from above."""
    rows, columns = np.mgrid[:PATCH, :PATCH].astype(np.float32)
    light = np.zeros((9, 3), np.float32)
    light[0], light[1], light[2] = 1.5, 0.8, 0.6
    patches = []
    with ShardReader(scan) as reader:
        for k in range(len(reader)):
            seen = reader.arrays(k)
            srgb = np.rint(255 * (seen["texture_linear"] / 65535) ** (1 / 2.2)).astype(np.uint8)
            normal = np.zeros((PATCH, PATCH, 3), np.float16)
            normal[..., 2] = 1
            arrays = {
                "texture_srgb": srgb, "valid": seen["valid"], "region": seen["region"],
                "position_mm": np.stack([0.4 * columns, -0.4 * rows, 0 * rows], -1), "normal": normal,
                "albedo_linear": np.full((PATCH, PATCH, 3), 0.5, np.float16), "light": light,
            }  # fmt: skip
            patches.append(Patch(PatchInfo("wild", "photo", "", 0, 0, 1, 1 + k % 2), arrays))
    path = folder / "photo.h5"
    attributes = {
        "face_model": "procedural", "map_size": 256, "patch_px": PATCH, "texel_mm": 0.4, "licence": "CC0",
        "image_sha256": "photo",
    }  # fmt: skip
    write_shard(path, "wild", PATCH, len(patches), patches, attributes)
    return read_face_patches(path)
