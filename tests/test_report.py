"""What people look at: pictures with scales, contact sheet, self-contained report."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np

from mesoface.flows import html
from mesoface.flows.pictures import colour_map, map_with_scale, normal_picture, relief, sheet
from mesoface.flows.scan_report import write_scan_report


def test_diverging_map_is_symmetric_and_neutral_at_zero() -> None:
    picture = colour_map(np.array([[-1.0, -0.5, 0.0, 0.5, 1.0, np.nan]]), -1, 1, diverging=True).astype(int)
    assert np.ptp(picture[0, 2]) <= 1 and picture[0, 2].min() > 240
    assert picture[0, 0, 2] > picture[0, 0, 0] and picture[0, 4, 0] > picture[0, 4, 2]  # blue below, red above
    assert np.ptp(picture[0, 5]) == 0 and picture[0, 5, 0] < 60


def test_map_has_a_scale_below() -> None:
    values = np.linspace(-0.2, 0.2, 64 * 64).reshape(64, 64)
    picture = map_with_scale(values, "mm", diverging=True)
    assert picture.shape == (98, 64, 3)
    assert (picture[64:] < 128).any()  # text and bar


def test_normals_and_relief_show_the_viewer_side() -> None:
    facing = np.zeros((4, 4, 3))
    facing[..., 2] = -1
    facing[0, 0] = np.nan
    assert normal_picture(facing)[2, 2].tolist() == [128, 128, 255]
    assert relief(facing)[2, 2, 0] > relief(facing)[0, 0, 0]


def test_sheet_holds_all_pictures() -> None:
    tiles = [np.full((20, 30, 3), 10 * k, np.uint8) for k in range(5)]
    made = sheet(tiles, columns=3, gap=2)
    assert made.shape == (44, 96, 3)
    assert (made[22, 32] == 40).all()


def test_report_is_one_self_contained_page(tiny_scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    shutil.copytree(tiny_scan, folder)
    page = write_scan_report(folder, seconds=12.0).read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<img") >= 23 + 5 + 8
    assert "flash9 cross" in page and "12 s" in page and "highlight left in the crossed images" in page
    picture = cv2.imread(str(folder / "contact-sheet.png"))
    assert picture is not None and picture.shape[1] > 1000 and picture.std() > 20


def test_html_escapes_text() -> None:
    assert "&lt;b&gt;" in html.table([["<b>"]]) and "<b>" not in html.heading("<b>", "<b>").replace("<h2>", "")
