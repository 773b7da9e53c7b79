"""The append-only log of a take: durable lines, chained hashes, torn tails."""

import json
import os
import threading

import pytest

from mesoface.capture.errors import UserError
from mesoface.capture.take_log import TakeLog, read_log


def test_events_come_back_in_order(tmp_path):
    log = TakeLog(tmp_path / "take.jsonl")
    log.append("opened", take_id="a")
    log.append("press", step=3, cameras=("x", "y"))
    log.close()
    content = read_log(tmp_path / "take.jsonl")
    assert [r["event"] for r in content.records] == ["opened", "press"] and not content.torn
    assert content.records[1]["cameras"] == ["x", "y"] and [r["n"] for r in content.records] == [0, 1]


def test_log_is_continued(tmp_path):
    path = tmp_path / "take.jsonl"
    for number in range(3):
        log = TakeLog(path)
        log.append("note", number=number)
        log.close()
    assert [r["number"] for r in read_log(path).records] == [0, 1, 2]


def test_every_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    log = TakeLog(tmp_path / "take.jsonl")
    for number in range(3):
        before = len(synced)
        log.append("note", number=number)
        assert len(synced) == before + 1 and synced[-1] == (tmp_path / "take.jsonl").stat().st_size


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_torn_tail_is_reported_and_left_behind(tmp_path, cut):
    path = tmp_path / "take.jsonl"
    log = TakeLog(path)
    log.append("one")
    log.append("two", text="something long enough to be cut in the middle")
    log.close()
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_log(path).torn or cut == 1
    again = TakeLog(path)
    again.append("three")
    again.close()
    events = [r["event"] for r in read_log(path).records]
    assert events[0] == "one" and events[-1] == "three" and not read_log(path).torn
    assert events == (["one", "two", "three"] if cut == 1 else ["one", "torn", "three"])


@pytest.mark.parametrize("change", ["edit", "remove", "swap"])
def test_edited_log_is_refused(tmp_path, change):
    path = tmp_path / "take.jsonl"
    log = TakeLog(path)
    for step in range(4):
        log.append("press", step=step)
    log.close()
    lines = path.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace('"step":1', '"step":7')
    elif change == "remove":
        del lines[1]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    path.write_text("".join(lines))
    with pytest.raises(UserError, match="line 2 does not follow"):
        read_log(path)


def test_threads_share_a_log(tmp_path):
    log = TakeLog(tmp_path / "take.jsonl")
    threads = [threading.Thread(target=lambda k=k: [log.append("note", k=k, i=i) for i in range(20)]) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = read_log(tmp_path / "take.jsonl").records
    assert [r["n"] for r in records] == list(range(80))
    for k in range(4):
        assert [r["i"] for r in records if r["k"] == k] == list(range(20))


def test_lines_are_plain_json(tmp_path):
    log = TakeLog(tmp_path / "take.jsonl")
    log.append("note", text="größer")
    line = (tmp_path / "take.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["text"] == "größer"


def test_full_disk_is_one_clear_message(tmp_path, monkeypatch):
    log = TakeLog(tmp_path / "take.jsonl")

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(UserError, match=r"No space left on device.*take resume"):
        log.append("note")
