"""The scan folder: what counts as done, what is made again, and what is never touched."""

import json

import pytest

from mesoface.capture.errors import UserError
from mesoface.reconstruct.scan_folder import MANIFEST, SCHEMA_VERSION, ScanFolder, describe_difference, read_manifest

CONTENT = {"options": {"width_px": 240, "seed": 0, "expression": "neutral"}, "rig": {"name": "r", "lights": [1, 2]}}


def started(folder) -> ScanFolder:
    """A scan with two recorded files."""
    scan = ScanFolder(folder, CONTENT)
    scan.start()
    for name in ("a.tif", "truth/b.tif"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    scan.record("a.tif", "truth/b.tif")
    return scan


def snapshot(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def edited(folder, **changes) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_new_folder_appears_when_the_scan_starts(tmp_path):
    scan = ScanFolder(tmp_path / "deep" / "scan", CONTENT)
    assert not list(tmp_path.iterdir())
    scan.start()
    found = read_manifest(scan.folder)
    assert found["complete"] is False and found["files"] == {} and found["content"] == CONTENT
    assert not scan.done("a.tif") and scan.done()


def test_finish_marks_the_scan_complete(tmp_path):
    scan = started(tmp_path)
    scan.facts["triangles"] = 12
    scan.finish()
    found = read_manifest(tmp_path)
    assert found["complete"] is True and found["facts"] == {"triangles": 12}
    assert list(found["files"]) == ["a.tif", "truth/b.tif"]
    assert ScanFolder(tmp_path, CONTENT).facts == {"triangles": 12}


def test_resume_knows_what_is_done(tmp_path):
    started(tmp_path)
    (tmp_path / "c.tif").write_bytes(b"whole, but not recorded")
    before = snapshot(tmp_path)
    again = ScanFolder(tmp_path, json.loads(json.dumps(CONTENT)))
    assert again.done("a.tif", "truth/b.tif") and not again.done("a.tif", "c.tif")
    assert snapshot(tmp_path) == before
    again.start()
    assert set(read_manifest(tmp_path)["files"]) == {"a.tif", "truth/b.tif"}
    again.record("c.tif")
    assert ScanFolder(tmp_path, CONTENT).done("a.tif", "truth/b.tif", "c.tif")


@pytest.mark.parametrize("damage", ["altered", "cut", "missing", "a folder"])
def test_altered_files_are_not_done(tmp_path, damage):
    started(tmp_path)
    path = tmp_path / "a.tif"
    if damage == "altered":
        path.write_bytes(b"a.tiF")
    elif damage == "cut":
        path.write_bytes(b"a.ti")
    else:
        path.unlink()
        if damage == "a folder":
            path.mkdir()
    again = ScanFolder(tmp_path, CONTENT)
    assert not again.done("a.tif") and again.done("truth/b.tif")


def test_a_file_made_again_is_done_again(tmp_path):
    started(tmp_path)
    (tmp_path / "a.tif").write_bytes(b"another")
    again = ScanFolder(tmp_path, CONTENT)
    assert not again.done("a.tif")
    again.record("a.tif")
    assert again.done("a.tif") and ScanFolder(tmp_path, CONTENT).done("a.tif")


def test_another_scan_is_refused_and_left_alone(tmp_path):
    started(tmp_path)
    before = snapshot(tmp_path)
    other = {**CONTENT, "options": {**CONTENT["options"], "width_px": 600, "seed": 3}}
    with pytest.raises(UserError) as caught:
        ScanFolder(tmp_path, other)
    message = str(caught.value)
    assert str(tmp_path) in message and "width_px 240 there, 600 asked for" in message and "seed 0 there" in message
    assert "expression" not in message and "--out" in message
    with pytest.raises(UserError, match="another rig"):
        ScanFolder(tmp_path, {**CONTENT, "rig": {"name": "r", "lights": [1, 3]}})
    assert snapshot(tmp_path) == before


def test_difference_in_words():
    assert describe_difference({"a": 1}, {"a": 2}) == "a 1 there, 2 asked for"
    assert describe_difference({"a": 1}, {}) == "a 1 there, None asked for"
    assert describe_difference({"g": {"x": [1]}}, {"g": {"x": [2]}}) == "another g"
    many = describe_difference({"g": dict.fromkeys("abcde", 1)}, {"g": dict.fromkeys("abcde", 2)})
    assert many.count(";") == 2
    assert describe_difference({}, {}) == "another content"


def test_a_changed_list_is_told_beside_a_changed_number():
    """A group that differs in a list only is named even when an earlier group differs too."""
    text = describe_difference({"options": {"seed": 1}, "rig": {"x": [1]}}, {"options": {"seed": 2}, "rig": {"x": [2]}})
    assert "seed 1 there, 2 asked for" in text and "another rig" in text


def test_foreign_folders_and_files_are_refused(tmp_path):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"photos: is not empty"):
        ScanFolder(foreign, CONTENT)
    assert snapshot(foreign) == {"holiday.jpg": b"x"}
    with pytest.raises(UserError, match="holiday"):
        ScanFolder(foreign / "holiday.jpg", CONTENT)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not ScanFolder(empty, CONTENT).done("a")


def test_left_over_temporary_files_do_not_count(tmp_path):
    (tmp_path / ".scan.77.part.json").write_bytes(b"{")
    ScanFolder(tmp_path, CONTENT).start()
    assert read_manifest(tmp_path)["content"] == CONTENT


@pytest.mark.parametrize("text", ["", "{", '{"format": "mesoface-scan"', "\x00\x01", "[]", "{}", '{"format": "other"}'])
def test_damaged_manifest(tmp_path, text):
    started(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    before = snapshot(tmp_path)
    for attempt in (lambda: read_manifest(tmp_path), lambda: ScanFolder(tmp_path, CONTENT)):
        with pytest.raises(UserError, match=r"scan\.json"):
            attempt()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("changes", [{"files": None}, {"files": []}, {"schema_version": "1"}, {"content": None}])
def test_manifest_with_wrong_kinds_of_values(tmp_path, changes):
    """Edited by hand: a clear message, no traceback."""
    started(tmp_path)
    edited(tmp_path, **changes)
    with pytest.raises(UserError, match=r"scan\.json|another scan"):
        ScanFolder(tmp_path, {"options": {}} if "content" in changes else CONTENT)


def test_manifest_without_its_files(tmp_path):
    started(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    del manifest["files"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"scan\.json"):
        ScanFolder(tmp_path, CONTENT)


def test_manifest_that_is_not_text(tmp_path):
    started(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"scan\.json"):
        read_manifest(tmp_path)


def test_newer_and_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="mesoface studio render"):
        read_manifest(tmp_path / "nowhere")
    started(tmp_path)
    edited(tmp_path, schema_version=SCHEMA_VERSION + 1)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="newer"):
        ScanFolder(tmp_path, CONTENT)
    assert snapshot(tmp_path) == before


def test_content_that_is_not_plain_is_a_programming_error(tmp_path):
    with pytest.raises((TypeError, ValueError)):
        ScanFolder(tmp_path / "x", {"options": {"gain": float("nan")}})
    assert not (tmp_path / "x").exists()
