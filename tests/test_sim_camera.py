"""The simulated bodies driven by libgphoto2, in a process of their own.

libgphoto2 closes file descriptor 0 whenever it leaves a camera, and its network code is confused by what hundreds of
other tests leave open in this process. The tests themselves are in own_process_*.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["own_process_sim_camera.py", "own_process_sim_camera_faults.py"])
def test_in_a_process_of_its_own(name):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name(name))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
