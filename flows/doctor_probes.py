"""The questions of `mesoface doctor`, one function each.

Whatever loads a native library or talks to a device runs in a process of its own with a time limit: a wrong libLLVM
aborts its process, a USB device that hangs stops it for ever, and neither may take the doctor along.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..reconstruct.mitsuba_engine import variant_works

Status = Literal["ok", "missing", "optional", "broken"]
TIMEOUT_S = 12.0
GIB = 1024**3
REINSTALL = "Install mesoface again with its pinned versions: in the repository `make clean-venv setup`."


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer."""

    name: str
    status: Status
    """ok; optional: absent, and mesoface works without; missing: needed and absent; broken: there and useless."""
    found: str
    advice: str = ""
    """What to do, or empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a process ended."""

    code: int | None
    """Exit code, negative for a signal; None when it was stopped at the time limit or could not start."""
    output: str
    error: str

    @property
    def failure(self) -> str:
        """One line on why the process failed."""
        if self.code is not None and self.code < 0:
            with suppress(ValueError):
                return f"crashed ({signal.Signals(-self.code).name})"
        lines = self.error.strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


def ask(command: list[str], timeout_s: float = TIMEOUT_S, environment: Mapping[str, str] | None = None) -> Answer:
    """Run a command without input; at the time limit it and all it started are killed. Never raises."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True, env=None if environment is None else dict(environment),
        )  # fmt: skip
    except OSError as error:
        return Answer(None, "", str(error))
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1.0)
        return Answer(None, "", f"no answer within {timeout_s:g} s")
    return Answer(process.returncode, output, errors)


def ask_python(code: str, environment: Mapping[str, str] | None = None) -> tuple[Any, str]:
    """Run Python code that prints JSON as its last line: (value, "") or (None, why it failed)."""
    answer = ask([sys.executable, "-P", "-c", code], environment=environment)
    if answer.code == 0:
        with suppress(ValueError, IndexError):
            return json.loads(answer.output.strip().splitlines()[-1]), ""
    return None, answer.failure


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def packages() -> list[Finding]:
    """mesoface, Python, and every library that mesoface's own metadata asks for, against the range it asks for."""
    python = platform.python_version()
    own = installed_version("mesoface")
    if own is None:
        return [Finding("mesoface", "broken", "not installed, only lying here", REINSTALL)]
    metadata = importlib.metadata.metadata("mesoface")
    range_of_python = SpecifierSet(metadata["Requires-Python"] or "")
    findings = [Finding("mesoface", "ok", own)]
    if range_of_python.contains(python, prereleases=True):
        findings.append(Finding("Python", "ok", f"{python} on {platform.system()} {platform.machine()}"))
    else:
        advice = f"mesoface needs Python {range_of_python}. {REINSTALL}"
        findings.append(Finding("Python", "broken", python, advice))
    for line in importlib.metadata.requires("mesoface") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            findings.append(check_requirement(requirement, installed_version(requirement.name)))
    return findings


def check_requirement(requirement: Requirement, version: str | None) -> Finding:
    """Compare an installed version (None: absent) with what is asked for."""
    if version is None:
        return Finding(requirement.name, "missing", "not installed", REINSTALL)
    if not requirement.specifier.contains(version, prereleases=True):
        advice = f"Versions {requirement.specifier} are known to work. {REINSTALL}"
        return Finding(requirement.name, "broken", f"{version}, outside {requirement.specifier}", advice)
    return Finding(requirement.name, "ok", version)


def import_code(modules: list[str]) -> str:
    """For `ask_python`: which of the modules do not load, each with its reason."""
    return (
        "import importlib, json\n"
        "failed = {}\n"
        f"for name in {modules!r}:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except Exception as error:\n"
        "        failed[name] = f'{type(error).__name__}: {error}'\n"
        "print(json.dumps(failed))"
    )


def native_libraries() -> list[Finding]:
    """Whether the compiled libraries load: wheels for another processor or a lacking system library show here."""
    modules = ["numpy", "scipy.sparse", "cv2", "skimage", "numba", "h5py", "rawpy", "tifffile", "trimesh"]
    failed, why = ask_python(import_code(modules))
    if failed is None:
        return [Finding("libraries load", "broken", why, f"One of {', '.join(modules)} does not load. {REINSTALL}")]
    if failed:
        found = "; ".join(f"{name}: {error}" for name, error in failed.items())
        return [Finding("libraries load", "broken", found, REINSTALL)]
    builds = [name for name in ("opencv-python", "opencv-contrib-python") if installed_version(name)]
    advice = ""
    if builds:
        both = f"{' and '.join(builds)} and opencv-python-headless"
        advice = f"{both} write the same folder cv2; uninstall all of them, then install opencv-python-headless."
    return [Finding("libraries load", "ok", f"{len(modules)} tried", advice)]


def mitsuba_scalar() -> list[Finding]:
    """Render a lit ball of 8 x 8 pixels with the engine that needs nothing but itself."""
    code = """
import json, mitsuba as mi
mi.set_variant("scalar_rgb")
film = {"type": "hdrfilm", "width": 8, "height": 8}
scene = mi.load_dict({
    "type": "scene", "integrator": {"type": "direct"}, "light": {"type": "constant"}, "ball": {"type": "sphere"},
    "camera": {"type": "perspective", "to_world": mi.ScalarTransform4f().look_at([0, 0, 4], [0, 0, 0], [0, 1, 0]),
               "film": film},
})
mean = mi.TensorXf(mi.render(scene, spp=1)).array
print(json.dumps([mi.__version__, sum(mean) / len(mean)]))
"""
    answer, why = ask_python(code)
    if answer is None:
        return [Finding("Mitsuba scalar", "broken", why, f"The virtual studio cannot render. {REINSTALL}")]
    version, mean = answer
    if not 0.1 < mean < 2.0:
        return [Finding("Mitsuba scalar", "broken", f"{version} renders a wrong picture (mean {mean:g})", REINSTALL)]
    return [Finding("Mitsuba scalar", "ok", f"{version} renders")]


