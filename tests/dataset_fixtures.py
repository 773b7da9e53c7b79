"""Faces for the dataset's tests: small maps with known relief, and a dataset built of them."""

from pathlib import Path

import numpy as np

from mesoface.capture.files import sha256_file
from mesoface.dataset.assemble import FacePatches, assemble, read_face_patches
from mesoface.dataset.dataset_index import DatasetIndex
from mesoface.dataset.patch_cut import cut_scan_patches, height_histogram, scan_places
from mesoface.dataset.patch_sampling import SamplingOptions
from mesoface.dataset.patch_shards import write_shard
from mesoface.dataset.uv_maps import FaceSource, UvMaps
from mesoface.reconstruct.face_model import Region

SIZE, PATCH = 256, 32
OPTIONS = SamplingOptions(patch=PATCH, count=10, jitter=2)


def made_maps(subject: str, expression: str, seed: int, *, size: int = SIZE, model: str = "procedural") -> UvMaps:
    """A flat face of 0.4 mm texels with ridges on its forehead, invalid around."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    valid = (rows > size * 0.1) & (rows < size * 0.9) & (columns > size * 0.1) & (columns < size * 0.9)
    region = np.where(rows < size / 2, Region.FOREHEAD, np.where(columns < size / 2, Region.CHEEK_RIGHT, Region.CHIN))
    region = np.where(valid, region, 0).astype(np.uint8)
    ridges = 0.1 * np.sin(rows / (3 + seed % 3)) * (region == Region.FOREHEAD)
    height = np.where(valid, ridges + 0.005 * rng.standard_normal((size, size)), 0).astype(np.float32)
    position = np.stack([columns * 0.4, -rows * 0.4, np.zeros_like(rows)], -1)
    normal = np.zeros((size, size, 3), np.float32)
    normal[..., 2] = 1
    texture = rng.uniform(0.2, 0.6, (size, size, 3)).astype(np.float32)
    source = FaceSource(
        subject, expression, f"{subject}_{expression}", model, "CC0", "made by a test", f"{subject}-{expression}-{seed}"
    )
    return UvMaps(source, texture, height, position, normal, valid, region, 0.4)


def written_patches(folder: Path, maps: UvMaps, options: SamplingOptions = OPTIONS, seed: int = 0) -> FacePatches:
    """The patches file of one face."""
    area = np.where(np.arange(maps.size)[:, None] < maps.size / 2, 1, 2) * np.ones((1, maps.size))
    places = scan_places(maps, options, seed)
    patches = list(cut_scan_patches(maps, area.astype(np.uint8), places, options, seed))
    histogram = height_histogram([p.arrays["displacement_mm"] for p in patches], [p.arrays["valid"] for p in patches])
    path = folder / f"{maps.source.scan}.h5"
    attributes = {
        "face_model": maps.source.face_model, "map_size": maps.size, "patch_px": options.patch,
        "texel_mm": maps.texel_mm, "licence": maps.source.licence, "image_sha256": maps.source.image_sha256,
        "height_histogram": histogram.tolist(),
    }  # fmt: skip
    write_shard(path, "scan", options.patch, len(patches), patches, attributes)
    return read_face_patches(path)


def made_dataset(folder: Path, subjects: int = 6) -> tuple[DatasetIndex, list[FacePatches]]:
    """A dataset of `subjects` x 2 expressions in folder/set, shards of about 40 patches."""
    (folder / "faces").mkdir(parents=True, exist_ok=True)
    faces = [
        written_patches(folder / "faces", made_maps(f"S{number:03d}", expression, 10 * number + k))
        for number in range(subjects)
        for k, expression in enumerate(("neutral", "smile"))
    ]
    return assemble(faces, folder / "set", "made", shard_patches=40), faces


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
