"""Development to linear light: exact numbers, calibration maps applied in order, files redone only when needed."""

import numpy as np
import pytest

from mesoface.capture.calibration_maps import (
    Calibration,
    ColourMatrix,
    DarkFrame,
    FlatField,
    load_calibration,
    load_calibrations,
    save_calibration,
)
from mesoface.capture.demosaic import Method
from mesoface.capture.develop import LinearImage, develop, develop_files
from mesoface.capture.dng import DngFacts, mosaic_rggb, write_dng
from mesoface.capture.errors import UserError
from mesoface.capture.exif import Exif
from mesoface.capture.image_files import read_tiff
from mesoface.capture.raw import RawImage, read_raw
from mesoface.capture.rig import load_example_rig

RANGE_DN = 12952.0


@pytest.fixture
def frame(tiny_scan):
    """A frame of the virtual studio: (DNG, the numbers of all three colours before the mosaic, minus black)."""
    dng = next((tiny_scan / "raw").glob("*_flash4_parallel.dng"))
    numbers, facts = read_tiff(tiny_scan / "images" / f"{dng.stem}.tif")
    assert facts["white_level"] - facts["black_level"] == RANGE_DN
    return dng, numbers.astype(np.float32) - facts["black_level"]


def raw_of(mosaic: np.ndarray) -> RawImage:
    return RawImage(mosaic.astype(np.float32), "RGGB", (2048.0, 2048.0, 2048.0, 2048.0), 2048 + RANGE_DN, Exif())


def test_half_size_is_the_mosaic_to_the_last_bit(frame):
    dng, numbers = frame
    developed = develop(read_raw(dng), method="half")
    np.testing.assert_allclose(developed.rgb[..., 0] * RANGE_DN, numbers[0::2, 0::2, 0], rtol=1e-6)
    np.testing.assert_allclose(developed.rgb[..., 2] * RANGE_DN, numbers[1::2, 1::2, 2], rtol=1e-6)
    green = (numbers[0::2, 1::2, 1] + numbers[1::2, 0::2, 1]) / 2
    np.testing.assert_allclose(developed.rgb[..., 1] * RANGE_DN, green, rtol=1e-6)
    assert developed.rgb.min() < 0, "noise below black stays"


def test_full_size_equals_the_studios_linear_truth_within_noise(frame):
    """Pixel by pixel within the interpolation's margin, and without any bias over the face."""
    dng, numbers = frame
    truth = numbers / RANGE_DN
    face = np.zeros(truth.shape[:2], bool)
    face[50:110, 95:145] = True
    margins: dict[Method, float] = {"malvar": 0.14, "bilinear": 0.24}
    for method, margin in margins.items():
        developed = develop(read_raw(dng), method=method)
        assert developed.rgb.shape == truth.shape and developed.colour == "linear camera RGB"
        error = developed.rgb - truth
        relative = np.sqrt((error[face] ** 2).mean()) / truth[face].mean()
        assert relative < margin, "one pixel is 2 mm here: interpolation blurs pores and edges"
        bias = error[face].mean(axis=0) / truth[face].mean(axis=0)
        assert np.abs(bias).max() < 0.012
        background = np.zeros(truth.shape[:2], bool)
        background[:, :20] = True
        # the mean of the dark is the mean of its noise, not of its positive half
        assert abs(error[background].mean()) * RANGE_DN < 0.1


def test_differences_of_developed_frames_are_developed_differences(frame):
    mosaic = read_raw(frame[0]).mosaic
    other = 0.4 * mosaic[::-1].copy()[:, ::-1] + 3
    first, second = develop(raw_of(mosaic)).rgb, develop(raw_of(other)).rgb
    np.testing.assert_allclose(first - second, develop(raw_of(mosaic - other)).rgb, atol=2e-6)


def test_saturated_pixels_are_marked_as_far_as_they_reach():
    mosaic = np.full((20, 20), 1000.0)
    mosaic[8, 9] = RANGE_DN
    reaches: dict[Method, int] = {"malvar": 2, "bilinear": 1}
    for method, reach in reaches.items():
        clipped = develop(raw_of(mosaic), method=method).clipped
        expected = np.zeros((20, 20), bool)
        expected[8 - reach : 9 + reach, 9 - reach : 10 + reach] = True
        np.testing.assert_array_equal(clipped, expected)
    half = develop(raw_of(mosaic), method="half").clipped
    assert half.sum() == 1 and half[4, 4]