def mitsuba_llvm() -> list[Finding]:
    """The faster engine, which compiles its kernels with a libLLVM of the system."""
    path = os.environ.get("DRJIT_LIBLLVM_PATH", "")
    source = f"DRJIT_LIBLLVM_PATH={path}" if path else "the libLLVM that the system finds"
    if variant_works("llvm_ad_rgb", timeout_s=TIMEOUT_S):
        return [Finding("Mitsuba LLVM", "ok", f"works with {source}")]
    advice = (
        "For the faster engine (--engine llvm) install libLLVM 19 or newer (Debian: apt install libllvm19) and set "
        "DRJIT_LIBLLVM_PATH to its libLLVM.so; versions 15 and 16 crash on some processors."
    )
    return [Finding("Mitsuba LLVM", "optional", f"does not run with {source}", advice)]


def graphics_card() -> list[Finding]:
    """NVIDIA cards, as their driver names them."""
    program = shutil.which("nvidia-smi")
    advice = "Training is slower without one. With an NVIDIA card: install its driver, so that nvidia-smi works."
    if program is None:
        return [Finding("graphics card", "optional", "no nvidia-smi", advice)]
    answer = ask([program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
    cards = answer.output.strip().splitlines()
    if answer.code != 0 or not cards:
        lines = answer.output.strip().splitlines()
        return [Finding("graphics card", "optional", lines[0] if lines else answer.failure, advice)]
    return [Finding("graphics card", "ok", "; ".join(cards))]


def library_with_cuda(library: str, question: str) -> list[Finding]:
    """Whether an installed library can use CUDA: `question` is a Python expression. Silent where it is absent."""
    if importlib.util.find_spec(library) is None:
        return []
    name = f"{library} CUDA"
    code = f"import json, {library}\nprint(json.dumps([str({library}.__version__), bool({question})]))"
    answer, why = ask_python(code)
    if answer is None:
        return [Finding(name, "optional", why, f"{library} is installed but does not work; install it again.")]
    version, works = answer
    advice = "" if works else f"{library} works on the CPU; only its CUDA build uses an NVIDIA card."
    return [Finding(name, "ok" if works else "optional", f"{version}, {'with' if works else 'without'} CUDA", advice)]


def serial_ports() -> list[Finding]:
    """Ports where a trigger box may be; none is opened."""
    code = (
        "import json\nfrom serial.tools import list_ports\n"
        "print(json.dumps([[p.device, p.description] for p in list_ports.comports() if p.vid is not None]))"
    )
    ports, why = ask_python(code)
    name = "serial ports"
    if ports is None:
        return [Finding(name, "broken", why, f"pyserial does not work. {REINSTALL}")]
    if not ports:
        return [Finding(name, "optional", "no USB serial port", "Connect the trigger box; simulated rigs need none.")]
    advice = ""
    closed = [device for device, _ in ports if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        advice = f"No permission for {', '.join(closed)}: add yourself to the group dialout and log in again."
    return [Finding(name, "ok", "; ".join(f"{device} ({text})" for device, text in ports), advice)]


def cameras() -> list[Finding]:
    """USB cameras that libgphoto2 sees; none is opened, and its settings file goes to a temporary folder."""
    if importlib.util.find_spec("gphoto2") is None:
        advice = "Only real cameras need it: pip install gphoto2"
        return [Finding("cameras", "optional", "the package gphoto2 is not installed", advice)]
    code = "import gphoto2, json\nprint(json.dumps([[n, a] for n, a in gphoto2.Camera.autodetect()]))"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found, why = ask_python(code, {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder})
    if found is None:
        advice = "Install gphoto2 again; unplug a camera that hangs."
        return [Finding("cameras", "optional", f"gphoto2 fails: {why}", advice)]
    if not found:
        advice = "Switch the cameras on and connect them by USB; simulated rigs need none."
        return [Finding("cameras", "optional", "none connected", advice)]
    return [Finding("cameras", "ok", "; ".join(f"{model} at {port}" for model, port in found))]


def machine() -> list[Finding]:
    """Processor cores that this process may use, memory, and room on the disk of the current folder."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    findings = [Finding("CPU cores", "ok", str(cores))]
    with suppress(OSError, ValueError):
        memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
        advice = "" if memory_gib >= 7 else "Full-size scans (24 megapixels) want 8 GiB; take smaller ones here."
        findings.append(Finding("memory", "ok", f"{memory_gib:.1f} GiB", advice))
    try:
        free_gib = shutil.disk_usage(Path.cwd()).free / GIB
    except OSError as error:
        return [*findings, Finding("free disk", "broken", str(error), "Change to a folder that exists.")]
    enough = free_gib >= 1
    advice = "" if enough else "Less than 1 GiB: make room, or work in a folder on another disk."
    return [*findings, Finding("free disk", "ok" if enough else "missing", f"{free_gib:.1f} GiB here", advice)]


def face_models(folder: Path = Path()) -> list[Finding]:
    """The built-in face model, and files and folders beside the user that look like published ones."""
    patterns = ("*.h5", "sfm*.bin", "ICT-FaceKit*", "FaceXModel")
    found = sorted({path.name for pattern in patterns for path in folder.glob(pattern)})
    names = ", ".join(["procedural (built in)", *found[:5], *(["..."] if len(found) > 5 else [])])
    advice = "" if found else "Others (BFM, ICT-FaceKit, eos) are named by their path: mesoface face-model info PATH"
    return [Finding("face models", "ok", names, advice)]
