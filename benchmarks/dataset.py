"""Datasets against their bounds: PCA of 10,000 patches, random reads beside other formats, registration of one scan.

    python benchmarks/dataset.py pca [--folder EMPTY] [--patches 10000]
    python benchmarks/dataset.py reads [--folder EMPTY] [--patches 1500]
    python benchmarks/dataset.py registration SCAN RESULTS [--landmarks FOLDER] [--size 2048]

`pca` and `reads` write patches into shards first (7.7 GB for 10,000, twice that for a moment), in a temporary
folder unless one is given. `reads` compares in turns, so that a busy machine slows all alike, and prints the best turn
of each. RESULTS: of `mesoface reconstruct SCAN`. Memory is the peak of the process. Exit code 1 when a bound is broken.
"""

import argparse
import io
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mesoface.dataset.assemble import assemble, read_face_patches
from mesoface.dataset.patch_shards import Patch, PatchInfo, ShardReader, write_shard
from mesoface.reconstruct.studio_checks import Check

SIDE, SHARD, BATCH = 256, 1000, 50
PCA_SECONDS, PCA_GB = 90.0, 3.0
READS_PER_S, SHARE_OF_RAW = 2500.0, 0.75
SCAN_SECONDS, SCAN_GB = 30.0, 2.0
NAMES = ("displacement_mm", "texture_linear", "valid", "region")


