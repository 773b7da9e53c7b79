"""Stages: valid results are kept, stale ones made again, nothing is half-written."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from mesoface.capture.errors import UserError
from mesoface.flows.stage import Stage, read_stage, run_stage

STAGE = Stage("bake", 1, {"heat": 200, "pan": [2, 3]}, {"flour": "ab", "egg": "cd"})


class Baker:
    """Counts how often work was done."""

    def __init__(self, text: str = "cake", warnings: tuple[str, ...] = ()) -> None:
        self.text, self.warnings, self.times = text, warnings, 0

    def __call__(self, folder: Path) -> tuple[str, ...]:
        self.times += 1
        (folder / "sub").mkdir()
        (folder / "sub/cake.txt").write_text(self.text)
        (folder / "link").symlink_to("sub", target_is_directory=True)
        return self.warnings


def test_valid_results_are_kept(tmp_path):
    baker = Baker(warnings=("too brown",))
    first = run_stage(tmp_path / "out", STAGE, baker)
    again = run_stage(tmp_path / "out", STAGE, baker)
    assert (first.reused, again.reused, baker.times) == (False, True, 1)
    assert again.warnings == first.warnings == ("too brown",)
    content = read_stage(tmp_path / "out")
    assert list(content["outputs"]) == ["sub/cake.txt"] and content["inputs"] == {"egg": "cd", "flour": "ab"}
    assert content["content_hash"] == STAGE.content_hash and content["seconds"] >= 0
    assert run_stage(tmp_path / "out", STAGE, baker, force=True).reused is False


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (replace(STAGE, code=2), "a newer method"),
        (replace(STAGE, parameters={"heat": 180, "pan": [2, 3]}), "other parameters (heat)"),
        (replace(STAGE, inputs={"flour": "ab", "egg": "ef"}), "other input (egg)"),
        (replace(STAGE, inputs={"flour": "ab"}), "other input (egg)"),
    ],
)
def test_stale_results_are_made_again(tmp_path, stage, why):
    run_stage(tmp_path / "out", STAGE, Baker())
    result = run_stage(tmp_path / "out", stage, Baker("new"))
    assert not result.reused and result.why == why
    assert (tmp_path / "out/sub/cake.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_altered_and_missing_outputs_are_made_again(tmp_path):
    run_stage(tmp_path / "out", STAGE, Baker())
    (tmp_path / "out/sub/cake.txt").write_text("bitten")
    assert run_stage(tmp_path / "out", STAGE, Baker()).why == "sub/cake.txt is altered"
    (tmp_path / "out/sub/cake.txt").unlink()
    assert run_stage(tmp_path / "out", STAGE, Baker()).why == "sub/cake.txt is missing"


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "foreign"])
def test_a_damaged_manifest_makes_the_stage_again(tmp_path, damage):
    run_stage(tmp_path / "out", STAGE, Baker())
    manifest = tmp_path / "out/stage.json"
    text = manifest.read_text()
    if damage == "gone":
        manifest.unlink()
    else:
        manifest.write_text({"cut": text[:40], "flipped": text.replace("bake", "bakf"), "foreign": "[]"}[damage])
    baker = Baker()
    assert run_stage(tmp_path / "out", STAGE, baker).why.startswith("stage.json is ") and baker.times == 1
    assert run_stage(tmp_path / "out", STAGE, baker).reused


def test_a_lost_link_makes_the_stage_again(tmp_path):
    run_stage(tmp_path / "out", STAGE, Baker())
    (tmp_path / "out/link").unlink()
    assert run_stage(tmp_path / "out", STAGE, Baker()).why == "link is no longer the link that it was"
    assert run_stage(tmp_path / "out", STAGE, Baker()).reused


@pytest.mark.parametrize("error", [UserError("no eggs"), KeyboardInterrupt()])
def test_a_failure_leaves_the_earlier_result(tmp_path, error):
    run_stage(tmp_path / "out", STAGE, Baker())

    def fails(folder: Path) -> tuple[str, ...]:
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(type(error)):
        run_stage(tmp_path / "out", replace(STAGE, code=2), fails)
    assert (tmp_path / "out/sub/cake.txt").read_text() == "cake"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_left_overs_of_killed_runs_go_and_of_living_ones_stay(tmp_path):
    dead = 4_000_000  # above the usual largest process number
    (tmp_path / f".out.{dead}.part").mkdir()
    (tmp_path / f".out.{os.getppid()}.part").mkdir()
    run_stage(tmp_path / "out", STAGE, Baker())
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".out.{os.getppid()}.part", "out"]


def test_a_run_killed_between_the_renames_loses_nothing(tmp_path):
    run_stage(tmp_path / "out", STAGE, Baker("old"))
    (tmp_path / "out").rename(tmp_path / ".out.4000000.old")
    run_stage(tmp_path / "out", replace(STAGE, code=2), Baker("new"))
    assert (tmp_path / "out/sub/cake.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_rest_of_a_replaced_result_goes_and_names_are_not_confused(tmp_path):
    """Killed while the old result was being removed; and a stage whose name goes on after another's."""
    run_stage(tmp_path / "new/out", STAGE, Baker())
    for name in (".out.4000000.old", ".out.patches.4000000.old"):
        (tmp_path / "new" / name).mkdir()
    (tmp_path / "new").rename(tmp_path / "moved")  # as a new process finds it: a folder not looked at yet
    assert run_stage(tmp_path / "moved/out", STAGE, Baker()).reused
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == [".out.patches.4000000.old", "out"]


def test_other_folders_are_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/diary.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that is no mesoface stage"):
        run_stage(tmp_path / "out", STAGE, Baker())
    run_stage(tmp_path / "other", replace(STAGE, name="fry"), Baker())
    with pytest.raises(UserError, match="holds the stage 'fry', not 'bake'"):
        run_stage(tmp_path / "other", STAGE, Baker())
    manifest = tmp_path / "other/stage.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    with pytest.raises(UserError, match="schema version 99 is newer"):
        read_stage(tmp_path / "other")


def test_matrix_products_in_a_stage_do_not_depend_on_the_number_of_threads(tmp_path):
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen = []
    before = threads()
    run_stage(tmp_path / "a", Stage("a", 1, {}, {}), lambda folder: seen.extend(threads()) or ())
    assert seen == [1] and threads() >= before
