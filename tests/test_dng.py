"""The DNG writer, read back by LibRaw and tifffile."""

import numpy as np
import pytest
import rawpy
import tifffile

from mesoface.capture.dng import DngFacts, dng_bytes, mosaic_rggb, write_dng

SETTINGS = {
    "black_level": 2048,
    "white_level": 15000,
    "model": "Canon EOS 760D",
    "serial": "063034018213",
    "iso": 100,
    "exposure_s": 1 / 160,
    "f_number": 5.6,
    "datetime_text": "2024:03:09 14:05:59",
}


@pytest.fixture
def mosaic() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 65536, (400, 602), dtype=np.uint16)


@pytest.mark.parametrize("name", ["frame.dng", "IMG_0001.CR2"])
def test_libraw_reads_what_was_written(tmp_path, mosaic, name):
    write_dng(tmp_path / name, mosaic, DngFacts(**SETTINGS))
    with rawpy.imread(str(tmp_path / name)) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, mosaic)
        assert raw.black_level_per_channel == [2048] * 4 and raw.white_level == 15000
        assert raw.color_desc == b"RGBG" and np.array_equal(np.asarray(raw.raw_pattern), [[0, 1], [3, 2]])
        assert raw.other.iso_speed == 100
        assert raw.other.shutter_speed == pytest.approx(1 / 160) and raw.other.aperture == pytest.approx(5.6)
        assert f"{raw.other.timestamp:%Y:%m:%d %H:%M:%S}" == SETTINGS["datetime_text"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_tags_identify_the_body(tmp_path, mosaic):
    write_dng(tmp_path / "frame.dng", mosaic, DngFacts(**SETTINGS))
    with tifffile.TiffFile(tmp_path / "frame.dng") as file:
        tags = {tag.code: tag.value for tag in file.pages.first.tags}
    assert (tags[271], tags[272]) == ("Canon", "Canon EOS 760D")
    assert tags[34665]["BodySerialNumber"] == tags[50735] == "063034018213"
    assert tags[34665]["ExposureTime"] == (1, 160) and tags[34665]["FNumber"] == (28, 5)


def test_every_exposure_can_be_told_apart(tmp_path, mosaic):
    facts = DngFacts(**SETTINGS, subsecond_text="042", unique_id="0123456789abcdef" * 2)
    write_dng(tmp_path / "frame.dng", mosaic, facts)
    assert (tmp_path / "frame.dng").read_bytes() == dng_bytes(mosaic, facts)
    with tifffile.TiffFile(tmp_path / "frame.dng") as file:
        exif = file.pages.first.tags[34665].value
    assert exif["ImageUniqueID"] == "0123456789abcdef" * 2 and exif["SubsecTimeOriginal"] == "042"
    with pytest.raises(ValueError, match="unique_id"):
        dng_bytes(mosaic, DngFacts(**SETTINGS, unique_id="x"))


def test_linear_values_survive_development(tmp_path):
    levels = np.repeat(np.array([0.02, 0.1, 0.4, 0.8]), 64)
    grey = np.broadcast_to(2048 + levels * (15000 - 2048), (64, 256)).round().astype(np.uint16)
    write_dng(tmp_path / "frame.dng", grey, DngFacts(**SETTINGS))
    with rawpy.imread(str(tmp_path / "frame.dng")) as raw:
        rgb = raw.postprocess(
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            user_wb=[1, 1, 1, 1],
            output_color=rawpy.ColorSpace(0),
            user_flip=0,
        )
    np.testing.assert_allclose(rgb[32, 32::64] / 65535, np.repeat([[0.02], [0.1], [0.4], [0.8]], 3, 1), atol=2e-4)


def test_mosaic_takes_red_green_green_blue():
    rgb = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3)
    mosaic = mosaic_rggb(rgb)
    assert mosaic.dtype == np.uint16
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        np.testing.assert_array_equal(mosaic[row::2, column::2], rgb[row::2, column::2, channel])


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (0, 0), (4, 4, 3)])
def test_odd_sizes_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="even height"):
        write_dng(tmp_path / "frame.dng", np.zeros(shape, np.uint16), DngFacts(**SETTINGS))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(3, 4, 3), (4, 5, 3), (4, 4), (4, 4, 4)])
def test_mosaic_refuses_odd_sizes(shape):
    with pytest.raises(ValueError, match="even height"):
        mosaic_rggb(np.zeros(shape, np.uint16))


@pytest.mark.parametrize(
    "wrong",
    [
        {"black_level": 15000},
        {"white_level": 70000},
        {"iso": 0},
        {"exposure_s": 0.0},
        {"exposure_s": float("nan")},
        {"f_number": float("inf")},
        {"model": " "},
        {"serial": ""},
        {"datetime_text": "2024-03-09"},
    ],
)
def test_bad_settings_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_dng(tmp_path / "frame.dng", np.zeros((2, 2), np.uint16), DngFacts(**{**SETTINGS, **wrong}))


def test_other_dtypes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint16"):
        write_dng(tmp_path / "frame.dng", np.zeros((2, 2), np.int32), DngFacts(**SETTINGS))  # pyright: ignore[reportArgumentType]
