"""`mesoface doctor`: findings, exit codes, and that no probe can crash it or hold it up."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from mesoface.flows import doctor as doctor_module
from mesoface.flows import doctor_extras
from mesoface.flows import doctor_probes as probes
from mesoface.flows.doctor import Finding, diagnose, doctor


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    """What the doctor says of the machine that runs the tests, within its promised time."""
    start = time.monotonic()
    found = diagnose()
    assert time.monotonic() - start < 16
    return found


def fake(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(doctor_module, "PROBES", {"fake": lambda: list(findings)})


def test_diagnose_covers_what_mesoface_needs(findings: list[Finding]):
    by_name = {finding.name: finding for finding in findings}
    assert len(by_name) == len(findings), "every name once"
    for name in ("mesoface", "Python", "numpy", "mitsuba", "libraries load", "Mitsuba scalar", "CPU cores"):
        assert by_name[name].status == "ok", by_name[name]
    assert {"Mitsuba LLVM", "graphics card", "serial ports", "cameras", "free disk", "torch device"} <= set(by_name)
    assert {"eos-py", "OpenEXR", "mediapipe", "dlib", "prefect", "dask"} <= set(by_name)
    for name in ("landmark network", "Emotion-Net", "action units", "write here"):
        assert by_name[name].status == "ok", by_name[name]
    assert by_name["torch device"].status in ("ok", "optional") and by_name["DFDN"].status in ("ok", "optional")
    assert "procedural" in by_name["face models"].found
    assert "pytest" not in by_name, "test tools are not needed to run"


def test_diagnose_says_what_to_do(findings: list[Finding]):
    for finding in findings:
        assert finding.status in ("ok", "optional", "missing", "broken")
        assert finding.found
        if finding.status != "ok":
            assert finding.advice, finding


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    fake(monkeypatch, Finding("disk", "ok", "5 GiB [here]"), Finding("LLVM", "optional", "none", "install it"))
    assert doctor(json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["healthy"] is True
    assert facts["findings"][0] == {"name": "disk", "status": "ok", "found": "5 GiB [here]", "advice": ""}


@pytest.mark.parametrize("status", ["missing", "broken"])
def test_exit_code_and_advice(status: probes.Status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    fake(monkeypatch, Finding("numpy [x]", status, "9.9", "Install it again."), Finding("disk", "ok", "5 GiB"))
    assert doctor() == 1
    shown = capsys.readouterr().out
    assert "numpy [x]: Install it again." in shown
    assert "missing or broken" in shown
    assert doctor(json=True) == 1


def test_probe_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch):
    def fails() -> list[Finding]:
        raise RuntimeError("no such bus")

    monkeypatch.setattr(doctor_module, "PROBES", {"bus": fails, "disk": lambda: [Finding("disk", "ok", "5 GiB")]})
    first, second = diagnose()
    assert (first.name, first.status, first.found) == ("bus", "broken", "RuntimeError: no such bus")
    assert second.status == "ok"


def test_hanging_process_is_stopped_with_its_children():
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    start = time.monotonic()
    answer = probes.ask([sys.executable, "-c", f"{code}; time.sleep(60)"], timeout_s=1.0)
    assert time.monotonic() - start < 5
    assert answer.code is None
    assert "no answer within 1 s" in answer.failure


def test_crash_is_named():
    value, why = probes.ask_python("import os; os.abort()")
    assert (value, why) == (None, "crashed (SIGABRT)")
    value, why = probes.ask_python("raise OSError('bus gone')")
    assert (value, why) == (None, "OSError: bus gone")
    assert probes.ask(["no-such-program-anywhere"]).code is None


@pytest.mark.parametrize(
    ("version", "status"), [("2.4.1", "ok"), ("3.0", "broken"), ("1.26.4", "broken"), (None, "missing")]
)
def test_requirement_ranges(version: str | None, status: str):
    assert probes.check_requirement(Requirement("numpy>=2.1,<3"), version).status == status


def test_broken_renderer_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "ask_python", lambda *_: (None, "crashed (SIGSEGV)"))
    (finding,) = probes.mitsuba_scalar()
    assert (finding.status, finding.found) == ("broken", "crashed (SIGSEGV)")
    monkeypatch.setattr(probes, "ask_python", lambda *_: (["3.9.1", 0.0], ""))
    assert probes.mitsuba_scalar()[0].status == "broken"


def test_absent_engine_is_optional(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "variant_works", lambda *_, **__: False)
    (finding,) = probes.mitsuba_llvm()
    assert finding.status == "optional"
    assert "DRJIT_LIBLLVM_PATH" in finding.advice


def test_cameras_are_listed_without_the_users_settings(monkeypatch: pytest.MonkeyPatch):
    seen = {}

    def answer(_code: str, environment: dict[str, str]):
        seen.update(environment)
        return [["Canon EOS 760D", "usb:001,004"]], ""

    monkeypatch.setattr(probes.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setattr(probes, "ask_python", answer)
    (finding,) = probes.cameras()
    assert (finding.status, finding.found) == ("ok", "Canon EOS 760D at usb:001,004")
    assert seen["HOME"] == seen["XDG_CONFIG_HOME"] != str(Path.home())


def test_face_models_beside_the_user(tmp_path: Path):
    (tmp_path / "model2017-1_bfm_nomouth.h5").touch()
    (tmp_path / "ICT-FaceKit").mkdir()
    (finding,) = probes.face_models(tmp_path)
    assert finding.found == "procedural (built in), ICT-FaceKit, model2017-1_bfm_nomouth.h5"


def test_shipped_weights_absent_or_damaged(tmp_path: Path):
    path = tmp_path / "landmarks.npz"
    assert doctor_extras.weights("net", path, needed=True).status == "missing"
    assert doctor_extras.weights("net", path, needed=False).status == "optional"
    np.savez(path, weight=np.arange(4000.0))
    assert doctor_extras.weights("net", path, needed=True).status == "ok"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    finding = doctor_extras.weights("net", path, needed=True)
    assert finding.status == "broken" and "damaged" in finding.found and finding.advice
    path.write_bytes(data[: len(data) // 2])
    assert doctor_extras.weights("net", path, needed=False).status == "broken"


def test_extras_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch):
    versions = {"OpenEXR": "3.3.1", "dlib": "19.24", "dask": "2026.1", "mediapipe": None, "eos-py": None}
    monkeypatch.setattr(doctor_extras, "installed_version", versions.get)
    monkeypatch.setattr(doctor_extras, "ask_python", lambda _: ({"dlib": "ImportError: no libX11"}, ""))
    lines = ['dlib<21,>=19.24; extra == "dlib"', "numpy>=2"]
    monkeypatch.setattr(doctor_extras.importlib.metadata, "requires", lambda _: lines)
    found = {finding.name: finding for finding in doctor_extras.extras()}
    assert found["OpenEXR"].status == "ok" and found["dask"].status == "ok"
    assert found["dlib"].status == "optional" and "no libX11" in found["dlib"].found
    assert found["mediapipe"].status == "optional" and "pip install 'mediapipe'" in found["mediapipe"].advice
    assert "pip install 'dlib<21,>=19.24'" in found["dlib"].advice
    monkeypatch.setattr(doctor_extras, "installed_version", {"dlib": "18.0"}.get)
    assert "outside" in {f.name: f for f in doctor_extras.extras()}["dlib"].found


def test_folder_that_cannot_be_written(tmp_path: Path):
    assert doctor_extras.writable("here", tmp_path / "new" / "er", needed=True, advice="Go.").status == "ok"
    (tmp_path / "file").touch()
    for needed, status in ((True, "broken"), (False, "optional")):
        finding = doctor_extras.writable("here", tmp_path / "file", needed=needed, advice="Go.")
        assert (finding.status, finding.advice) == (status, "Go.")


def test_torch_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor_extras, "ask_python", lambda _: (["2.6", True, "H100", 2.0], ""))
    assert doctor_extras.torch_device()[0].status == "broken"
    monkeypatch.setattr(doctor_extras, "ask_python", lambda _: (["2.6", True, "H100", 3.0], ""))
    assert doctor_extras.torch_device()[0] == Finding("torch device", "ok", "2.6 on H100")
