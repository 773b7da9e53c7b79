"""Settings: flags over environment over file over defaults, unknown keys refused, `mesoface config show`."""

import json
from pathlib import Path

import pytest

from mesoface.flows.cli import app, main
from mesoface.flows.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bound(words: list[str], **environment: str) -> dict:
    """What a command would be called with, the settings file of the working folder read."""
    settings = load_settings(app, environment=environment)
    app.config = (settings.fill,)
    try:
        return dict(app.parse_args(words, exit_on_error=False, print_error=False)[1].arguments)
    finally:
        app.config = ()


def test_flags_win_over_environment_over_file(folder: Path):
    (folder / "mesoface.toml").write_text('[studio.render]\nsize = "tiny"\nseed = 3\nnoise = false\nleak = 0.25\n')
    words = ["studio", "render", "--out", "scan"]
    found = bound(words)
    assert (found["size"], found["seed"], found["noise"], found["leak"]) == ("tiny", 3, False, 0.25)
    assert "samples" not in found, "the default stays the command's own"
    found = bound([*words, "--noise"], MESOFACE_STUDIO_RENDER_SIZE="small", MESOFACE_STUDIO_RENDER_SEED="4")
    assert (found["size"], found["seed"], found["noise"]) == ("small", 4, True)
    found = bound([*words, "--size", "large"], MESOFACE_STUDIO_RENDER_SIZE="small")
    assert found["size"] == "large"


def test_lists_and_names_with_hyphens(folder: Path):
    (folder / "mesoface.toml").write_text(
        '[train.landmarks]\nface_model = ["procedural", "b.h5"]\n[synthesize]\nmodel = "m.npz"\n'
    )
    assert bound(["train", "landmarks"])["face_model"] == ["procedural", "b.h5"]
    assert bound(["synthesize", "a.jpg"])["model"] == [Path("m.npz")]
    assert bound(["synthesize", "a.jpg"], MESOFACE_SYNTHESIZE_MODEL="x.pt:y.pt")["model"] == [
        Path("x.pt"),
        Path("y.pt"),
    ]
    assert bound(["face-model", "convert", "a", "b"], MESOFACE_FACE_MODEL_CONVERT_FORCE="1")["force"] is True
    assert bound(["synthesize", "a.jpg"], MESOFACE_SYNTHESIZE_EDGE_MM="2")["edge"] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[studio.rendr]\nsize = 1", "[studio] rendr: there is no such command, did you mean render?"),
        ("[studio.render]\nsiz = 1", "[studio.render] siz: mesoface studio render has no such option, did you mean"),
        ("[studio.render]\nno-noise = true", "[studio.render] no-noise"),
        ("workers = 4", "key workers: there is no such command"),
        ("doctor = 1", "doctor is a command, expected a table [doctor]"),
        ("[doctor]\njson = [true]", "[doctor] json: is a list, expected one value"),
        ("[doctor]\njson = 2026-01-01", "[doctor] json: datetime.date(2026, 1, 1) is a date"),
        ("a = ", "is no valid TOML"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_key(folder: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str):
    (folder / "mine.toml").write_text(text + "\n")
    assert main(["config", "show", "--config", "mine.toml", "--no-log"]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "mine.toml" in shown and expected in shown


def test_a_value_of_the_wrong_kind_names_its_origin(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "mesoface.toml").write_text('[rig.example]\nforce = "perhaps"\n')
    assert main(["rig", "example", "rig.toml"]) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "--force from mesoface.toml, [rig.example] force" in shown and not (folder / "rig.toml").exists()


def test_missing_file_and_misspelt_variable(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    assert main(["doctor", "--config", "none.toml"]) == 2
    assert "none.toml: cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("MESOFACE_RIG_EXAMPLE_FORC", "1")
    assert main(["rig", "example", "rig.toml"]) == 2
    assert "did you mean MESOFACE_RIG_EXAMPLE_FORCE?" in " ".join(capsys.readouterr().err.split())
    assert main(["rig", "board", "board.svg"]) == 0, "another command's variable is not its business"


def test_help_works_beside_a_broken_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "mesoface.toml").write_text("broken")
    assert main(["rig", "example", "--help"]) == 0
    assert "--force" in capsys.readouterr().out


def test_config_show_tells_where_from(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    (folder / "mesoface.toml").write_text('[studio.render]\nsize = "tiny"\nseed = 3\n')
    monkeypatch.setenv("MESOFACE_STUDIO_RENDER_SEED", "5")
    assert main(["config", "show", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file"] == "mesoface.toml"
    assert {row["option"]: (row["value"], row["from"]) for row in facts["settings"]} == {
        "--size": ("tiny", "mesoface.toml, [studio.render] size"),
        "--seed": ("5", "MESOFACE_STUDIO_RENDER_SEED"),
    }
    assert main(["config", "show", "studio", "render", "--json"]) == 0
    rows = {row["option"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert rows["--samples"]["value"] == 9 and rows["--samples"]["from"] == "default"
    assert rows["--out"]["from"] == "required"
    assert main(["config", "show", "studio", "rendr"]) == 2
    assert main(["config", "show"]) == 0
    assert "studio render" in capsys.readouterr().out
