"""What capturing costs beyond the cameras' own time, on the simulated rig.

    python benchmarks/capture.py                # 5 bodies, 25 MB RAWs, 5 frames per s, 21 MB/s per body
    python benchmarks/capture.py --checks       # also checks and contact sheet of a 24 MP take

The bodies' own time is computed from their settings: exposures of the centre body one frame interval apart, then its
files at the speed of its cable (the side bodies send meanwhile). Everything is real: processes, libgphoto2, disk.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from mesoface.capture.plan import shot_plan
from mesoface.capture.rig import example_rig_path, load_rig
from mesoface.capture.session import Session
from mesoface.capture.session_view import SessionView
from mesoface.capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig, scaled_rig_text
from mesoface.capture.take import create_take
from mesoface.capture.take_report import verify_take
from mesoface.capture.verified_write import VerifiedWriter
from mesoface.reconstruct.studio import render_scan
from mesoface.reconstruct.studio_options import StudioOptions

RAW_SIZE = (4096, 3052)  # 25 MB of 16-bit Bayer data
FULL_SIZE = (6000, 4000)


def verified_write_seconds(folder: Path, megabytes: int = 30, repeats: int = 7) -> float:
    """Median time of a verified write of one file: hash, fsync, read back, rename."""
    block = np.random.default_rng(1).integers(0, 256, megabytes * 1_000_000, dtype=np.uint8).tobytes()
    seconds = []
    for number in range(repeats):
        started = time.perf_counter()
        with VerifiedWriter(folder / f"{number}.cr2") as writer:
            for start in range(0, len(block), 1 << 20):
                writer.write(block[start : start + (1 << 20)])
            writer.finish(len(block))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def one_take(
    scan: Path, work: Path, size_px: tuple[int, int], bytes_per_s: float | None, fps: float
) -> dict[str, float]:
    """Shoot one take; times in s."""
    path = work / "rig.toml"
    text = example_rig_path().read_text().replace("ambient_frame = true", "ambient_frame = false")
    path.write_text(scaled_rig_text(text.replace("frames_per_s = 5.0", f"frames_per_s = {fps}"), *size_px))
    rig = load_rig(path)
    plan = shot_plan(rig)
    studio = SimulatedStudio(path, (RenderedFolder(scan, plan),), bytes_per_s=bytes_per_s, size_px=size_px)
    with VirtualRig.start(studio) as virtual:
        _warm_up(virtual, rig, plan, path, work)  # the simulator enlarges its frames at their first use
        take = create_take(
            work / "sessions", path.read_text(), rig, plan, kind="scan", subject="S001", expression="speed", version="0"
        )  # fmt: skip
        with take, Session(take, virtual.connections, SessionView()) as session:
            started = time.perf_counter()
            session.connect()
            connected = time.perf_counter()
            failed = session.shoot(take.state().missing_steps())
            shot = time.perf_counter()
            session.fetch()
            fetched = time.perf_counter()
            assert not failed, failed
        presses = virtual.command("presses")
        report = verify_take(take.folder)
        assert report.status == "complete", report
        state = take.state()
        sizes = [state.image(s.index).bytes for s in plan if s.camera == rig.centre.name]  # pyright: ignore
    firsts = [times[-19][1] if name == rig.centre.name else times[-1][1] for name, times in presses.items()]
    exposures = [opened for _, opened in presses[rig.centre.name][-19:]]
    own = len(exposures) / fps + (sum(sizes) / bytes_per_s if bytes_per_s else 0.0)
    return {
        "connect and check": connected - started,
        "shooting": shot - connected,
        "transfer behind it": fetched - shot,
        "first to last exposure": exposures[-1] - exposures[0],
        "skew of the five bodies": max(firsts) - min(firsts),
        "take": fetched - connected,
        "bodies' own time": own,
        "MB per file": sizes[0] / 1e6,
    }


def _warm_up(virtual: VirtualRig, rig, plan, path: Path, work: Path) -> None:
    take = create_take(
        work / "warm-up", path.read_text(), rig, plan, kind="scan", subject="S000", expression="warm", version="0"
    )  # fmt: skip
    with take, Session(take, virtual.connections, SessionView()) as session:
        session.connect()
        session.shoot(take.state().missing_steps(), fetch=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scan", type=Path, help="rendered scan of the shipped rig (default: a small one)")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--mb-s", type=float, default=21.0, help="megabytes per s and body; 0 = no limit")
    parser.add_argument("--checks", action="store_true", help="also time checks and contact sheet at 24 MP")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mesoface-capture-"))
    scan = options.scan
    if scan is None:
        scan = work / "scan"
        render_scan(load_rig(example_rig_path()), StudioOptions(width_px=600, height_px=400, samples=4), scan)
    print(f"verified write of 30 MB            {verified_write_seconds(work):8.3f} s   (bound 0.15)")
    rate = options.mb_s * 1e6 if options.mb_s else None
    times = one_take(scan, work, RAW_SIZE, rate, options.fps)
    for name, value in times.items():
        unit = "" if name.startswith("MB") else " s"
        print(f"{name:<34} {value:8.3f}{unit}")
    over = times["take"] / times["bodies' own time"] - 1
    print(f"over the bodies' own time          {100 * over:8.1f} %   (bound 10 %)")
    print(f"skew                               {1000 * times['skew of the five bodies']:8.1f} ms  (bound 30)")
    if options.checks:
        from mesoface.capture.take import open_take
        from mesoface.flows.take_quality import judge_take, write_quality

        one_take(scan, work / "full" if (work / "full").mkdir() is None else work, FULL_SIZE, None, 5.0)
        folder = next((work / "full" / "sessions").iterdir())
        with open_take(folder) as take:
            started = time.perf_counter()
            quality = judge_take(take)
            write_quality(take, quality)
            seconds = time.perf_counter() - started
        print(f"checks and contact sheet at 24 MP  {seconds:8.1f} s   (bound 60), verdict {quality.verdict}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
