"""Training of the DFDN on a tiny dataset: it learns, stops, goes on bit for bit, and keeps what it had."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dfdn_fixtures import lit_dataset

from mesoface.capture.errors import UserError
from mesoface.dataset.pca_basis import read_pca
from mesoface.model.dfdn_checkpoint import read_checkpoint
from mesoface.model.dfdn_data import BatchStream, TrainingSet, open_training_set, open_wild
from mesoface.model.dfdn_log import read_log
from mesoface.model.dfdn_model import load_dfdn
from mesoface.model.dfdn_presets import PRESETS, Preset
from mesoface.model.dfdn_score import band_power
from mesoface.model.dfdn_train import DfdnTraining, Machine, Outcome, Status, train_dfdn

TINY = {"pdim_channels": (8, 16, 16), "pdrm_channels": (8, 16), "disc_channels": (8, 8), "batch": 8}
SMALL = replace(PRESETS["small"], **TINY)
EVERYTHING = replace(SMALL, gan="log", noise_channels=1, norm="batch")
"""Adversarial, with noise and batch normalisation: every part that has a state."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return lit_dataset(tmp_path_factory.mktemp("lit"))


def scans_of(folder: Path, **options) -> TrainingSet:
    return open_training_set(folder, "all", 0, options.pop("augment", True), **options)


def run(folder: Path, out: Path, preset: Preset = SMALL, *, epochs=1.0, appearance=False, evaluate=1000, seed=0,
        **options) -> Outcome:  # fmt: skip
    scans = scans_of(folder, verify=False)
    wild = open_wild(folder, scans.index, "all", 0, True) if appearance else None
    training = DfdnTraining(preset, epochs, seed=seed, evaluate_steps=evaluate)
    return train_dfdn(training, scans, wild, out, **options)


def stop_after(steps: int):
    count = iter(range(1, 1_000_000))
    return lambda: "enough" if next(count) >= steps else ""


def test_it_learns_relief_of_unseen_people_from_shading(folder, tmp_path):
    seen: list[Status] = []
    outcome = run(folder, tmp_path, epochs=5, report=seen.append)
    first, last = outcome.history[0], outcome.history[-1]
    assert first["fine_rms_mm"] == pytest.approx(first["zero_rms_mm"])  # it starts at the zero map
    assert last["fine_band_mm"] < 0.6 * last["zero_band_mm"] and last["fine_rms_mm"] < 0.7 * last["zero_rms_mm"]
    assert outcome.step == outcome.steps and outcome.paused == ""
    assert seen[-1].step == outcome.steps and seen[-1].scores is not None
    model = load_dfdn(tmp_path)
    assert model.about.trained_on.startswith("lit: ") and model.about.height_scale_mm > 0
    assert model.about.steps == min(outcome.history, key=lambda entry: entry["fine_band_mm"])["step"]
    basis = read_pca(folder / "pca.npz")
    assert np.array_equal(model.network.components.numpy(), basis.components.reshape(len(basis.components), -1))
    assert len(list((tmp_path / "pictures").glob("*.png"))) == len(outcome.history)
    entries = read_log(tmp_path)
    assert {"step", "epoch", "rate", "loss", "pca", "fine"} <= set(entries[1]) and "fine_band_mm" in entries[-1]
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["preset.name"] == "small"


def test_bfloat16_learns_too_and_keeps_float32_weights(folder, tmp_path):
    outcome = run(folder, tmp_path, epochs=3, machine=Machine(half=True))
    last = outcome.history[-1]
    assert last["fine_band_mm"] < 0.75 * last["zero_band_mm"]
    assert all(value.dtype == torch.float32 for value in load_dfdn(tmp_path).network.parameters())


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(folder, tmp_path):
    whole = run(folder, tmp_path / "whole", EVERYTHING, epochs=2, appearance=True, evaluate=7)
    parts = run(folder, tmp_path / "parts", EVERYTHING, epochs=2, appearance=True, evaluate=7, pause=stop_after(3))
    assert parts.paused == "enough" and parts.step == 3
    torch.manual_seed(12345)  # another process would have other random numbers
    parts = run(folder, tmp_path / "parts", EVERYTHING, epochs=2, appearance=True, evaluate=7, pause=stop_after(8))
    assert parts.step == 11  # in the middle of the second epoch, of the alternating phase
    parts = run(folder, tmp_path / "parts", EVERYTHING, epochs=2, appearance=True, evaluate=7)
    assert parts.step == whole.step == whole.steps and parts.history == whole.history
    for name in ("last.pt", "best.pt"):
        first, second = (read_checkpoint(tmp_path / half / name) for half in ("whole", "parts"))
        for content in (first, second):
            (content["training"] or {}).pop("seconds", None)
        assert same(first, second), name
    lines = [[entry for entry in read_log(tmp_path / half) if "loss" in entry] for half in ("whole", "parts")]
    assert [entry["loss"] for entry in lines[0]] == [entry["loss"] for entry in lines[1]]


