"""More questions of `mesoface doctor`: torch's device, shipped networks, optional libraries, folders to write to."""

import importlib.metadata
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..model.appearance_features import SHIPPED as APPEARANCE
from ..model.dfdn_checkpoint import SHIPPED as DFDN
from ..model.emotion_net import SHIPPED as EMOTION
from ..model.landmark_net import SHIPPED as LANDMARKS
from ..reconstruct.landmark_models import data_folder
from .doctor_probes import REINSTALL, Finding, ask_python, import_code, installed_version
from .run_log import log_folder

NETWORKS = {"landmark network": LANDMARKS, "Emotion-Net": EMOTION, "action units": APPEARANCE}
EXTRAS = {
    "eos-py": ("eos", "", "Only eos .bin files need it"),
    "OpenEXR": ("exr", "OpenEXR", "Only displacement_mm.exr needs it; displacement_mm.tif holds the same"),
    "mediapipe": ("mediapipe", "mediapipe", "Only --detector mediapipe needs it"),
    "dlib": ("dlib", "dlib", "Only --detector dlib needs it"),
    "prefect": ("prefect", "", "Only flows with a user interface need it; --no-prefect runs the same functions"),
    "dask": ("dask", "", "Only --runner dask needs it, to use several machines"),
}
"""Distribution -> extra of mesoface, module that must load (empty: not tried), what it is for."""


def torch_device() -> list[Finding]:
    """What networks train and run on."""
    code = (
        "import json, torch\n"
        "cuda = torch.cuda.is_available()\n"
        "name = torch.cuda.get_device_name(0) if cuda else f'CPU, {torch.get_num_threads()} threads'\n"
        "print(json.dumps([str(torch.__version__), bool(cuda), name, float(torch.ones(3).sum())]))"
    )
    answer, why = ask_python(code)
    if answer is None:
        return [Finding("torch device", "broken", why, f"PyTorch does not work, no network runs. {REINSTALL}")]
    version, cuda, name, total = answer
    if total != 3:
        return [Finding("torch device", "broken", f"{version} computes wrongly on {name}", REINSTALL)]
    advice = "" if cuda else "Networks run on the CPU. With an NVIDIA card: install PyTorch's build for CUDA."
    return [Finding("torch device", "ok" if cuda else "optional", f"{version} on {name}", advice)]


def networks() -> list[Finding]:
    """The weights that come with mesoface: there, and every byte readable."""
    findings = [weights(name, path, needed=True) for name, path in NETWORKS.items()]
    return [*findings, weights("DFDN", DFDN, needed=False)]


def weights(name: str, path: Path, *, needed: bool) -> Finding:
    """One .npz of shipped weights, its checksums compared."""
    if not path.is_file():
        if needed:
            return Finding(name, "missing", f"no {path.name}", REINSTALL)
        advice = "mesoface synthesize then needs --model: train one with mesoface train dfdn."
        return Finding(name, "optional", f"no {path.name}", advice)
    try:
        with zipfile.ZipFile(path) as archive:
            bad, count = archive.testzip(), len(archive.namelist())
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        bad, count = f"{type(error).__name__}: {error}", 0
    if bad or not count:
        return Finding(name, "broken", f"{path.name} is damaged ({bad or 'empty'})", REINSTALL)
    return Finding(name, "ok", f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")


def extras() -> list[Finding]:
    """Libraries that only some commands need: installed, of a fitting version, and loadable."""
    versions = {name: installed_version(name) for name in EXTRAS}
    modules = [module for name, (_, module, _) in EXTRAS.items() if module and versions[name]]
    failed, why = ask_python(import_code(modules)) if modules else ({}, "")
    failed = failed or {}
    findings = []
    for name, (extra, module, purpose) in EXTRAS.items():
        version, wanted = versions[name], extra_range(name, extra)
        install = f"{purpose}: pip install '{name}{wanted}'"
        broken = why or failed.get(module, "")
        if version is None:
            findings.append(Finding(name, "optional", "not installed", install))
        elif not wanted.contains(version, prereleases=True):
            findings.append(Finding(name, "optional", f"{version}, outside {wanted}", install))
        elif module and broken:
            findings.append(Finding(name, "optional", f"{version} does not load: {broken}", install))
        else:
            findings.append(Finding(name, "ok", version))
    return findings


def extra_range(name: str, extra: str) -> SpecifierSet:
    """The versions of a library that mesoface's metadata names for an extra; all where it names none."""
    try:
        lines = importlib.metadata.requires("mesoface") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if requirement.name.lower() == name.lower() and marker is not None and marker.evaluate({"extra": extra}):
            return requirement.specifier
    return SpecifierSet()


def folders() -> list[Finding]:
    """Whether results, settings data and logs can be written where they go."""
    here = writable("write here", Path(), needed=True, advice="Change to a folder that you may write to.")
    data = writable("data folder", data_folder(), needed=False, advice="Set XDG_DATA_HOME to a folder of yours.")
    logs = writable("log folder", log_folder(), needed=False, advice="Runs leave no log; set XDG_STATE_HOME.")
    return [here, data, logs]


def writable(name: str, folder: Path, *, needed: bool, advice: str) -> Finding:
    """Write and remove a file in `folder`, or in the nearest folder above it that exists."""
    try:
        place = folder.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"mesoface")
    except (OSError, RuntimeError) as error:
        return Finding(name, "broken" if needed else "optional", f"{folder}: {error}", advice)
    return Finding(name, "ok", str(folder.absolute()))
