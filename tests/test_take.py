"""Takes on disk: names, locks, what counts as a shot's image, tidying up, closing as a bag."""

import subprocess
import sys

import pytest
from take_fixtures import PLAN, RIG, expose, file_away, new_take, whole_take

from mesoface.capture.bag import check_bag, is_bag, write_bag
from mesoface.capture.errors import UserError
from mesoface.capture.take import open_take, read_take, takes_in, verify_image
from mesoface.capture.take_manifest import check_label, check_reference, check_subject
from mesoface.capture.take_report import verify_take
from mesoface.capture.take_tidy import drop_copies, set_aside


@pytest.mark.parametrize(
    "subject", ["Anna", "anna", "S1", "../S012", "S012/..", "S012_x", "", " S012", "S012\n", "ABCD12", "S0000001"]
)
def test_subjects_are_pseudonyms(subject):
    with pytest.raises(UserError, match="pseudonym"):
        check_subject(subject)


def test_good_names_pass():
    assert [check_subject(s) for s in ("S012", "AB12", "XYZ000123")] == ["S012", "AB12", "XYZ000123"]
    assert check_label("brow_raise", "expression") == "brow_raise"
    assert check_reference("C-2026/014", "consent") == "C-2026/014"


@pytest.mark.parametrize("label", ["", "Smile", "../x", "a b", "x" * 33, "smile\n"])
def test_labels_stay_in_the_folder(label):
    with pytest.raises(UserError, match="expression"):
        check_label(label, "expression")


def test_folder_and_manifest(tmp_path):
    with new_take(tmp_path / "sessions", consent="C-1", operator="AB") as take:
        assert take.folder.parent == tmp_path / "sessions" and take.name.startswith("S012_smile_")
        manifest, rig, state = read_take(take.folder)
    assert manifest.consent == "C-1" and manifest.plan == PLAN and rig == RIG
    assert state.missing_steps() == sorted({s.step for s in PLAN}) and not state.complete
    assert takes_in(tmp_path / "sessions") == [take.folder]


def test_two_takes_in_one_second_get_two_folders(tmp_path):
    with new_take(tmp_path) as one, new_take(tmp_path) as two:
        assert one.folder != two.folder and len(takes_in(tmp_path)) == 2


def test_a_take_is_opened_once(tmp_path):
    with new_take(tmp_path) as take:
        code = f"from mesoface.capture.take import open_take\nopen_take({str(take.folder)!r})"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert found.returncode != 0 and "another program works on this take" in found.stderr
    with open_take(take.folder):
        pass


def test_foreign_rig_is_refused(tmp_path):
    with new_take(tmp_path) as take:
        pass
    path = take.folder / "data/rig.toml"
    path.write_text(path.read_text().replace("063034018213", "063034018214"))
    with pytest.raises(UserError, match="is not the rig this take was shot with"):
        read_take(take.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "{", "cannot be read"),
        (lambda text: text.replace('"mesoface-take"', '"other"'), "not the manifest of a take"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 9'), "newer"),
        (lambda text: text.replace('"stem": "00_uniform_left2"', '"stem": "../../etc/x"'), "shots.0.stem"),
        (lambda text: text.replace('"kind": "scan"', '"kind": "party"'), "kind"),
    ],
)
def test_damaged_manifests_are_refused(tmp_path, change, message):
    with new_take(tmp_path) as take:
        pass
    path = take.folder / "data/take.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        read_take(take.folder)


