"""Time, memory, iterations and error of Eq. 9 on a synthetic face, beside scipy's direct solve and pyamg.

python benchmarks/integration.py                     1 and 4 MP, all solvers
python benchmarks/integration.py --megapixels 24 --solvers multigrid
python benchmarks/integration.py --megapixels 1 --domains ellipse holes weights strong --solvers multigrid

Every solver runs in a process of its own, for mu = 1e-5 and 1e-3 at 0.05 mm per pixel, scaled with the pixel pitch. CPU
seconds are of one mu, the mean of the two; memory is the peak above the inputs. The error is of the displacement
z(low mu) - z(high mu) against a float64 solution to 1e-12. pyamg is taken where it is installed (pip install pyamg).
"""

import argparse
import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np

SOLVERS = ("multigrid", "cosine", "pyamg", "direct")
LARGEST = {"direct": 2.0, "pyamg": 8.0}
"""Megapixels above which a solver is left out unless named: 3 GB and 40 s at 4 MP, 6.6 GB at 24 MP."""
DOMAINS = ("ellipse", "rectangle", "holes", "missing", "weights", "strong")
MU_MM = (1e-5 / 0.05**2, 1e-3 / 0.05**2)
"""The paper's two mu at 0.05 mm per pixel, in mm^-2."""


@dataclass(frozen=True, eq=False)
class Face:
    """Frame of 200 x 300 mm; depth in mm, slopes in mm per pixel."""

    p: np.ndarray
    q: np.ndarray
    mask: np.ndarray
    z0: np.ndarray
    weights: np.ndarray | None
    pitch_mm: float

    @property
    def mu(self) -> tuple[float, float]:
        return MU_MM[0] * self.pitch_mm**2, MU_MM[1] * self.pitch_mm**2


BUMPS = ((0, 5, 12, 22, -25), (-30, -25, 14, 9, 8), (30, -25, 14, 9, 8), (0, 45, 22, 8, -5), (0, 52, 22, 2.5, 2),
         (-45, 20, 20, 25, -4), (45, 20, 20, 25, -4))  # fmt: skip
"""Nose, eyes, lips, mouth, cheeks: centre x, y, width, height, depth in mm."""
WRINKLES = ((0, -75, 40, 14, 5, 0.15, np.pi / 2), (-60, -20, 10, 10, 2, 0.06, 0.5), (60, -20, 10, 10, 2, 0.06, -0.5),
            (-40, 30, 18, 18, 0.8, 0.012, 0.8), (40, 30, 18, 18, 0.8, 0.012, 2.2))  # fmt: skip
"""Forehead, crow's feet, pores: centre, extent, wavelength, amplitude in mm, direction in radians."""


