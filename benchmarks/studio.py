"""Seconds per stage and per image of the virtual studio, and peak memory.

python benchmarks/studio.py --size 1500x1000
python benchmarks/studio.py --size tiny
"""

import argparse
import re
import resource
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from mesoface.capture.rig import load_example_rig
from mesoface.reconstruct.studio import render_scan
from mesoface.reconstruct.studio_options import StudioOptions, memory_needed_bytes, parse_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="medium")
    parser.add_argument("--subject", type=int, default=1)
    parser.add_argument("--expression", default="brow_raise")
    parser.add_argument("--engine", default="scalar", choices=("scalar", "llvm"))
    parser.add_argument("--out", type=Path, default=None, help="keep the scan here (default: a temporary folder)")
    arguments = parser.parse_args()
    width, height = parse_size(arguments.size)
    options = StudioOptions(
        width_px=width, height_px=height, subject=arguments.subject, expression=arguments.expression,
        engine=arguments.engine,
    )  # fmt: skip
    out = arguments.out or Path(tempfile.mkdtemp(prefix="mesoface-bench-")) / "scan"
    started = time.perf_counter()
    stages: list[tuple[str, float]] = []

    def progress(stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if stages:
            stages[-1] = (stages[-1][0], now - stages[-1][1])
        stages.append((stage, now))

    render_scan(load_example_rig(), options, out, progress)
    total_s = time.perf_counter() - started
    groups: dict[str, list[float]] = defaultdict(list)
    for stage, seconds in stages[:-1]:
        kind = re.sub(r"^image \d+_", "image ", stage)
        kind = re.sub(r"image (uniform).*", r"image \1", kind)
        kind = re.sub(r"image \w+_(parallel|cross)", r"image \1", kind)
        groups[re.sub(r"^truth of .*", "truth of a view", kind)].append(seconds)
    print(f"{width}x{height}, engine {options.engine}, mesh edge {options.edge_mm:.2f} mm, maps {options.map_size}")
    print(f"{'stage':<28}{'count':>6}{'mean s':>9}{'total s':>9}")
    for kind, seconds in groups.items():
        print(f"{kind:<28}{len(seconds):>6}{sum(seconds) / len(seconds):>9.2f}{sum(seconds):>9.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'all':<28}{len(stages) - 1:>6}{'':>9}{total_s:>9.1f}")
    print(f"peak memory {peak:.2f} GiB (estimated beforehand: {memory_needed_bytes(options) / 2**30:.2f} GiB)")
    print(f"on disk {sum(p.stat().st_size for p in out.rglob('*') if p.is_file()) / 2**20:.0f} MiB")
    if arguments.out is None:
        shutil.rmtree(out.parent)


if __name__ == "__main__":
    main()