def test_not_a_take(tmp_path):
    with pytest.raises(UserError, match="is not a take"):
        read_take(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        takes_in(tmp_path / "none")


def test_state_follows_the_log(tmp_path):
    with new_take(tmp_path) as take:
        expose(take, 0)
        state = take.state()
        assert len(state.to_download()) == 5 and 0 not in state.missing_steps() and state.image(0) is None
        file_away(take, 0)
        assert take.state().to_download() == [] and take.state().image(0) is not None
        # a press without a result stays open
        take.log.append("press", step=1, attempt=0, cameras=["centre"])
        assert take.state().open_press is not None and 1 in take.state().missing_steps()


def test_void_exposures_do_not_count_but_are_kept(tmp_path):
    with new_take(tmp_path) as take:
        files = expose(take, 1)
        take.log.append("void", step=1, attempt=0, reason="no light")
        state = take.state()
        assert 1 in state.missing_steps() and state.attempts[1] == 1
        assert state.strays_to_download() == [(files[0]["serial"], 0, files[0]["card_folder"], files[0]["card_name"])]


def test_a_later_attempt_replaces_an_earlier_one(tmp_path):
    with new_take(tmp_path) as take:
        expose(take, 1)
        (old,) = file_away(take, 1)
        expose(take, 1, attempt=1)
        assert take.state().image(5) is None
        (new,) = file_away(take, 1)
        assert new.name == f"{PLAN[5].stem}_r1.cr2" and old.exists()
        image = take.state().image(5)
        assert image is not None and image.path == f"raw/{new.name}"
        assert take.state().strays_to_download() == []


def test_damage_is_found_and_put_right(tmp_path):
    with whole_take(tmp_path) as take:
        assert verify_take(take.folder).status == "complete"
        altered, deleted = (take.data / "raw" / f"{PLAN[i].stem}.cr2" for i in (6, 7))
        altered.write_bytes(b"y" * altered.stat().st_size)
        deleted.unlink()
        foreign = take.data / "raw" / "holiday.cr2"
        foreign.write_bytes(b"sunset")
        (take.data / "raw" / "05_flash1_parallel.cr2.part").write_bytes(b"half")
        report = verify_take(take.folder)
        assert report.status == "damaged" and len(report.lines) == 3
        text = "\n".join(report.lines)
        assert "has other bytes" in text and "is missing" in text and "holiday.cr2 is not in the log" in text
        assert len(set_aside(take)) == 3
        assert [e.shot for e in take.state().to_download()] == [6, 7]
        for index in (6, 7):
            file_away(take, PLAN[index].step)
        drop_copies(take)
        assert verify_take(take.folder).status == "complete"
        kept = sorted(p.name for p in (take.data / "unassigned").iterdir())
        assert kept == ["aside1_06_flash1_cross.cr2", "aside1_holiday.cr2"]
        assert not list((take.data / "raw").glob("*.part"))


def test_copies_of_filed_images_are_dropped(tmp_path):
    with whole_take(tmp_path) as take:
        original = take.data / "raw" / f"{PLAN[9].stem}.cr2"
        (take.data / "raw" / "copy.cr2").write_bytes(original.read_bytes())
        set_aside(take)
        drop_copies(take)
        assert list((take.data / "unassigned").iterdir()) == [] and verify_take(take.folder).status == "complete"


def test_report_says_what_is_missing_and_how_to_get_it(tmp_path):
    with new_take(tmp_path) as take:
        for step in range(18):
            expose(take, step)
            if step != 3:
                file_away(take, step)
        report = verify_take(take.folder)
    assert report.status == "incomplete" and report.verified == 21
    assert "centre (serial 063034018213) still holds 1 frame" in report.lines[0]
    assert "take resume" in report.lines[0] and PLAN[7].stem in report.lines[0]
    assert "22_flash9_cross, 23_ambient_centre" in report.lines[1] and "--steps 18,19" in report.lines[1]


def test_bag_validates_with_other_tools(tmp_path):
    bagit = pytest.importorskip("bagit")
    with whole_take(tmp_path) as take:
        pass
    count = write_bag(take.folder, {"External-Identifier": take.name})
    assert is_bag(take.folder) and check_bag(take.folder) == [] and count == len(PLAN) + 3
    bag = bagit.Bag(str(take.folder))
    bag.validate()
    assert bag.info["External-Identifier"] == take.name
    for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        checked = subprocess.run(["sha256sum", "-c", "--quiet", name], cwd=take.folder, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("change", ["byte", "missing", "extra", "tag"])
def test_bag_shows_every_change(tmp_path, change):
    bagit = pytest.importorskip("bagit")
    with whole_take(tmp_path) as take:
        pass
    write_bag(take.folder, {})
    path = take.folder / "data/raw" / f"{PLAN[3].stem}.cr2"
    if change == "byte":
        path.write_bytes(b"z" * path.stat().st_size)
    elif change == "missing":
        path.unlink()
    elif change == "extra":
        (take.folder / "data/raw/more.cr2").write_bytes(b"1")
    else:
        (take.folder / "bag-info.txt").write_text("Payload-Oxum: 1.1\n")
    assert check_bag(take.folder)
    with pytest.raises(bagit.BagError):
        bagit.Bag(str(take.folder)).validate()
    assert verify_take(take.folder).status == "damaged"


def test_verify_image_says_what_is_wrong(tmp_path):
    with whole_take(tmp_path) as take:
        file = take.state().image(2)
        assert file is not None and verify_image(take.folder, file) == ""
        path = take.data / file.path
        path.write_bytes(path.read_bytes() + b"1")
        assert "instead of" in verify_image(take.folder, file)