def patches_of(subject: str, count: int, rng: np.random.Generator) -> Iterator[Patch]:
    """Skin-like relief: 200 smooth shapes in falling amounts and fine noise; noisy texture, as a camera's is."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    basis = np.random.Generator(np.random.PCG64(1))
    waves = basis.uniform(-12, 12, (200, 2))
    phases = basis.uniform(0, 2 * np.pi, 200)
    shapes = np.stack(
        [np.cos(2 * np.pi * (u * rows + v * columns) + p) for (u, v), p in zip(waves, phases, strict=True)]
    ).astype(np.float32)
    amounts = (0.05 / (1 + np.arange(200)) ** 0.7).astype(np.float32)
    noise = rng.standard_normal((SIDE, SIDE), np.float32)
    texture = rng.integers(8000, 30000, (SIDE, SIDE, 3), np.uint16)
    heights = np.zeros((0, SIDE, SIDE), np.float32)
    for number in range(count):
        if number % BATCH == 0:
            own = amounts * rng.standard_normal((BATCH, len(amounts)), np.float32)
            heights = (own @ shapes.reshape(len(shapes), -1)).reshape(BATCH, SIDE, SIDE)
        height = heights[number % BATCH] + np.float32(0.004) * np.roll(noise, 77 * number)
        yield Patch(
            PatchInfo(subject, f"{subject}_neutral", "neutral", 0, 0, 1 + number % 2, 1),
            {
                "displacement_mm": height, "texture_linear": np.roll(texture, number, 0),
                "valid": np.ones((SIDE, SIDE), np.uint8), "region": np.ones((SIDE, SIDE), np.uint8),
            },
        )  # fmt: skip


def make_dataset(folder: Path, count: int) -> None:
    """A dataset of `count` patches, a subject per shard of at most 1,000, all in training but for one."""
    faces, rng = [], np.random.Generator(np.random.PCG64(0))
    (folder / "faces").mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, count, SHARD)):
        subject, own = f"V{number:03d}", min(SHARD, count - first)
        attributes = {
            "face_model": "made", "map_size": 2048, "patch_px": SIDE, "texel_mm": 0.12, "licence": "CC0",
            "image_sha256": subject,
        }  # fmt: skip
        path = folder / "faces" / f"{subject}.h5"
        write_shard(path, "scan", SIDE, own, patches_of(subject, own, rng), attributes)
        faces.append(read_face_patches(path))
    assemble(faces, folder / "set", "made", shares={"train": 1.0, "val": 0.0, "test": 0.0})
    for face in faces:
        face.path.unlink()


def pca(folder: Path, count: int) -> list[Check]:
    from mesoface.dataset.dataset_index import read_index
    from mesoface.flows.dataset_basis import fit_basis

    make_dataset(folder, count)
    made_gb = peak_gb()
    started, cpu = time.perf_counter(), time.process_time()
    basis = fit_basis(folder / "set", read_index(folder / "set"), 64, 0, said)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"PCA of {basis.patches} patches: {seconds:.1f} s, {cpu:.1f} CPU-s; 64 components explain "
        f"{100 * basis.explained[-1]:.2f} %; peak {peak_gb():.2f} GB ({made_gb:.2f} before)"
    )
    flat = basis.components.reshape(64, -1).astype(np.float64)
    off = float(np.abs(flat @ flat.T - np.eye(64)).max())
    return [
        Check("PCA, time", seconds, "s", PCA_SECONDS),
        Check("PCA, peak memory", peak_gb(), "GB", PCA_GB),
        Check("PCA, farthest from orthonormal", off, "", 1e-4),
    ]


def reads(folder: Path, count: int) -> list[Check]:
    """Every format holds the same patches and gives back all four arrays of one; nothing but ours makes tensors."""
    import h5py
    import torch

    from mesoface.dataset.torch_patches import EpochSampler, PatchDataset

    torch.set_num_threads(1)
    make_dataset(folder, count)
    patches = PatchDataset(folder / "set", "all")
    files = [folder / "set" / entry.file for entry in patches.index.shards]
    raw = [h5py.File(path, "r") for path in files]
    ours = [ShardReader(path) for path in files]
    maps = {name: np.load(path, mmap_mode="r") for name, path in npy_copy(folder, ours).items()}
    tar = tar_copy(folder, ours)
    order = list(EpochSampler(count, seed=1))
    where = [divmod(k, SHARD) for k in order]

    def raw_read(k: int) -> None:
        file: Any = raw[where[k][0]]
        for name in NAMES:
            file[name][where[k][1]]

    datasets: list[dict[str, Any]] = [{name: file[name] for name in NAMES} for file in raw]

    def raw_kept(k: int) -> None:
        for name in NAMES:
            datasets[where[k][0]][name][where[k][1]]

    def raw_tensors(k: int) -> list[torch.Tensor]:
        height, texture, valid, region = (datasets[where[k][0]][name][where[k][1]] for name in NAMES)
        return [
            torch.from_numpy(height)[None],
            torch.from_numpy(texture.astype(np.float32) / 65535).permute(2, 0, 1).contiguous(),
            torch.from_numpy(valid.astype(np.float32))[None],
            torch.from_numpy(region.astype(np.int64))[None],
        ]

    readers: dict[str, Callable[[], float]] = {
        "raw h5py": lambda: rate(raw_read, count),
        "raw h5py, datasets kept open": lambda: rate(raw_kept, count),
        "ShardReader, as stored": lambda: rate(lambda k: ours[where[k][0]].arrays(where[k][1]), count),
        "raw h5py, to the same tensors": lambda: rate(raw_tensors, count),
        "PatchDataset, float32 tensors": lambda: rate(lambda k: patches[order[k]], count),
        "raw h5py, displacement only": lambda: rate(lambda k: datasets[where[k][0]][NAMES[0]][where[k][1]], count),
        "ShardReader, displacement only": lambda: rate(
            lambda k: ours[where[k][0]].arrays(where[k][1], NAMES[:1]), count
        ),
        "npy memmap, copied": lambda: rate(lambda k: [np.array(data[order[k]]) for data in maps.values()], count),
        "tar, sequential, plain tarfile": lambda: tar_rate(tar),
    }  # fmt: skip
    if (web := webdataset_rate(tar)) is not None:
        readers["tar, sequential, webdataset"] = web
    else:
        print("webdataset is not installed: plain tarfile stands for it, which decodes the same members")
    best = dict.fromkeys(readers, 0.0)
    for _ in range(4):  # the first turn warms the cache
        for name, measure in readers.items():
            best[name] = max(best[name], measure())
    strictest, tensors = best["raw h5py, datasets kept open"], best["raw h5py, to the same tensors"]
    for name, value in best.items():
        print(f"  {name:<34}{value:>9.0f} patches/s{value / strictest:>8.2f} of raw h5py")
    return [
        Check("PatchDataset, random reads", best["PatchDataset, float32 tensors"], "/s", READS_PER_S, at_most=False),
        Check("ShardReader, random reads", best["ShardReader, as stored"], "/s", READS_PER_S, at_most=False),
        Check("ShardReader, of raw h5py", best["ShardReader, as stored"] / strictest, "", SHARE_OF_RAW, at_most=False),
        Check(
            "PatchDataset, of raw h5py to tensors", best["PatchDataset, float32 tensors"] / tensors, "", SHARE_OF_RAW,
            at_most=False,
        ),
    ]  # fmt: skip


def npy_copy(folder: Path, shards: list[ShardReader]) -> dict[str, Path]:
    paths = {}
    for name in NAMES:
        first = shards[0].stacked(name, [0])
        shape = (sum(len(shard) for shard in shards), *first.shape[1:])
        paths[name] = folder / f"{name}.npy"
        file = np.lib.format.open_memmap(paths[name], "w+", first.dtype, shape)
        start = 0
        for shard in shards:
            for k in range(len(shard)):
                file[start + k] = shard.stacked(name, [k])[0]
            start += len(shard)
    return paths


def tar_copy(folder: Path, shards: list[ShardReader]) -> Path:
    """WebDataset's convention: members KEY.NAME.npy, those of one sample one after another."""
    path, key = folder / "patches.tar", 0
    with tarfile.open(path, "w") as tar:
        for shard in shards:
            for k in range(len(shard)):
                for name, values in shard.arrays(k).items():
                    data = io.BytesIO()
                    np.save(data, values)
                    member = tarfile.TarInfo(f"{key:06d}.{name}.npy")
                    member.size = data.tell()
                    data.seek(0)
                    tar.addfile(member, data)
                key += 1
    return path


