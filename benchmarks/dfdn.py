"""Speed of the DFDN: inference and training by preset, a whole face, and the share of data loading.

python benchmarks/dfdn.py inference --preset paper --preset fast      # patches per second, beside the released network
python benchmarks/dfdn.py train --preset small --preset fast          # patches per second of supervised steps
python benchmarks/dfdn.py loading datasets/virtual --preset fast      # share of waiting for patches in a step
python benchmarks/dfdn.py face --preset fast                          # a face of 2048 texels at 50 % overlap
"""

import time
from typing import Any

import numpy as np
from cyclopts import App

app = App(help=__doc__, help_format="plaintext")

SIDE, COMPONENTS, SCALE_MM, TEXEL_MM = 256, 64, 0.76, 0.17
PRESETS = ["paper", "released", "small", "fast"]
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0}
"""bf16, dense, by the maker."""


def a_basis(side: int = SIDE) -> Any:
    """64 orthonormal patches."""
    from mesoface.dataset.pca_basis import PcaBasis

    rng = np.random.default_rng(0)
    rows = np.linalg.qr(rng.standard_normal((side * side, COMPONENTS)))[0].T.astype(np.float32)
    zero = np.zeros((side, side), np.float32)
    return PcaBasis(rows.reshape(-1, side, side), zero, np.full(COMPONENTS, 1.0), 64.0, 1000, "all")


def a_model(preset: str, map_size: int, device: str) -> Any:
    """A network with random weights."""
    from mesoface.model.dfdn_model import DfdnAbout, new_dfdn
    from mesoface.model.dfdn_presets import PRESETS as KNOWN

    about = DfdnAbout("procedural", map_size, SIDE, TEXEL_MM, SCALE_MM, "all", "", "", "random weights")
    return new_dfdn(KNOWN[preset], a_basis(), about).to(device)


def place(device: str, threads: int) -> str:
    """Set up torch; the device's name."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def finished(device: str) -> float:
    """The time, once the device has done all it was given."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


@app.command
def inference(
    *, preset: list[str] = PRESETS, patches: int = 32, batch: int = 16, device: str = "", threads: int = 0,
    rounds: int = 3,
) -> None:  # fmt: skip
    """Patches per second, best of some rounds that take turns; a plain loop over the released network beside them."""
    device = place(device, threads)
    rng = np.random.default_rng(0)
    textures = rng.uniform(0.2, 0.8, (patches, SIDE, SIDE, 3)).astype(np.float32)
    valid = np.ones(textures.shape[:3], bool)
    models = {name: a_model(name, 2048, device) for name in preset}
    plain = a_model("released", 2048, device)

    def batches(model: Any) -> None:
        for first in range(0, patches, batch):
            model.displacement_mm(textures[first : first + batch], valid[first : first + batch])

    def loop() -> None:
        for number in range(patches):
            plain.displacement_mm(textures[number : number + 1], valid[number : number + 1])

    works: dict[str, Any] = {
        f"{name}, batches of {batch}": (lambda model=model: batches(model)) for name, model in models.items()
    }
    works["released, a plain loop, one by one"] = loop
    best = dict.fromkeys(works, np.inf)
    for _ in range(rounds):
        for name, work in works.items():
            started = finished(device)
            work()
            best[name] = min(best[name], finished(device) - started)
    for name, seconds in best.items():
        print(f"{name}: {patches / seconds:.2f} patches/s, {1000 * seconds / patches:.0f} ms each")


@app.command
def train(*, preset: list[str] = PRESETS, batch: int = 0, steps: int = 6, device: str = "", threads: int = 0) -> None:
    """Patches per second of supervised steps (both modules, and the discriminator where a preset has one)."""
    import torch

    from mesoface.model.dfdn_networks import build_dfdn
    from mesoface.model.dfdn_parallel import Ranks
    from mesoface.model.dfdn_presets import PRESETS as KNOWN
    from mesoface.model.dfdn_state import new_state
    from mesoface.model.dfdn_step import Stepper

    device = place(device, threads)
    where = torch.device(device)
    for name in preset:
        chosen = KNOWN[name]
        size = batch or chosen.batch
        state = new_state(chosen, build_dfdn(chosen, a_basis(), SCALE_MM), where)
        stepper = Stepper(
            state, state.network, Ranks(), lambda: torch.autocast(where.type, torch.bfloat16, enabled=device != "cpu"),
            lambda text: print(text),
        )  # fmt: skip
        torch.manual_seed(0)
        data = {
            "texture_srgb": torch.rand(size, 3, SIDE, SIDE), "displacement_mm": 0.1 * torch.randn(size, 1, SIDE, SIDE),
            "valid": torch.ones(size, 1, SIDE, SIDE), "region": torch.ones(size, 1, SIDE, SIDE, dtype=torch.int64),
        }  # fmt: skip
        data = {key: value.to(where) for key, value in data.items()}
        noise = torch.randn(size, chosen.noise_channels, SIDE, SIDE, device=where) if chosen.noise_channels else None
        state.network.train()
        stepper.supervised(data, noise, False)
        started = finished(device)
        for _ in range(steps):
            stepper.supervised(data, noise, False)
        seconds = (finished(device) - started) / steps
        print(f"{name}, batch {size}: {size / seconds:.2f} patches/s{share_of_peak(state, size, seconds, where)}")


