"""What every test may need: nothing of the user's is read or written, and the optional shared face data."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _private_home(tmp_path_factory: pytest.TempPathFactory):
    """Settings and state go to a temporary folder: libgphoto2 and others write below these on first use.

    XDG_CACHE_HOME stays, so that compiled kernels are reused from run to run.
    """
    folder = tmp_path_factory.mktemp("xdg")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{kind}_HOME", str(folder / kind.lower()))
        # Locks and sockets of simulated rigs: apart from those of a rig that someone practises on.
        (folder / "run").mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `shared/data` beside the repository; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository (optional face models)")
    return folder


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """What `make(new folder)` returns, made by the first of the test processes that asks and shared by all."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = root / "done"
        if not done.exists():
            done.write_text(str(make(root / "scan")))
        return Path(done.read_text())


@pytest.fixture(scope="session")
def tiny_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole rendered scan at tiny size, everything switched on; tests must not change it."""
    from mesoface.capture.rig import load_example_rig
    from mesoface.reconstruct.studio import render_scan
    from mesoface.reconstruct.studio_options import StudioOptions

    options = StudioOptions(width_px=240, height_px=160, subject=3, expression="smile", samples=4)
    return made_once(tmp_path_factory, "studio", lambda folder: render_scan(load_example_rig(), options, folder))


@pytest.fixture(scope="session")
def uniform_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five uniform views of a virtual subject at 480x320 with truth, nothing else; tests must not change it."""
    from geometry_fixtures import render_uniform_views

    return made_once(tmp_path_factory, "geometry", render_uniform_views)