def tar_rate(path: Path) -> float:
    started, members = time.perf_counter(), 0
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            data = tar.extractfile(member)
            assert data is not None
            np.load(io.BytesIO(data.read()))
            members += 1
    return members / len(NAMES) / (time.perf_counter() - started)


def webdataset_rate(path: Path) -> Callable[[], float] | None:
    try:
        import webdataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None

    def measure() -> float:
        started, samples = time.perf_counter(), 0
        for _ in webdataset.WebDataset(str(path), shardshuffle=False).decode():
            samples += 1
        return samples / (time.perf_counter() - started)

    return measure


def rate(read: Callable[[int], object], count: int) -> float:
    started = time.perf_counter()
    for k in range(count):
        read(k)
    return count / (time.perf_counter() - started)


def registration(source: Path, results: Path, landmarks: Path | None, size: int) -> list[Check]:
    """Registration, maps, patches; the model and the reading of both are part of it, the detector's weights too."""
    from mesoface.dataset.patch_sampling import SamplingOptions
    from mesoface.dataset.uv_registration import RegistrationOptions
    from mesoface.flows.dataset_stages import model_in_use, run_patches, run_uv
    from mesoface.model.landmark_detector import LandmarkNetwork
    from mesoface.reconstruct.face_load import load_face_model
    from mesoface.reconstruct.scan_source import open_scan

    with tempfile.TemporaryDirectory() as temporary:
        own = Path(temporary) / source.name
        own.mkdir()
        for name in ("geometry", "normals", "displacement"):
            (own / name).symlink_to((results / name).resolve())
        scan, before = open_scan(source), peak_gb()
        clock = Clock()
        used = model_in_use(load_face_model("procedural"), size)
        clock.lap("face model and charts, once for all scans")
        options = RegistrationOptions(size=size)
        run_uv(scan, own, used, LandmarkNetwork(), options, landmarks=landmarks, detector_id="benchmark")
        clock.lap("registration")
        run_patches(own / "uv", used, SamplingOptions(), 0)
        clock.lap("sampling")
    print(f"  peak {peak_gb():.2f} GB ({before:.2f} before)")
    spent = clock.seconds["registration"] + clock.seconds["sampling"]
    return [
        Check("registration and sampling, time", spent, "s", SCAN_SECONDS),
        Check("registration and sampling, memory", peak_gb(), "GB", SCAN_GB),
    ]


class Clock:
    """Wall and CPU seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.seconds[name] = now[0] - self._last[0]
        print(f"  {name}: {self.seconds[name]:.1f} s, {now[1] - self._last[1]:.1f} CPU-s")
        self._last = now


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def said(what: str, done: int, total: int) -> None:
    print(f"  {time.perf_counter():10.1f} {what} ({done} of {total})", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, patches in (("pca", 10_000), ("reads", 1_500)):
        one = verbs.add_parser(verb)
        one.add_argument("--folder", type=Path, default=None, help="empty folder to write into; kept")
        one.add_argument("--patches", type=int, default=patches)
    one = verbs.add_parser("registration")
    one.add_argument("scan", type=Path)
    one.add_argument("results", type=Path)
    one.add_argument("--landmarks", type=Path, default=None)
    one.add_argument("--size", type=int, default=2048)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.verb == "registration":
            checks = registration(arguments.scan, arguments.results, arguments.landmarks, arguments.size)
        else:
            folder = arguments.folder or Path(temporary)
            checks = (pca if arguments.verb == "pca" else reads)(folder, arguments.patches)
    for check in checks:
        sign, verdict = "<=" if check.at_most else ">=", "PASS" if check.passed else "FAIL"
        print(f"  {check.name:<40}{check.value:>9.3f} {check.unit:<4}{sign} {check.bound:<6g}{verdict}")
    return int(any(not check.passed for check in checks))


if __name__ == "__main__":
    raise SystemExit(main())