def share_of_peak(state: Any, size: int, seconds: float, device: Any) -> str:
    """Counted operations of forward and backward of the generator over the GPU's bf16 peak, in words."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if device.type != "cuda":
        return ""
    known = [peak for name, peak in PEAK_TFLOPS.items() if name in torch.cuda.get_device_name(device)]
    network = state.network
    seen = torch.rand(size, network.preset.texture_channels, SIDE, SIDE, device=device)
    valid = torch.ones(size, 1, SIDE, SIDE, device=device)
    counter = FlopCounterMode(display=False)
    with counter, torch.autocast("cuda", torch.bfloat16):
        network(seen, None, valid)[1].sum().backward()
    rate = counter.get_total_flops() / seconds / 1e12
    return f", {rate:.1f} TFLOP/s" + (f", {100 * rate / known[0]:.1f} % of the bf16 peak" if known else "")


@app.command
def loading(
    dataset: str, *, preset: str = "fast", steps: int = 20, workers: int = 0, device: str = "", threads: int = 0
) -> None:
    """Share of a training step that waits for patches of a dataset."""
    from pathlib import Path

    import torch

    from mesoface.model.dfdn_data import BatchStream, on_device, open_training_set
    from mesoface.model.dfdn_networks import build_dfdn
    from mesoface.model.dfdn_parallel import Ranks
    from mesoface.model.dfdn_presets import PRESETS as KNOWN
    from mesoface.model.dfdn_state import new_state
    from mesoface.model.dfdn_step import Stepper

    device = place(device, threads)
    where, chosen = torch.device(device), KNOWN[preset]
    scans = open_training_set(Path(dataset), "all", 0, True, verify=False)
    stream = BatchStream(scans.train, chosen.batch, seed=0, workers=workers)
    state = new_state(chosen, build_dfdn(chosen, scans.basis, scans.index.height_scale_mm), where)
    stepper = Stepper(
        state, state.network, Ranks(), lambda: torch.autocast(where.type, torch.bfloat16, enabled=device != "cpu"),
        lambda text: print(text),
    )  # fmt: skip
    batches = stream.batches(0)
    shape = (stream.batch, chosen.noise_channels, scans.index.patch_px, scans.index.patch_px)
    waited = spent = 0.0
    for step in range(steps + 2):
        started = finished(device)
        batch = on_device(next(batches), where)
        loaded = finished(device)
        stepper.supervised(batch, torch.randn(shape, device=where) if chosen.noise_channels else None, False)
        if step >= 2:  # the first ones open files and set up
            waited, spent = waited + loaded - started, spent + finished(device) - started
    print(
        f"{preset}, patches of {shape[2]} texels, batch {stream.batch}: {steps * stream.batch / spent:.2f} patches/s, "
        f"{1000 * waited / steps:.1f} of {1000 * spent / steps:.0f} ms a step waiting for them, "
        f"{100 * waited / spent:.1f} %"
    )


@app.command
def face(*, preset: str = "fast", size: int = 2048, batch: int = 16, device: str = "", threads: int = 0) -> None:
    """Seconds for the skin of a frontal face at `size` texels and 50 % overlap: patches, network, blending."""
    from mesoface.dataset.face_areas import SKIN_REGIONS, region_map
    from mesoface.model.synthesis import synthesize
    from mesoface.reconstruct.face_load import load_face_model

    device = place(device, threads)
    model = a_model(preset, size, device)
    region = region_map(load_face_model("procedural"), size)
    valid = np.isin(region, SKIN_REGIONS)
    texture = np.random.default_rng(0).uniform(0.2, 0.8, (size, size, 3)).astype(np.float32)
    model.displacement_mm(np.zeros((1, SIDE, SIDE, 3), np.float32), np.ones((1, SIDE, SIDE), bool))
    started = finished(device)
    made = synthesize(model, texture, valid, region, batch=batch)
    seconds = finished(device) - started
    print(f"{preset}: {made.patches} patches of a {size} map in {seconds:.1f} s, {seconds / made.patches:.3f} s each")


if __name__ == "__main__":
    app()
