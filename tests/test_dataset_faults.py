"""What goes wrong with datasets: a full disk, missing stages, foreign units and versions, workers of a killed build."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from dataset_fixtures import OPTIONS, hashes, made_dataset, made_maps, written_patches

from mesoface.capture.errors import UserError
from mesoface.dataset.patch_shards import ShardReader
from mesoface.dataset.pca_basis import read_pca
from mesoface.dataset.torch_patches import PatchDataset
from mesoface.dataset.uv_maps import read_uv_maps, write_uv_maps
from mesoface.flows.cli import main
from mesoface.flows.dataset_jobs import remove_abandoned
from mesoface.reconstruct.face_load import load_face_model

SHAPE = ["--size", "256", "--patch", "32", "--count", "6", "--shares", "1,0,0"]
LIMITED = """
import resource, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from dataset_fixtures import made_maps, written_patches
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
try:
    written_patches(Path({folder!r}), made_maps("S001", "smile", 4))
except Exception as error:
    raise SystemExit(f"{{type(error).__name__}}: {{error}}")
"""


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def imported(folder: Path, subject: str, seed: int, image: str = "") -> Path:
    """A folder as of `mesoface dataset import`."""
    maps = made_maps(subject, "neutral", seed, model="mesoface procedural head")
    model = load_face_model("procedural").name
    for key, value in (("face_model", model), ("image_sha256", image or maps.source.image_sha256)):
        object.__setattr__(maps.source, key, value)
    (folder / "uv").mkdir(parents=True)
    write_uv_maps(folder / "uv", maps)
    outputs = {"displacement_mm.tif": subject}
    (folder / "uv/stage.json").write_text(json.dumps({"format": "mesoface-stage", "outputs": outputs}))
    return folder


def test_full_disk_leaves_nothing_and_does_not_crash(tmp_path):
    """HDF5 itself ends in a segmentation fault when a write fails; so room is asked for first."""
    script = LIMITED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and run.stderr.startswith("DiskFull") and "no room for 1 MB" in run.stderr
    assert run.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_full_disk_stops_the_build(tmp_path, capsys, monkeypatch):
    scans = [imported(tmp_path / f"S{k:03d}_neutral", f"S{k:03d}", k) for k in (1, 2)]
    command = ["dataset", "build", *map(str, scans), "--out", str(tmp_path / "set"), *SHAPE]

    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert main(command) == 2
    said = told(capsys)
    assert "no room for" in said and "run the same command again" in said and "left out" not in said
    assert not (tmp_path / "set").exists() and not (scans[0] / "patches").exists()
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr("mesoface.dataset.assemble.write_index", lambda *_: full(0, 0, 0))
        assert main(command) == 2 and "every finished file is kept" in told(capsys)
    assert main(command) == 0 and main(["dataset", "verify", str(tmp_path / "set")]) == 0


def test_one_person_under_two_names_stops_the_build(tmp_path, capsys):
    scans = [imported(tmp_path / f"S{k:03d}_neutral", f"S{k:03d}", k, "the same") for k in (1, 2)]
    assert main(["dataset", "build", *map(str, scans), "--out", str(tmp_path / "set"), *SHAPE]) == 2
    assert "one person under two names would leak" in told(capsys) and not (tmp_path / "set").exists()


def test_mixed_scales_and_units(tmp_path, capsys):
    faces = [written_patches(tmp_path, made_maps("S001", "neutral", 1))]
    faces.append(written_patches(tmp_path, made_maps("S002", "neutral", 2, size=512)))
    from mesoface.dataset.assemble import assemble

    with pytest.raises(UserError, match=r"map size 512, S001_neutral has 256; a dataset takes one"):
        assemble(faces, tmp_path / "set", "mixed")
    with h5py.File(faces[0].path, "r+") as file:
        file.attrs["unit"] = "m"
    with pytest.raises(UserError, match=r"unit 'm', expected 'mm'"):
        ShardReader(faces[0].path)
    folder = imported(tmp_path / "S003_neutral", "S003", 3)
    text = (folder / "uv/uv_maps.json").read_text()
    (folder / "uv/uv_maps.json").write_text(text.replace('"displacement_unit": "mm"', '"displacement_unit": "cm"'))
    assert main(["dataset", "build", str(folder), "--out", str(tmp_path / "set"), *SHAPE]) == 2
    said = told(capsys)
    assert "left out: S003_neutral" in said and "displacement in 'cm', expected 'mm'" in said


def test_newer_versions_are_refused(tmp_path):
    face = written_patches(tmp_path, made_maps("S001", "neutral", 1))
    with h5py.File(face.path, "r+") as file:
        file.attrs["schema_version"] = 2
    with pytest.raises(UserError, match=r"S001_neutral\.h5: schema version 2 is newer than 1; update"):
        ShardReader(face.path)
    write_uv_maps(tmp_path, made_maps("S001", "neutral", 1))
    text = (tmp_path / "uv_maps.json").read_text()
    (tmp_path / "uv_maps.json").write_text(text.replace('"schema_version": 1', '"schema_version": 3'))
    with pytest.raises(UserError, match="schema version 3 is newer than 1"):
        read_uv_maps(tmp_path)
    about = json.dumps({"format": "mesoface-pca", "schema_version": 5, "unit": "mm"}).encode()
    none = np.zeros((1, 4, 4), np.float32)
    np.savez(
        tmp_path / "pca.npz", components=none, mean_mm=none[0], variance_mm2=np.zeros(1),
        about=np.frombuffer(about, np.uint8),
    )  # fmt: skip
    with pytest.raises(UserError, match="up to version 1 in mm, found"):
        read_pca(tmp_path / "pca.npz")


def test_missing_stage_is_named(tmp_path):
    from mesoface.dataset.uv_registration import RegistrationOptions
    from mesoface.flows.dataset_stages import run_patches, run_uv

    scan, used = SimpleNamespace(folder=tmp_path / "S001_smile"), SimpleNamespace(sha256="")  # looked at later
    with pytest.raises(UserError, match=r"geometry: is missing; run `mesoface reconstruct .*S001_smile`"):
        run_uv(scan, tmp_path, used, None, RegistrationOptions())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="uv: no finished stage here"):
        run_patches(tmp_path / "uv", used, OPTIONS, 0)  # type: ignore[arg-type]


def test_shards_cut_or_compressed_by_others(tmp_path):
    made_dataset(tmp_path)
    path = tmp_path / "set/scan-000.h5"
    with ShardReader(path) as shard:
        whole = [shard.arrays(k) for k in range(len(shard))]
        stack = shard.stacked("displacement_mm", [5, 1, 5])
        for row, k in zip(stack, (5, 1, 5), strict=True):
            np.testing.assert_array_equal(row, whole[k]["displacement_mm"])
        with pytest.raises(IndexError):
            shard.arrays(len(shard))
    with h5py.File(path) as opened:  # what we read past HDF5 is what it reads
        file: Any = opened
        for k in (0, 7, len(whole) - 1):
            for name, values in whole[k].items():
                np.testing.assert_array_equal(values, file[name][k])
        with h5py.File(tmp_path / "packed.h5", "w") as packed:
            packed.attrs.update(file.attrs)
            for name, data in file.items():
                packed.create_dataset(name, data=data[...], compression="gzip" if data.ndim > 1 else None)
    with ShardReader(tmp_path / "packed.h5") as shard:
        np.testing.assert_array_equal(shard.arrays(7)["texture_linear"], whole[7]["texture_linear"])
        np.testing.assert_array_equal(shard.stacked("displacement_mm", [5, 1, 5]), stack)
    patches = PatchDataset(tmp_path / "set", "all", verify=False)
    patches[0]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"scan-000\.h5: is truncated"):
        [patches[k] for k in range(40)]


def test_tensors_kept_by_the_user_never_change(tmp_path):
    import torch

    made_dataset(tmp_path, 3)
    patches = PatchDataset(tmp_path / "set", "all", verify=False)
    kept = [patches[k] for k in range(12)]
    views = [item["texture_linear"][:, 4:9].numpy() for item in kept]
    before = [{name: value.clone() for name, value in item.items() if hasattr(value, "clone")} for item in kept]
    copies = [view.copy() for view in views]
    del kept[6:]
    for turn in range(3):
        for k in range(len(patches)):
            patches[(7 * k + turn) % len(patches)]
    for item, old in zip(kept, before[:6], strict=True):
        assert all(torch.equal(item[name], value) for name, value in old.items())
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(view, copy)


def test_leftovers_of_killed_builds_go(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, ours = (tmp_path / f".scan-000.{pid}.part.h5" for pid in (gone.pid, os.getpid()))
    for path in (dead, ours, tmp_path / "scan-000.h5"):
        path.write_bytes(b"x")
    remove_abandoned(tmp_path)
    assert sorted(hashes(tmp_path)) == sorted([ours.name, "scan-000.h5"])


def test_workers_end_with_a_killed_build():
    script = (
        "import os, time\nfrom mesoface.reconstruct.worker_pool import worker_pool\n"
        "with worker_pool(2) as pool:\n"
        "    print(*{pool.submit(os.getpid).result() for _ in range(2)}, flush=True)\n"
        "    pool.submit(time.sleep, 60)\n    time.sleep(60)\n"
    )
    build = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert build.stdout is not None
    workers = [int(word) for word in build.stdout.readline().split()]
    build.kill()
    build.wait()
    build.stdout.close()
    end = time.monotonic() + 10
    while any(running(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.02)
    assert workers and not any(running(pid) for pid in workers)


def test_a_colmap_step_ends_with_a_killed_build():
    """It waits for its arguments from our end of the pipe, which stays open: only the parent's death can end it."""
    script = (
        "import subprocess, sys\n"
        "step = subprocess.Popen([sys.executable, '-m', 'mesoface.reconstruct.colmap_worker', 'devices'])\n"
        "print(step.pid, flush=True)\nstep.wait()\n"
    )
    command = [sys.executable, "-c", script]
    build = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert build.stdout is not None and build.stdin is not None
    step = int(build.stdout.readline())
    time.sleep(3)
    assert running(step)
    build.kill()
    build.wait()
    end = time.monotonic() + 10
    while running(step) and time.monotonic() < end:
        time.sleep(0.02)
    assert not running(step)
    build.stdin.close()
    build.stdout.close()