def make_face(megapixels: float, domain: str) -> Face:
    """Smooth face with wrinkles; slopes with 1 degree of noise and 2 degrees of bias, prior without the wrinkles."""
    import cv2

    width = round(np.sqrt(megapixels * 1e6 / 1.5) / 8) * 8
    height = round(1.5 * width / 8) * 8
    h = 200 / width
    x = ((np.arange(width) - (width - 1) / 2) * h)[None, :].astype(np.float32)
    y = ((np.arange(height) - (height - 1) / 2) * h)[:, None].astype(np.float32)
    z = 60 * (x / 84) ** 2 + 40 * (y / 125) ** 2
    p, q = 120 * x / 84**2 + 0 * y, 80 * y / 125**2 + 0 * x
    for cx, cy, sx, sy, a in BUMPS:
        bump = a * np.exp(-(((x - cx) / sx) ** 2)[:] / 2) * np.exp(-(((y - cy) / sy) ** 2) / 2)
        z += bump
        p -= bump * (x - cx) / sx**2
        q -= bump * (y - cy) / sy**2
    rng = np.random.default_rng(0)
    nodes = rng.standard_normal((height // 16 + 2, width // 16 + 2)).astype(np.float32)
    z += 0.4 * np.sin(x / 25 + 0.3) * np.cos(y / 30)
    z += 0.15 * cv2.resize(nodes, (width, height), interpolation=cv2.INTER_CUBIC)
    for cx, cy, sx, sy, wavelength, a, angle in WRINKLES:
        kx, ky = 2 * np.pi / wavelength * np.cos(angle), 2 * np.pi / wavelength * np.sin(angle)
        envelope = a * np.exp(-(((x - cx) / sx) ** 2) / 2) * np.exp(-(((y - cy) / sy) ** 2) / 2)
        phase = kx * x + ky * y
        p += envelope * (kx * np.cos(phase) - np.sin(phase) * (x - cx) / sx**2)
        q += envelope * (ky * np.cos(phase) - np.sin(phase) * (y - cy) / sy**2)
    for slope, bias in ((p, 0.035 * np.sin(y / 60)), (q, 0.03 * np.cos(x / 50))):
        slope += 0.01745 * rng.standard_normal(slope.shape, dtype=np.float32) + bias
        slope *= h
    mask = (x / 84) ** 2 + (y / 125) ** 2 < 1
    mask, weights = change_domain(mask, domain, rng)
    return Face(p, q, mask, z, weights, h)


def change_domain(mask: np.ndarray, domain: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    import cv2

    weights = None
    if domain == "rectangle":
        mask = np.ones_like(mask)
    elif domain == "missing":
        mask &= rng.random(mask.shape) > 0.1
    elif domain == "holes":
        discs = np.ones(mask.shape, np.uint8)
        for _ in range(400):
            centre = int(rng.integers(mask.shape[1])), int(rng.integers(mask.shape[0]))
            cv2.circle(discs, centre, int(rng.integers(2, 16)), 0, -1)
        mask &= discs > 0
    elif domain in ("weights", "strong"):
        field = cv2.GaussianBlur(rng.standard_normal(mask.shape).astype(np.float32), (0, 0), 6)
        field = (field - field.min()) / np.ptp(field)
        least = 0.05 if domain == "weights" else 1e-3
        weights = np.exp(np.log(least) * (1 - field)).astype(np.float32)
    return mask, weights


def solve_ours(face: Face, mu: float, solver: str) -> tuple[np.ndarray, int]:
    from mesoface.reconstruct.eq9_integration import solve_eq9

    kind = "cosine" if solver == "cosine" else "multigrid"
    made = solve_eq9(face.p, face.q, face.mask, face.z0, mu, weights=face.weights, solver=kind)
    return made.offset, made.iterations


def assemble(face: Face, mu: float):
    """Matrix of Eq. 9 (csr, float64) and right-hand side for w."""
    from scipy import sparse

    mask, count = face.mask, int(face.mask.sum())
    index = np.cumsum(mask.ravel()).reshape(mask.shape) - 1
    matrix = sparse.diags_array(np.full(count, mu)).tocsr()
    g = np.zeros(count)
    for slope, axis in ((face.p, 1), (face.q, 0)):
        lower, upper = (slice(None), slice(-1)), (slice(None), slice(1, None))
        near, far = (lower, upper) if axis else (lower[::-1], upper[::-1])
        edge = mask[near] & mask[far]
        i, j = index[near][edge], index[far][edge]
        c = np.ones(len(i)) if face.weights is None else np.minimum(face.weights[near], face.weights[far])[edge]
        residual = c * ((slope[near] + slope[far]) / 2.0 - (face.z0[far] - face.z0[near]))[edge]
        g += np.bincount(j, residual, count) - np.bincount(i, residual, count)
        rows, columns = np.concatenate([i, j, i, j]), np.concatenate([i, j, j, i])
        matrix = matrix + sparse.csr_array((np.concatenate([c, c, -c, -c]), (rows, columns)), matrix.shape)
    return matrix.tocsr(), g


def solve_peer(matrix: Any, g: np.ndarray, solver: str) -> tuple[np.ndarray, int]:
    from scipy.sparse.linalg import splu

    if solver == "direct":
        options = {"SymmetricMode": True}
        return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options=options).solve(g), 0
    history: list[float] = []
    levels = importlib.import_module("pyamg").smoothed_aggregation_solver(matrix)
    found = levels.solve(g, tol=1e-5, accel="cg", residuals=history)
    return found, len(history) - 1


def solve_reference(face: Face, mu: float) -> np.ndarray:
    """w in float64 to a residual of 1e-12: conjugate gradients on numpy arrays with the cosine transform."""
    from scipy import fft
    from scipy.sparse import linalg

    rows, columns = np.flatnonzero(face.mask.any(1)), np.flatnonzero(face.mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mask = face.mask[box]
    p, q, z0 = (array[box].astype(np.float64) for array in (face.p, face.q, face.z0))
    ex, ey = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    weight = 1.0
    if face.weights is not None:
        c = face.weights[box].astype(np.float64)
        ex, ey = ex * np.minimum(c[:, 1:], c[:, :-1]), ey * np.minimum(c[1:], c[:-1])
        weight = float(np.exp(np.log(c[mask]).mean()))

    def divergence(hx: np.ndarray, hy: np.ndarray) -> np.ndarray:
        out = np.zeros(mask.shape)
        out[:, 1:] += hx
        out[:, :-1] -= hx
        out[1:] += hy
        out[:-1] -= hy
        return out

    g = divergence(
        ex * ((p[:, 1:] + p[:, :-1]) / 2 - np.diff(z0, axis=1)), ey * ((q[1:] + q[:-1]) / 2 - np.diff(z0, axis=0))
    )
    del p, q, z0
    size = [int(fft.next_fast_len(side, real=True) or side) for side in mask.shape]
    k2 = [2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in size]
    symbol = weight * (k2[0][:, None] + k2[1]) + mu

    def apply(w: np.ndarray) -> np.ndarray:
        w = w.reshape(mask.shape)
        return (divergence(ex * np.diff(w, axis=1), ey * np.diff(w, axis=0)) + mu * (w * mask)).ravel()

    def precondition(r: np.ndarray) -> np.ndarray:
        spectrum = np.asarray(fft.dctn(r.reshape(mask.shape), s=size, norm="ortho", workers=2)) / symbol
        found = np.asarray(fft.idctn(spectrum, norm="ortho", workers=2))
        return (found[: mask.shape[0], : mask.shape[1]] * mask).ravel()

    operator: Any = linalg.LinearOperator
    shape = (mask.size, mask.size)
    matrix = operator(shape, matvec=apply, dtype=np.float64)
    guess = operator(shape, matvec=precondition, dtype=np.float64)
    found, failed = linalg.cg(matrix, g.ravel(), rtol=1e-12, maxiter=3000, M=guess)
    if failed:
        sys.exit(f"the reference did not converge in {failed} iterations")
    w = np.zeros(face.mask.shape)
    w[box] = found.reshape(mask.shape)
    return w


def run_one(solver: str, megapixels: float, domain: str, folder: Path) -> None:
    """One solver in this process; prints a line of JSON."""
    if solver == "reference":
        face = make_face(megapixels, domain)
        np.save(folder / "reference.npy", solve_reference(face, face.mu[0]) - solve_reference(face, face.mu[1]))
        print(json.dumps({}))
        return
    tiny = make_face(0.2, domain)
    measured(tiny, tiny.mu[1], solver)  # compiles
    face = make_face(megapixels, domain)
    made = [measured(face, mu, solver) for mu in face.mu]
    row: dict[str, Any] = {key: float(np.mean([run[key] for _, run in made])) for key in ("cpu_s", "wall_s")}
    row |= {"memory_mb": made[0][1]["memory_mb"], "iterations": [run["iterations"] for _, run in made]}
    reference = folder / "reference.npy"
    if reference.exists():
        error = (made[0][0].astype(np.float64) - made[1][0] - np.load(reference))[face.mask]
        row |= {"error_max_mm": float(np.abs(error).max()), "error_rms_mm": float(np.sqrt((error**2).mean()))}
    print(json.dumps(row))


def measured(face: Face, mu: float, solver: str) -> tuple[np.ndarray, dict[str, Any]]:
    """w, and what it took. Peers are timed without the assembly of their matrix, which counts as memory only."""
    status = Path("/proc/self/status")
    ctypes.CDLL(None).malloc_trim(0)
    before = memory_kb(status, "VmRSS")
    system = assemble(face, mu) if solver in ("pyamg", "direct") else None
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    wall, cpu = time.perf_counter(), time.process_time()
    if system is None:
        w, steps = solve_ours(face, mu, solver)
    else:
        w = np.zeros(face.mask.shape)
        w[face.mask], steps = solve_peer(*system, solver)
    run = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "iterations": steps}
    return w, run | {"memory_mb": (memory_kb(status, "VmHWM") - before) / 1024}


def memory_kb(status: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--domains", nargs="+", choices=DOMAINS, default=["ellipse"])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=None)
    parser.add_argument("--no-error", action="store_true", help="skip the float64 reference (minutes at 24 MP)")
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return run_one(arguments.one, arguments.megapixels[0], arguments.domains[0], arguments.folder)
    print(
        f"{'MP':>5} {'domain':<10}{'solver':<11}{'CPU s':>8}{'wall s':>8}{'MB':>7}  {'iterations':<12}"
        f"{'error max':>11}{'rms mm':>10}"
    )
    for megapixels in arguments.megapixels:
        for domain in arguments.domains:
            with tempfile.TemporaryDirectory(prefix="mesoface-bench-") as folder:
                if not arguments.no_error:
                    started("reference", megapixels, domain, folder)
                for solver in arguments.solvers or SOLVERS:
                    if not possible(solver, megapixels, domain, named=arguments.solvers is not None):
                        continue
                    row = started(solver, megapixels, domain, folder)
                    error = f"{row['error_max_mm']:>11.1e}{row['error_rms_mm']:>10.1e}" if "error_max_mm" in row else ""
                    print(
                        f"{megapixels:>5g} {domain:<10}{solver:<11}{row['cpu_s']:>8.2f}{row['wall_s']:>8.2f}"
                        f"{row['memory_mb']:>7.0f}  {'/'.join(map(str, row['iterations'])):<12}{error}",
                        flush=True,
                    )
    return None


def possible(solver: str, megapixels: float, domain: str, *, named: bool) -> bool:
    if solver == "cosine" and domain in ("weights", "strong"):
        return False
    if solver == "pyamg" and importlib.util.find_spec("pyamg") is None:
        print("      pyamg is not installed: left out (pip install pyamg)")
        return False
    return named or megapixels <= LARGEST.get(solver, np.inf)


def started(solver: str, megapixels: float, domain: str, folder: str) -> dict:
    command = [sys.executable, __file__, "--one", solver, "--megapixels", str(megapixels), "--domains", domain]
    done = subprocess.run([*command, "--folder", folder], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{solver} at {megapixels} MP failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
