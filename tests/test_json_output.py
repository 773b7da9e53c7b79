"""`--json` of the commands: one object on standard output with what happened, everything else on standard error.

The work behind the long commands is replaced; tests of each command show that it is done.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from dataset_fixtures import made_dataset

from mesoface.capture.errors import UserError
from mesoface.capture.take_report import TakeReport
from mesoface.flows.cli import main
from mesoface.flows.stage import StageResult
from mesoface.reconstruct.studio_checks import Check

WARNED = StageResult(Path("out/geometry"), False, 1.5, ("a view has moved",))
KEPT = StageResult(Path("out/normals"), True, 2.0)


def facts(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> dict:
    """What a command with --json leaves on standard output."""
    assert main([*words, "--json", "--no-log"]) == code
    return json.loads(capsys.readouterr().out)


def test_dataset_info_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made_dataset(tmp_path, subjects=3)
    folder = tmp_path / "set"
    info = facts(capsys, "dataset", "info", str(folder), code=0)
    split = sorted(subject for subjects in info["split"].values() for subject in subjects)
    assert info["patches"] == 60 and split == ["S000", "S001", "S002"]
    good = facts(capsys, "dataset", "verify", str(folder), code=0)
    assert good["patches"] == 60 and good["problems"] == []
    shard = min(folder.glob("*.h5"))
    shard.write_bytes(shard.read_bytes()[:-7])
    (problem,) = facts(capsys, "dataset", "verify", str(folder), code=1)["problems"]
    assert shard.name in problem


def test_geometry_and_reconstruct(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    scan = SimpleNamespace(name="S001_smile")
    for module in ("geometry_command", "reconstruct_command"):
        monkeypatch.setattr(f"mesoface.flows.{module}.open_scan", lambda _: scan)
    monkeypatch.setattr("mesoface.flows.geometry_command.run_geometry", lambda *_, **__: WARNED)
    assert facts(capsys, "geometry", "scan", code=1) == {
        "folder": "out/geometry", "reused": False, "seconds": 1.5, "warnings": ["a view has moved"],
        "report": "out/geometry/report.html",
    }  # fmt: skip
    monkeypatch.setattr("mesoface.flows.reconstruct_command.run_reconstruction", lambda *_, **__: (WARNED, KEPT))
    stages = facts(capsys, "reconstruct", "scan", code=1)["stages"]
    assert list(stages) == ["geometry", "normals"] and stages["normals"]["reused"] is True


@pytest.mark.parametrize("command", ["proxy", "synthesize"])
def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str):
    def work(image: Path, folder: Path, *_: object, **__: object) -> StageResult:
        if image.stem == "bad":
            raise UserError(f"{image}: no face")
        return StageResult(folder, False, 0.5)

    module = f"mesoface.flows.{command}_command"
    monkeypatch.setattr(f"{module}.run_{'proxy' if command == 'proxy' else 'synthesis'}", work)
    monkeypatch.setattr(f"{module}.load_face_model", lambda _: SimpleNamespace(name="procedural"))
    about = SimpleNamespace(face_model="procedural", map_size=2048, trained_on="nothing")
    if command == "synthesize":
        monkeypatch.setattr(f"{module}.load_networks", lambda *_: [SimpleNamespace(about=about)])
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("good.png", "bad.png"):
        (photos / name).touch()
    words = [command, str(photos), "--landmarks", str(photos), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("mesoface.flows.proxy_command.landmarks_beside", lambda image, _: image)
    monkeypatch.setattr(f"{module}.landmarks_beside", lambda image, _: image)
    found = facts(capsys, *words, code=1)
    assert [one["picture"] for one in found["done"]] == ["good.png"] and found["done"][0]["folder"].endswith("out/good")
    assert found["failures"] == [{"picture": "bad.png", "reason": f"{photos / 'bad.png'}: no face"}]
    single = facts(capsys, command, str(photos / "good.png"), "--landmarks", "x.pts", "--out", str(tmp_path), code=0)
    assert single["report"].endswith("good/report.html") and single["warnings"] == []


def test_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    checks = [Check("depth", 0.25, "mm", 0.1), Check("coverage", 0.9, "", 0.5, at_most=False)]
    monkeypatch.setattr("mesoface.flows.studio_commands.check_scan", lambda _: checks)
    found = facts(capsys, "studio", "verify", str(tmp_path), code=1)["checks"]
    assert [(one["name"], one["value"], one["passed"]) for one in found] == [
        ("depth", 0.25, False),
        ("coverage", 0.9, True),
    ]
    report = TakeReport("incomplete", 24, 23, ("one frame is on a card",))
    monkeypatch.setattr("mesoface.flows.take_show.verify_take", lambda _: report)
    take = facts(capsys, "take", "verify", str(tmp_path), code=1)
    assert (take["status"], take["frames_verified"], take["remarks"]) == ("incomplete", 23, list(report.lines))