def test_ctrl_c_ends_workers_and_what_waits_for_them(tmp_path):
    """Five pieces of work of two seconds for two workers, interrupted in the first: none is done, none begun later."""
    script = (
        "import os, signal, sys, time\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs in the background are born deaf to it
        "from mesoface.reconstruct.worker_pool import worker_pool\n"
        "def work(number):\n"
        "    Path(sys.argv[1], f'begun{number}').touch()\n    time.sleep(2)\n"
        "    Path(sys.argv[1], f'done{number}').touch()\n"
        "with worker_pool(2) as pool:\n"
        "    print(*{pool.submit(os.getpid).result() for _ in range(2)}, flush=True)\n"
        "    for future in [pool.submit(work, number) for number in range(5)]:\n        future.result()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    build = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert build.stdout is not None
    build.stdout.readline()
    end = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = build.communicate(timeout=20)
    assert errors.count("KeyboardInterrupt") == 1, "the workers say nothing"
    time.sleep(2.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun0", "begun1"]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_card_shows_heights_regions_and_wild_alone(tmp_path, capsys):
    made_dataset(tmp_path)
    assert main(["dataset", "card", str(tmp_path / "set")]) == 0
    card = (tmp_path / "set/card.html").read_text()
    for words in ("Displacement", "forehead", "valid texels", "Spectrum", "CC0", "S003", "train 4", "<rect"):
        assert words in card, words
    assert "http" not in card.split("<body>")[1].replace("http://www.w3.org", "")
    before = card
    assert main(["dataset", "view", str(tmp_path / "set")]) == 0  # its earlier name
    assert (tmp_path / "set/card.html").read_text() == before


def test_picture_of_the_regions(tmp_path, capsys):
    import cv2

    from mesoface.dataset.face_areas import Area
    from mesoface.flows.dataset_regions import AREA_RGB

    assert main(["dataset", "regions", "--out", str(tmp_path / "r.png"), "--size", "256"]) == 0
    read = cv2.imread(str(tmp_path / "r.png"))
    assert read is not None and read.shape[0] == 256 and read.shape[1] > 2 * 256
    picture = read[..., ::-1]
    areas = picture[:, 256:512]
    upper, lower = (np.argwhere((areas == AREA_RGB[a]).all(-1)) for a in (Area.UPPER, Area.LOWER))
    assert len(upper) > 2000 and len(lower) > 2000 and np.median(upper[:, 0]) < np.median(lower[:, 0])
    assert main(["dataset", "regions", "--out", str(tmp_path / "r.png")]) == 2 and "--force" in told(capsys)
    assert main(["dataset", "regions", "--out", str(tmp_path / "r.jpg")]) == 2 and ".png" in told(capsys)
