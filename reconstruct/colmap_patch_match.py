"""COLMAP's own CUDA stereo as a second backend. UNTESTED: nobody has run it on a GPU yet.

It works on the workspace that colmap_workspace.py writes, and leaves its maps where fusion looks for them.
"""

from pathlib import Path

from ..capture.errors import UserError
from .colmap_process import run_step
from .colmap_workspace import DenseView, read_workspace


def cuda_devices() -> int:
    """CUDA devices that pycolmap can use; 0 for the CPU wheel, without a driver, or without pycolmap.

    `pycolmap.has_cuda` only says how it was compiled; asking for the stereo without a device aborts the process.
    """
    try:
        return int(run_step("devices", {}, timeout_s=60.0).values["cuda"])
    except UserError:
        return 0


def patch_match(dense: str | Path, range_mm: tuple[float, float]) -> dict[str, DenseView]:
    """Run PatchMatch over `dense`, searching depths in range_mm; returns its maps by image name.

    Raises UserError without a device, or when COLMAP fails.
    """
    if cuda_devices() == 0:
        raise UserError(
            "COLMAP's stereo needs a CUDA device and pycolmap-cuda12 in place of pycolmap; use the CPU sweep instead"
        )
    options = {
        "depth_min": float(range_mm[0]),
        "depth_max": float(range_mm[1]),
        "geom_consistency": True,
        "filter_min_num_consistent": 1,  # five views, not fifty
    }
    run_step("patch_match", {"workspace": str(dense), "options": options})
    return read_workspace(dense)
