"""The contact sheet: one whole file that says what the verdict says, for whole and for partial takes."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from quality_fixtures import SIZE_PX, StudioTake, crossed, nothing, parallel

from mesoface.capture.plan import Shot
from mesoface.capture.quality import judge
from mesoface.capture.rig import load_example_rig
from mesoface.flows.take_charts import histogram, motion_chart, timing_strip
from mesoface.flows.take_pictures import difference, difference_limit, take_look
from mesoface.flows.take_sheet import SheetHeader, write_contact_sheet

VOID = {"meta", "img", "br", "link"}
HEADER = SheetHeader(
    "S012, smile",
    (("subject", "S012"), ("notes", "<b>& glasses off</b>")),
    "mesoface take reshoot sessions/S012 --steps 13,14",
)


class Page(HTMLParser):
    """Checks that tags are balanced and collects text, classes and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.text, self.classes, self.links = [], "", [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.classes += (values.get("class") or "").split()
        self.links += [values[key] for key in ("src", "href") if values.get(key)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.classes += (dict(attrs).get("class") or "").split()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text += data


@pytest.fixture(scope="module")
def take(tiny_scan, tmp_path_factory) -> StudioTake:
    return StudioTake.of(tiny_scan, tmp_path_factory.mktemp("frames"), load_example_rig())


def sheet(take: StudioTake, path, facts, shots=None, started_s=None) -> tuple[str, Page]:
    shots = shots or take.shots
    started_s = {s.index: 0.2 * s.step for s in shots} if started_s is None else started_s
    quality = judge(take.rig, shots, facts, started_s, size_px=SIZE_PX)
    write_contact_sheet(path, HEADER, shots, facts, quality, started_s, take.rig.limits)
    text = path.read_text()
    return text, Page(text)


def test_clean_take(take, tmp_path):
    text, page = sheet(take, tmp_path / "contact-sheet.html", take.facts)
    assert page.text.startswith("S012, smile") and "All checks passed" in page.text
    assert "accept" in page.classes and not {"fail", "warn"} & set(page.classes)
    # 5 frames, 9 x (parallel, crossed, difference), the scale
    assert len(page.links) == 5 + 27 + 1 and all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "http" not in re.sub(r"data:image[^\"]*", "", text), "nothing is fetched from anywhere"
    assert "<script" not in text and len(text) < 2_000_000
    assert "<b>& glasses off</b>" in page.text, "text of the operator is text, not HTML"
    for words in ("flash9", "crossed/parallel", "burnt out", "at most 1.5 mm", "ISO 100 f/11 0.1 s", "063034018213"):
        assert words in page.text
    assert page.text.count("failed") == 0


def test_faults_are_marked_where_they_are(take, tmp_path):
    facts = take.facts | take.changed(nothing, crossed(7)) | take.changed(lambda s: 8 * s, parallel(2))
    text, page = sheet(take, tmp_path / "sheet.html", facts)
    assert "reshoot" in page.classes and "Shoot some steps again" in page.text
    assert "Flash7 did not fire in its crossed frame" in page.text
    assert "mesoface take reshoot sessions/S012 --steps 13,14" in page.text
    tiles = re.findall(r'<div class="tile ([a-z]*)">.*?<div class="what">([^<]*)</div>', text)
    red = {what for kind, what in tiles if kind == "fail"}
    assert red == {"14 crossed", "3 parallel"}
    assert "burnt out" in page.text and "failed" in page.text


def test_partial_and_empty_takes(take, tmp_path):
    few = {i: f for i, f in take.facts.items() if i in (0, 2, 5, 6, 9)}
    _, page = sheet(take, tmp_path / "few.html", few)
    assert page.text.count("no frame") == 23 - 5 and page.text.count("no difference") == 8
    _, empty = sheet(take, tmp_path / "none.html", {}, started_s={})
    assert "23 frames are missing" in empty.text and "No times are known" in empty.text


def test_ambient_frame_is_shown(take, tmp_path):
    ambient = Shot(23, 19, "centre", (), 0, "U", "ambient", None, "23_ambient_centre")
    shots = (*take.shots, ambient)
    facts = take.facts | {23: take.facts[2].model_copy(update={"shot": 23, "fingerprint": "x"})}
    _, page = sheet(take, tmp_path / "a.html", facts, shots)
    assert "Without flash" in page.text and "room light" in page.text


def test_white_is_the_lamps_white(take):
    """The studio's lamps are white and its sensor's colours too: gains stay equal."""
    gains = take_look(take.shots, take.facts).gains
    assert max(gains) / min(gains) < 1.1
    tinted = {
        i: f.model_copy(update={"face": f.face * np.array([0.5, 1, 0.7], np.float32)}) for i, f in take.facts.items()
    }
    red, green, blue = take_look(take.shots, tinted).gains
    assert red / green == pytest.approx(2, rel=0.1) and blue / green == pytest.approx(1 / 0.7, rel=0.1)


def test_difference_scale(take):
    values = difference(take.facts[parallel(4)], take.facts[crossed(4)], 60)
    assert values is not None and values.max() > 5 > abs(values.min())
    assert difference_limit([values]) in (1, 2, 5, 10, 20, 50)
    assert difference_limit([]) == 1
    assert difference_limit([np.full((4, 4), 3.0)]) == 5


def test_drawings(take):
    strip = timing_strip(take.shots, {s.index: 0.2 * s.step for s in take.shots}, {6: "fail"}, 5.0)
    Page(strip)
    assert strip.count("<title>") == 23 and 'stroke="#c62828"' in strip and "flash9 crossed, 3.600 s" in strip
    assert "limit" in strip
    assert "limit" not in timing_strip(take.shots, {0: 0.0, 1: 0.01}, {}, 5.0)
    long = timing_strip(take.shots, {s.index: 4000.0 * s.step for s in take.shots}, {}, 5.0)
    assert len(long) < 20_000
    quality = judge(take.rig, take.shots, take.facts, size_px=SIZE_PX)
    Page(motion_chart(take.shots, quality.shots, 1.5))
    assert "could not be measured" in motion_chart(take.shots, (), 1.5)
    Page(histogram([0] * 64, True))