def same(first, second) -> bool:
    """Equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return set(first) == set(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_appearance_and_adversarial_losses_come_in_their_phase(folder, tmp_path):
    run(folder, tmp_path, EVERYTHING, epochs=10, appearance=True, pause=stop_after(20))
    phases = {entry["step"]: entry for entry in read_log(tmp_path) if "phase" in entry}
    assert phases[10]["phase"] == "alternating" and {"gan", "discriminator", "appearance"} <= set(phases[10])
    run(folder, tmp_path / "long", EVERYTHING, epochs=250, appearance=True, pause=stop_after(10))
    first = next(entry for entry in read_log(tmp_path / "long") if "phase" in entry)
    assert first["phase"] == "pdim" and "gan" not in first and "fine" not in first and "appearance" not in first
    content = read_checkpoint(tmp_path / "long" / "last.pt")
    assert all(float(value.abs().max()) == 0 for name, value in content["network"].items() if "pdrm.up.0.1" in name)


def test_other_settings_or_data_do_not_continue_a_run(folder, tmp_path):
    run(folder, tmp_path, pause=stop_after(2))
    with pytest.raises(UserError, match=r"preset\.learning_rate"):
        run(folder, tmp_path, replace(SMALL, learning_rate=1e-5))
    with pytest.raises(UserError, match=r"preset\.gan"):
        run(folder, tmp_path, EVERYTHING)
    other = shutil.copytree(folder, tmp_path / "other")
    index = (other / "dataset.json").read_text()
    (other / "dataset.json").write_text(index.replace('"lit"', '"another"'))
    with pytest.raises(UserError, match="dataset"):
        run(other, tmp_path)
    with pytest.raises(UserError, match="epochs"):
        run(folder, tmp_path, epochs=3)


def test_a_truncated_checkpoint_is_told_and_the_best_still_loads(folder, tmp_path):
    run(folder, tmp_path, pause=stop_after(2))
    data = (tmp_path / "last.pt").read_bytes()
    for kept in (len(data) // 2, 100, 0):
        (tmp_path / "last.pt").write_bytes(data[:kept])
        with pytest.raises(UserError, match=r"last\.pt.*best\.pt"):
            run(folder, tmp_path)
    assert load_dfdn(tmp_path).about.steps == 0
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    torch.save({**content, "preset": {**content["preset"], "pdim_channels": [8, 8, 8]}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="another network"):
        load_dfdn(tmp_path / "other.pt")


def test_nan_stops_with_the_step_and_leaves_the_checkpoint(folder, tmp_path, monkeypatch):
    run(folder, tmp_path, pause=stop_after(4))
    kept = (tmp_path / "last.pt").read_bytes()
    from mesoface.model import dfdn_step

    original, calls = dfdn_step.geometry_loss, []

    def poisoned(*arguments):
        calls.append(1)
        terms = original(*arguments)
        return {**terms, "pca": terms["pca"] * float("nan")} if len(calls) == 3 else terms

    monkeypatch.setattr(dfdn_step, "geometry_loss", poisoned)
    with pytest.raises(UserError, match=r"step 7.*intact"):
        run(folder, tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == kept


def test_constant_and_empty_patches_train_without_nan(folder, tmp_path):
    scans = scans_of(folder, augment=False, verify=False)
    item = type(scans.train).__getitem__

    class Blank(type(scans.train)):
        def __getitem__(self, index):
            found = item(self, index)
            if index % 2:
                found["texture_linear"].fill_(0.5)
            if index % 3 == 0:
                found["valid"].zero_()
            return found

    scans.train.__class__ = Blank
    outcome = train_dfdn(DfdnTraining(EVERYTHING, 1, evaluate_steps=1000), scans, None, tmp_path)
    assert outcome.step == outcome.steps and all(np.isfinite(list(entry.values())).all() for entry in outcome.history)


def test_batches_are_halved_when_memory_runs_out(folder, tmp_path, monkeypatch):
    plain = run(folder, tmp_path / "plain", pause=stop_after(6))
    from mesoface.model.dfdn_step import Stepper

    original, sizes = Stepper._run, []

    def cramped(self, part, pdim_only):
        sizes.append(len(part["valid"]))
        if len(part["valid"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, part, pdim_only)

    monkeypatch.setattr(Stepper, "_run", cramped)
    seen: list[Status] = []
    split = run(folder, tmp_path / "split", pause=stop_after(6), report=seen.append)
    assert sizes[:7] == [8, 4, 2, 2, 2, 2, 2] and max(sizes[2:]) == 2
    assert sum("out of memory" in status.message for status in seen) == 2
    assert split.step == plain.step == 6
    first, second = (read_checkpoint(tmp_path / half / "last.pt")["training"]["trained"] for half in ("plain", "split"))
    apart = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert apart < 1e-3  # the same steps but for the order of sums, which Adam's first steps magnify

    def hopeless(self, part, pdim_only):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Stepper, "_run", hopeless)
    with pytest.raises(UserError, match="smaller preset"):
        run(folder, tmp_path / "none")


def test_without_refinement_the_pca_map_is_the_result(folder, tmp_path):
    outcome = run(folder, tmp_path, replace(SMALL, refine=False), epochs=1)
    assert outcome.history[-1]["fine_rms_mm"] == outcome.history[-1]["pca_rms_mm"] < outcome.history[-1]["zero_rms_mm"]
    assert not any("pdrm" in name for name in load_dfdn(tmp_path).network.state_dict())


def test_area_models_see_their_area_only(folder, tmp_path):
    upper = open_training_set(folder, "UPPER", 0, False, False)
    assert {info.area for info in upper.train.infos} == {1} and len(upper.train) < len(scans_of(folder).train)
    train_dfdn(DfdnTraining(SMALL, 0.3, "UPPER"), upper, None, tmp_path)
    assert load_dfdn(tmp_path).about.area == "UPPER"
    with pytest.raises(UserError, match="nose"):
        open_training_set(folder, "nose", 0, False)


def test_batches_follow_from_their_number_alone(folder):
    scans = scans_of(folder, verify=False)
    from itertools import islice

    first = [batch["index"].tolist() for batch in islice(BatchStream(scans.train, 8, seed=1).batches(0), 25)]
    stream = BatchStream(scans.train, 8, seed=1)
    assert stream.per_epoch == len(scans.train) // 8
    for start in (3, stream.per_epoch, stream.per_epoch + 2):
        later = next(iter(stream.batches(start)))
        assert later["index"].tolist() == first[start]
    shares = [BatchStream(scans.train, 4, seed=1, rank=rank, ranks=2) for rank in (0, 1)]
    both = [next(iter(share.batches(0)))["index"].tolist() for share in shares]
    assert not set(both[0]) & set(both[1])


def test_photographs_of_another_map_size_are_refused(folder):
    scans = scans_of(folder, verify=False)
    with pytest.raises(UserError, match="map_size"):
        open_wild(folder, replace(scans.index, map_size=2048), "all", 0, False)


def test_band_power_sees_its_band_only():
    rows = np.arange(128)[:, None] * np.ones((1, 128))
    energies = []
    for length_mm in (0.7, 3.0, 20.0):
        wave = 0.1 * np.sin(2 * np.pi * rows * 0.2 / length_mm)
        power, window = band_power(wave[None], 0.2)
        energies.append(np.sqrt(power / window))
    assert energies[1] == pytest.approx(0.1 / np.sqrt(2), rel=0.02)
    assert max(energies[0], energies[2]) < 0.003


PAIR = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mesoface.model.dfdn_parallel import join_ranks, leave_ranks
from mesoface.model.dfdn_data import open_training_set
from mesoface.model.dfdn_train import DfdnTraining, Machine, train_dfdn
import mesoface.model.dfdn_train as loop
from test_dfdn_train import EVERYTHING
from dataclasses import replace
ranks = join_ranks("cpu")
states, make = [], loop.new_state
loop.new_state = lambda *arguments: states.append(make(*arguments)) or states[-1]
torch.manual_seed(ranks.rank)
scans = open_training_set(Path(sys.argv[1]), "all", 0, True, False)
preset = replace(EVERYTHING, batch=4)
stop = (lambda: "enough" if states[0].step >= 5 else "") if ranks.first else (lambda: "")
outcome = train_dfdn(DfdnTraining(preset, 2, evaluate_steps=4), scans, None, Path(sys.argv[2]),
                     machine=Machine(ranks=ranks), pause=stop)
torch.save({"step": outcome.step, "paused": outcome.paused, "weights": states[0].network.state_dict()},
           Path(sys.argv[2]) / f"rank{ranks.rank}.pt")
leave_ranks(ranks)
"""


@pytest.mark.slow
def test_two_processes_train_one_network(folder, tmp_path):
    """Each sees its share of patches; gradients are averaged, so weights stay equal; rank 0 writes and stops both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "pair.py").write_text(PAIR)
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
                   "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "pair.py"), str(folder), str(tmp_path)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=240)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["step"] == second["step"] == 5 and first["paused"] == "enough" and second["paused"]
    assert same(first["weights"], second["weights"])
    kept = read_checkpoint(tmp_path / "last.pt")
    assert kept["training"]["step"] == 5 and same(kept["training"]["trained"], first["weights"])
    assert len(read_log(tmp_path)) == 2  # scores at the start and after four steps, each written once
