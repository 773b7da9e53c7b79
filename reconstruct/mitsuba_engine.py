"""Which engine Mitsuba renders with, tried before it is trusted."""

import subprocess
import sys
from typing import Literal

from ..capture.errors import UserError

_PROBE = """
import mitsuba as mi, numpy as np
mi.set_variant({0!r})
scene = mi.cornell_box()
scene["sensor"]["film"].update(width=8, height=8)
print("works", np.array(mi.render(mi.load_dict(scene), spp=1)).mean() > 0)
"""


def variant_works(variant: str, timeout_s: float = 60.0) -> bool:
    """Render a few pixels in a subprocess, because a wrong libLLVM aborts the whole interpreter, and only then."""
    command = [sys.executable, "-c", _PROBE.format(variant)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0 and "works True" in result.stdout


def use_variant(engine: Literal["scalar", "llvm"]) -> None:
    """Select Mitsuba's scalar (default, needs nothing) or LLVM engine for this process.

    Raises UserError when LLVM is asked for and its probe fails.
    """
    import mitsuba as mi

    if engine == "llvm" and not variant_works("llvm_ad_rgb"):
        raise UserError(
            "engine llvm: the LLVM variant of Mitsuba does not run here. Install libLLVM 19 or newer and set "
            "DRJIT_LIBLLVM_PATH to its libLLVM.so (15 and 16 crash on some processors), or use --engine scalar"
        )
    mi.set_variant("llvm_ad_rgb" if engine == "llvm" else "scalar_rgb")
    mi.set_log_level(mi.LogLevel.Error)  # it warns whenever it rounds a sample count
