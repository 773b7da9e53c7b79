"""Cards that are exchanged, formatted or cleared in the middle of a take: no frame lost, none under a wrong name."""

from session_fixtures import messages, misfiled, new_take, run, start_rig

from mesoface.capture.camera_messages import CardFile
from mesoface.capture.session import Session
from mesoface.capture.session_view import SessionView
from mesoface.capture.take_cards import BodyCards, Look
from mesoface.capture.take_report import verify_take


def listed(*names: str, size: int = 100, time_s: float | None = 1000.0) -> list[CardFile]:
    return [CardFile("/DCIM", name, size, time_s) for name in names]


def shot(*names: str, before: tuple[str, ...] = ()) -> BodyCards:
    """A body whose first card held `before`, and then frames of the take."""
    cards = BodyCards(held={0: {("/DCIM", name): Look(100, 1000.0) for name in before}})
    for name in names:
        cards.add("/DCIM", name, Look(100, 1000.0))
    return cards


def test_the_same_card_is_recognised_by_what_it_holds():
    assert shot("a", "b").recognise(listed("a", "b", "c")) == 0
    assert shot("a", "b").recognise(listed("b")) == 0, "a deleted frame does not make another card"
    assert shot("a", before=("old",)).recognise(listed("old")) == 0
    assert shot("a").recognise(listed("a", time_s=None)) == 0, "a body that gives no time"
    assert shot("a").recognise(listed("a", time_s=1000.0 + 2 * 3600 - 1)) == 0, "read in another time zone"
    assert BodyCards().recognise(listed("a")) == 0, "frames of an interrupted step on a card that was empty"


def test_another_card_is_recognised_even_if_its_names_are_the_same():
    assert shot("a", "b").recognise([]) == 1
    assert shot("a", "b").recognise(listed("x")) == 1
    assert shot("a", "b").recognise(listed("a", "b", size=101)) == 1
    assert shot("a", "b").recognise(listed("a", "b", time_s=1060.0)) == 1
    assert shot(before=("old",)).recognise([]) == 1, "formatted before the first step: its numbers begin again"


def test_an_earlier_card_is_recognised_when_it_comes_back():
    cards = shot("a", "b")
    cards.change(1, [["/DCIM", "x", 100, 1000.0]])
    cards.add("/DCIM", "a", Look(100, 5000.0))
    assert cards.recognise(listed("a", "b")) == 0
    assert cards.recognise([*listed("x"), *listed("a", time_s=5000.0)]) == 1


def test_cleared_names_are_free_again():
    cards = shot("a")
    cards.drop("/DCIM", "a")
    assert cards.recognise([]) == 1 and cards.recognise(listed("a")) == 1


def test_frames_that_went_with_a_card_are_shot_again_and_not_mistaken(tmp_path, tiny_scan):
    """The second rig's bodies number their frames from 1 again: names and sizes are those of the first."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with start_rig(tmp_path / "a", tiny_scan) as first, start_rig(tmp_path / "b", tiny_scan) as second:
        with new_take(tmp_path, first) as take:
            with Session(take, first.connections, SessionView()) as session:
                session.connect()
                assert session.shoot([0, 1, 2, 3, 4], fetch=False) == {}
            assert take.state().missing_steps()[0] == 5
            view = run(take, second, "resume")
            assert "another card, or a formatted one" in messages(view) and "step 0, 1, 2, 3, 4" in messages(view)
            assert not take.state().files and take.state().missing_steps()[:5] == [0, 1, 2, 3, 4]
            run(take, second)
            assert verify_take(take.folder).status == "complete" and misfiled(take.folder, second) == []
            names = {file.path for file in take.state().files if file.shot is not None}
            run(take, first, "resume")
            kept = [file for file in take.state().files if file.shot is None]
            assert len(kept) >= 9, "the frames of the card that came back are kept, under no step"
            assert names <= {file.path for file in take.state().files}
        assert verify_take(take.folder).status == "complete" and misfiled(take.folder, second) == []


def test_the_earlier_card_put_back_gives_its_frames(tmp_path, tiny_scan):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with start_rig(tmp_path / "a", tiny_scan) as first:
        with new_take(tmp_path, first) as take:
            with Session(take, first.connections, SessionView()) as session:
                session.connect()
                session.shoot(take.state().missing_steps(), fetch=False)
            with start_rig(tmp_path / "b", tiny_scan) as second:
                run(take, second, "resume")
            assert not take.state().complete
            view = run(take, first, "resume")
            assert "an earlier card is back" in messages(view)
        assert verify_take(take.folder).status == "complete" and misfiled(take.folder, first) == []


def test_cleared_cards_may_number_from_one_again(tmp_path, tiny_scan):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with start_rig(tmp_path / "a", tiny_scan) as first, start_rig(tmp_path / "b", tiny_scan) as second:
        with new_take(tmp_path, first) as take:
            run(take, first)
            with Session(take, first.connections, SessionView()) as session:
                session.connect(for_shooting=False)
                assert session.clear_cards() == (24, [])
            before = {file.path: file.sha256 for file in take.state().files}
            run(take, second, steps=[4])
            after = {file.path: file.sha256 for file in take.state().files}
            assert before.items() < after.items(), "what was shot before stays as it was"
            with Session(take, second.connections, SessionView()) as session:
                session.connect(for_shooting=False)
                deleted, problems = session.clear_cards()
            assert problems == [] and deleted == len(after) - len(before)
        truths = {sha for truth in second.command("truths")["truths"] for sha in truth["sha256"]}
        state = take.state()
        images = {shot.step: state.image(shot.index) for shot in state.plan if shot.camera == "centre"}
        assert [step for step, image in images.items() if image and image.sha256 in truths] == [3, 4]
        assert verify_take(take.folder).status == "complete"
