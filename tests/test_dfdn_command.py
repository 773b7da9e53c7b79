"""`mesoface train dfdn` and `mesoface model export` as a user meets them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from dfdn_fixtures import lit_dataset

from mesoface.flows.cli import main
from mesoface.model.dfdn_checkpoint import read_checkpoint
from mesoface.model.dfdn_model import load_dfdn

THREADS = ["--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return lit_dataset(tmp_path_factory.mktemp("lit"))


def told(capsys) -> str:
    out = capsys.readouterr()
    return " ".join((out.out + out.err).split())


def test_train_continue_and_export(folder, tmp_path, capsys):
    command = ["train", "dfdn", str(folder), "--out", str(tmp_path / "run"), "--preset", "small", "--epochs", "0.3",
               "--wild", str(folder), "--gan", "lsgan", "--batch", "8", *THREADS]  # fmt: skip
    assert main([*command, "--limit-minutes", "0.0001"]) == 0
    words = told(capsys)
    assert "minutes are over: stopped at step 1" in words and "the same command continues" in words
    assert main(command) == 0
    words = told(capsys)
    assert "below the zero map" in words and "10 of photographs" in words and "stopped" not in words
    settings = read_checkpoint(tmp_path / "run" / "last.pt")["training"]["settings"]
    assert settings["preset.gan"] == "lsgan" and settings["epochs"] == 0.3 and settings["wild"]
    assert main(["model", "export", str(tmp_path / "run"), "--out", str(tmp_path / "dfdn.npz")]) == 0
    assert "preset small" in told(capsys)
    model = load_dfdn(tmp_path / "dfdn.npz")
    assert model.preset.gan == "lsgan" and (tmp_path / "dfdn.npz").stat().st_size < 40e6


def test_mistakes_are_one_message(folder, tmp_path, capsys):
    command = ["train", "dfdn", str(folder), "--out", str(tmp_path / "run"), *THREADS]
    assert main([*command, "--epochs", "0"]) == 2 and "epochs" in told(capsys)
    assert main([*command, "--lr", "-1"]) == 2 and "learning_rate" in told(capsys)
    assert main([*command, "--batch", "0"]) == 2 and "batch 0" in told(capsys)
    if not torch.cuda.is_available():
        assert main([*command, "--device", "cuda"]) == 2 and "--device cpu" in told(capsys)
    assert main(["train", "dfdn", str(tmp_path / "nowhere"), *THREADS]) == 2 and "nowhere" in told(capsys)
    assert main(["model", "export", str(tmp_path), "--out", str(tmp_path / "m.npz")]) == 2 and "best.pt" in told(capsys)
    (folder / "pca.npz").rename(folder / "pca.away")
    try:
        assert main(command) == 2 and "mesoface dataset pca" in told(capsys)
    finally:
        (folder / "pca.away").rename(folder / "pca.npz")


def test_ctrl_c_writes_a_checkpoint_and_exits_with_130(folder, tmp_path):
    command = [sys.executable, "-m", "mesoface.flows.cli", "train", "dfdn", str(folder), "--out", str(tmp_path),
               "--epochs", "5000", "--evaluate-every", "100000", *THREADS]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    deadline = time.monotonic() + 120
    log = tmp_path / "log.jsonl"
    while not (log.exists() and '"phase"' in log.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, output
    assert "run the same command again" in output
    assert read_checkpoint(tmp_path / "last.pt")["training"]["step"] >= 10