def scene_calibration() -> tuple[np.ndarray, Calibration]:
    """A smooth scene (60, 90, 3), and maps that spoil it."""
    y, x = np.mgrid[:60, :90].astype(np.float32)
    scene = np.stack([0.3 + 0.002 * x, 0.4 + 0.001 * y, 0.2 + 0.001 * x], axis=2)
    gain = np.stack([1 - 0.00006 * ((x - 45) ** 2 + (y - 30) ** 2) * k for k in (1.0, 1.2, 1.4)], axis=2)
    dark = (0.01 + 0.0001 * x).astype(np.float32)
    matrix = np.array([[1.8, -0.6, -0.2], [-0.2, 1.5, -0.3], [0.0, -0.5, 1.5]])
    return scene, Calibration(DarkFrame(dark), FlatField(gain.astype(np.float32)), ColourMatrix(matrix))


def spoilt(scene: np.ndarray, calibration: Calibration) -> RawImage:
    assert calibration.dark is not None and calibration.flat is not None
    light = mosaic_rggb(scene * calibration.flat.gain)  # pyright: ignore[reportArgumentType]
    return raw_of((light + calibration.dark.level) * RANGE_DN)


@pytest.mark.parametrize("size", [(60, 90), (30, 45), (12, 18)])
def test_maps_are_undone_in_order(size):
    """Dark frame, then flat field (stored at any size), then colours: the scene comes back."""
    import cv2

    scene, calibration = scene_calibration()
    raw = spoilt(scene, calibration)
    assert calibration.flat is not None and calibration.colour is not None
    small = np.asarray(cv2.resize(calibration.flat.gain, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
    stored = Calibration(calibration.dark, FlatField(small), calibration.colour)
    developed = develop(raw, stored)
    expected = scene @ calibration.colour.matrix.T
    assert developed.colour == "linear sRGB (D65)"
    inner = (slice(4, -4), slice(4, -4))
    tolerance = 0.006
    np.testing.assert_allclose(developed.rgb[inner], expected[inner], atol=tolerance)
    without = develop(raw).rgb[inner]
    assert np.abs(without - scene[inner]).max() > 5 * tolerance, "the maps matter in this scene"


def test_maps_of_another_picture_size_are_refused():
    scene, calibration = scene_calibration()
    raw = spoilt(scene, calibration)
    other = raw_of(raw.mosaic[:40, :80])
    with pytest.raises(UserError, match="dark frame of 90x60 px for a picture of 80x40 px"):
        develop(other, Calibration(calibration.dark))
    with pytest.raises(UserError, match="flat field of 90x60 px for a picture of 80x40 px"):
        develop(other, Calibration(flat=calibration.flat))


def test_maps_on_disk(tmp_path):
    _, calibration = scene_calibration()
    rig = load_example_rig()
    save_calibration(tmp_path / "centre", calibration)
    save_calibration(tmp_path / "left1", Calibration(colour=calibration.colour))
    read = load_calibrations(tmp_path, rig)
    assert set(read) == {rig.camera("centre").serial, rig.camera("left1").serial}
    centre = read[rig.camera("centre").serial]
    assert centre.dark is not None and centre.flat is not None and centre.colour is not None
    assert calibration.dark is not None and calibration.flat is not None and calibration.colour is not None
    np.testing.assert_array_equal(centre.dark.level, calibration.dark.level)
    np.testing.assert_array_equal(centre.flat.gain, calibration.flat.gain)
    np.testing.assert_array_equal(centre.colour.matrix, calibration.colour.matrix)
    left = read[rig.camera("left1").serial]
    assert left.dark is None and left.flat is None and left.colour is not None and left.content != centre.content
    (tmp_path / "centre" / "flat.tif").write_bytes(b"II*\0")
    with pytest.raises(UserError, match=r"flat\.tif"):
        load_calibration(tmp_path / "centre")
    (tmp_path / "left1" / "colour.json").write_text('{"schema_version": 1, "matrix": [[1, 2], [3, 4]]}')
    with pytest.raises(UserError, match=r"left1.*\(3, 3\)"):
        load_calibration(tmp_path / "left1")
    with pytest.raises(UserError, match="no such folder"):
        load_calibrations(tmp_path / "none", rig)


def test_implausible_maps_are_refused():
    with pytest.raises(ValueError, match="dark frame"):
        DarkFrame(np.full((4, 4), 0.5, np.float32))
    with pytest.raises(ValueError, match="flat field"):
        FlatField(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="NaN"):
        FlatField(np.full((4, 4, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match="flat field"):
        FlatField(np.ones((4, 4), np.float32))
    with pytest.raises(ValueError, match="singular"):
        ColourMatrix(np.ones((3, 3)))


@pytest.fixture
def files(tmp_path):
    """Three small raw files of two bodies."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for k, serial in enumerate(("111", "111", "222")):
        mosaic = rng.integers(2000, 9000, (40, 60), dtype=np.uint16)
        facts = DngFacts(2048, 15000, "Canon EOS 760D", serial, 100, 0.1, 11.0, f"2026:01:01 12:00:0{k}")
        write_dng(folder / f"{k:02d}_shot.dng", mosaic, facts)
    return sorted(folder.iterdir())


def test_files_are_developed_once(tmp_path, files):
    out = tmp_path / "out"
    seen = []
    first = develop_files(files, out, workers=2, done=lambda developed: seen.append(developed.source))
    assert [d.source for d in first] == files and not any(d.reused for d in first) and sorted(seen) == files
    image, facts = read_tiff(first[0].image)
    np.testing.assert_array_equal(image, develop(read_raw(files[0])).rgb)
    assert facts["unit"] == "share of the white level" and facts["serial"] == "111" and facts["method"] == "malvar"
    names = {path.name for path in out.iterdir()}
    assert names == {f"{f.stem}{end}" for f in files for end in (".tif", ".clipped.png")}
    assert all(d.reused for d in develop_files(files, out))
    assert not any(d.reused for d in develop_files(files, out, method="half"))


def test_only_what_changed_is_developed_again(tmp_path, files):
    out = tmp_path / "out"
    develop_files(files, out)
    (out / "00_shot.tif").write_bytes((out / "00_shot.tif").read_bytes()[:100])
    (out / "01_shot.clipped.png").unlink()
    again = develop_files(files, out)
    assert [d.reused for d in again] == [False, False, True]
    np.testing.assert_array_equal(read_tiff(again[0].image)[0], develop(read_raw(files[0])).rgb)
    flat = FlatField(np.full((20, 30, 3), 0.5, np.float32))
    changed = develop_files(files, out, calibrations={"222": Calibration(flat=flat, content="new")})
    assert [d.reused for d in changed] == [True, True, False]
    np.testing.assert_allclose(read_tiff(changed[2].image)[0], 2 * develop(read_raw(files[2])).rgb, rtol=1e-6)


def test_unusable_files_and_settings(tmp_path, files):
    files[1].write_bytes(files[1].read_bytes()[:3000])
    with pytest.raises(UserError, match=r"01_shot\.dng"):
        develop_files(files, tmp_path / "out", workers=1)
    assert (tmp_path / "out" / "00_shot.tif").is_file(), "what was finished stays"
    assert not [p for p in (tmp_path / "out").iterdir() if ".part" in p.name]
    with pytest.raises(UserError, match="expected one of malvar"):
        develop_files(files, tmp_path / "out", method="ahd")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="00_shot: several files"):
        develop_files([files[0], tmp_path / "00_shot.cr2"], tmp_path / "out")


def test_linear_image_checks_its_arrays():
    rgb, clipped = np.zeros((4, 6, 3), np.float32), np.zeros((4, 6), bool)
    LinearImage(rgb, clipped)
    for bad in ((rgb[..., 0], clipped), (rgb.astype(np.float64), clipped), (rgb, clipped[:3]), (rgb, rgb[..., 0])):
        with pytest.raises(ValueError):
            LinearImage(*bad)  # pyright: ignore[reportArgumentType]
