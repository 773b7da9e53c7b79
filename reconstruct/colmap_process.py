"""Run one step of pycolmap in a process of its own: COLMAP can abort the interpreter, and says little when it fails."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..capture.errors import UserError

ABORTED = {-6: "abort", 134: "abort", -11: "segmentation fault", 139: "segmentation fault", -9: "killed: memory?"}
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
"""COLMAP's meshing spins while its threads wait for each other: on a busy machine that makes it ten times slower."""
EXPLAINED = {
    "No module named 'pycolmap'": "pycolmap is not installed: pip install pycolmap (x86-64)",
    "requires CUDA": "this pycolmap has no CUDA; install pycolmap-cuda12 in its place, or use the CPU sweep",
    "bad_alloc": "out of memory: use smaller images",
    "Check failed": "COLMAP refused its input; is the workspace whole?",
}


@dataclass(frozen=True)
class StepResult:
    """What a step returned, and how long it took."""

    values: dict[str, Any]
    seconds: float


def run_step(step: str, arguments: dict[str, Any], timeout_s: float = 3600.0) -> StepResult:
    """Run `step` of colmap_worker.py with JSON `arguments`.

    Raises UserError that says what failed, COLMAP's last words, and what to do.
    """
    command = [sys.executable, "-m", "mesoface.reconstruct.colmap_worker", step]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, input=json.dumps(arguments), capture_output=True, text=True, timeout=timeout_s, errors="replace",
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"COLMAP step {step} was stopped after {timeout_s:.0f} s; try smaller images") from None
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise UserError(_failure(step, done.returncode, done.stderr))
    try:
        return StepResult(json.loads(done.stdout.strip().splitlines()[-1]), seconds)
    except (ValueError, IndexError):
        raise UserError(f"COLMAP step {step} gave no result; its last words: {_last_words(done.stderr)}") from None


def _failure(step: str, code: int, stderr: str) -> str:
    how = ABORTED.get(code, f"exit code {code}")
    advice = next((text for key, text in EXPLAINED.items() if key in stderr), "")
    return f"COLMAP step {step} failed ({how}): {_last_words(stderr)}" + (f". {advice}" if advice else "")


def _last_words(stderr: str) -> str:
    """The line that names the error, without C++ stack frames."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.strip().startswith(("@", "***"))]
    telling = [line for line in lines if "Error" in line or "Check failed" in line or line.startswith(("E2", "F2"))]
    return (telling or lines or ["nothing"])[-1][:300]


def file_size(path: str | Path) -> int:
    """Bytes of a file, 0 where there is none."""
    path = Path(path)
    return path.stat().st_size if path.is_file() else 0
