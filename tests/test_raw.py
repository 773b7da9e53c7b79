"""Decoding raw files: the sensor's numbers without loss, and every unusable file named for what it is."""

import struct

import numpy as np
import pytest

from mesoface.capture import dng
from mesoface.capture.dng import DngFacts, write_dng
from mesoface.capture.errors import UserError
from mesoface.capture.exif import Exif, read_exif
from mesoface.capture.raw import RawImage, read_raw

FACTS = DngFacts(
    black_level=2048,
    white_level=15000,
    model="Canon EOS 760D",
    serial="063034018213",
    iso=200,
    exposure_s=1 / 160,
    f_number=5.6,
    datetime_text="2026:03:09 14:05:59",
    subsecond_text="25",
)


@pytest.fixture
def mosaic() -> np.ndarray:
    return np.random.default_rng(4).integers(1900, 15001, (120, 180), dtype=np.uint16)


@pytest.fixture
def frame(tmp_path, mosaic):
    path = tmp_path / "IMG_0001.CR2"
    write_dng(path, mosaic, FACTS)
    return path


def test_numbers_are_the_sensors_minus_black(frame, mosaic):
    raw = read_raw(frame, (180, 120))
    np.testing.assert_array_equal(raw.mosaic, mosaic.astype(np.float32) - 2048)
    assert raw.mosaic.min() < -100, "noise below black belongs to the signal"
    assert raw.range_dn == 12952 and raw.cfa == "RGGB" and raw.size_px == (180, 120)
    assert raw.black_dn == (2048.0,) * 4 and raw.white_dn == 15000
    np.testing.assert_array_equal(raw.plane(1, 0), mosaic[1::2, 0::2].astype(np.float32) - 2048)


def test_exif_tells_body_time_and_settings(frame):
    exif = read_raw(frame).exif
    assert exif == read_exif(frame)
    assert (exif.serial, exif.model, exif.make) == ("063034018213", "Canon EOS 760D", "Canon")
    assert exif.taken == "2026:03:09 14:05:59.25"
    assert exif.iso == 200 and exif.aperture == pytest.approx(5.6) and exif.shutter_s == pytest.approx(1 / 160)


def _with_tags(monkeypatch, path, mosaic, tags, **changes):
    """A DNG with more tags in its first directory."""
    build = dng._directory

    def directory(entries, offset):
        main = any(tag == dng.STRIP_OFFSETS for tag, _, _ in entries)
        return build([*entries, *tags] if main else entries, offset)

    monkeypatch.setattr(dng, "_directory", directory)
    write_dng(path, mosaic, DngFacts(**{**FACTS.__dict__, **changes}))
    monkeypatch.undo()


@pytest.mark.parametrize("origin, cfa", [((12, 8), "RGGB"), ((14, 10), "RGGB")])
def test_margin_around_the_picture_is_cut_away(tmp_path, mosaic, monkeypatch, origin, cfa):
    """Canon bodies record more pixels than their pictures have and note the picture's place."""
    left, top = origin
    path = tmp_path / "margin.dng"
    _with_tags(monkeypatch, path, mosaic, [(50719, dng.SHORT, origin), (50720, dng.SHORT, (150, 100))])
    expected = mosaic[top : top + 100, left : left + 150].astype(np.float32) - 2048
    for size_px in (None, (150, 100)):
        raw = read_raw(path, size_px)
        np.testing.assert_array_equal(raw.mosaic, expected)
        assert raw.cfa == cfa
    assert read_raw(path, (180, 120)).size_px == (180, 120)
    with pytest.raises(UserError, match=r"180x120 \(cropped 150x100\) px, but the rig's sensor has 600x400"):
        read_raw(path, (600, 400))


def test_colour_pattern_follows_the_visible_area(tmp_path, mosaic, monkeypatch):
    path = tmp_path / "active.dng"
    _with_tags(monkeypatch, path, mosaic, [(50829, dng.SHORT, (4, 7, 118, 177))])
    raw = read_raw(path)
    assert raw.cfa == "GRBG", "LibRaw starts one column right of the active area's red"
    np.testing.assert_array_equal(raw.mosaic, mosaic[4:118, 8:176].astype(np.float32) - 2048)


def test_another_size_of_the_same_shape_is_taken_when_asked(frame):
    assert read_raw(frame, (6000, 4000), any_scale=True).size_px == (180, 120)
    with pytest.raises(UserError, match="full-size RAW"):
        read_raw(frame, (6000, 4000))
    with pytest.raises(UserError, match="full-size RAW"):
        read_raw(frame, (6000, 3000), any_scale=True)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.9999])
def test_truncated_file(frame, keep):
    data = frame.read_bytes()
    frame.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(UserError, match=r"IMG_0001\.CR2.*(truncated|cannot be decoded)"):
        read_raw(frame)


def test_missing_rows_filled_with_zeros(tmp_path, mosaic):
    mosaic[-20:] = 0
    write_dng(tmp_path / "a.dng", mosaic, FACTS)
    with pytest.raises(UserError, match="last rows are missing"):
        read_raw(tmp_path / "a.dng")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 500, "a JPEG, but expected a raw file"),
        (b"hello, this is no picture at all" * 20, "cannot be decoded"),
        (b"II" + b"\x2b\0" + b"\0" * 400, "no raw file"),
        (b"II*\0\x08\0\0\0" + b"\0" * 400, "cannot be decoded"),
        (b"II*\0\xff\xff\xff\x7f", "truncated or damaged"),
    ],
)
def test_files_that_are_no_raw_files(tmp_path, content, words):
    path = tmp_path / "x.cr2"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.cr2.*{words}"):
        read_raw(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.cr2: no such file"):
        read_raw(tmp_path / "gone.cr2")
    with pytest.raises(UserError, match="cannot be read"):
        read_raw(tmp_path)


@pytest.mark.parametrize("black, white", [(2048, 2100), (9000, 15000)])
def test_implausible_levels(tmp_path, mosaic, black, white):
    write_dng(tmp_path / "a.dng", mosaic, DngFacts(**{**FACTS.__dict__, "black_level": black, "white_level": white}))
    with pytest.raises(UserError, match="make no sense"):
        read_raw(tmp_path / "a.dng")


def test_damaged_heads_never_crash(tmp_path, mosaic):
    """Any byte of the tags may be wrong: a picture or a UserError, nothing else."""
    write_dng(tmp_path / "a.dng", mosaic[:32, :48], FACTS)
    data = (tmp_path / "a.dng").read_bytes()
    head = len(data) - 32 * 48 * 2
    rng = np.random.default_rng(0)
    read = 0
    for place in range(2, head, 3):
        damaged = bytearray(data)
        damaged[place] = int(rng.integers(256))
        path = tmp_path / "b.dng"
        path.write_bytes(damaged)
        try:
            read += isinstance(read_raw(path), RawImage)
        except UserError:
            pass
    assert read > 50


def _tiff(order: str, make: bytes, exif_entries: list[tuple[int, int, int, bytes]], tail: bytes = b"") -> bytes:
    """A TIFF with Make and an Exif directory; entries are (tag, type, count, four bytes)."""
    magic = b"II" if order == "<" else b"MM"
    head = magic + struct.pack(order + "HI", 42, 8)
    name = make + b"\0"
    main_length = 2 + 12 * 2 + 4
    exif_at = 8 + main_length + len(name) + len(name) % 2
    main = struct.pack(order + "H", 2)
    main += struct.pack(order + "HHII", 271, 2, len(name), 8 + main_length)
    main += struct.pack(order + "HHII", 34665, 4, 1, exif_at) + struct.pack(order + "I", 0)
    exif = struct.pack(order + "H", len(exif_entries))
    exif += b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in exif_entries)
    return head + main + name + b"\0" * (len(name) % 2) + exif + struct.pack(order + "I", 0) + tail


@pytest.mark.parametrize("order", ["<", ">"])
def test_serial_of_older_canon_bodies_is_in_their_maker_note(tmp_path, order):
    def u32(value):
        return struct.pack(order + "I", value)

    path = tmp_path / "a.cr2"
    note = struct.pack(order + "H", 1) + struct.pack(order + "HHI", 12, 4, 1) + u32(630319376) + u32(0)
    for make, serial in ((b"Canon", "0630319376"), (b"Nikon", "")):
        blank = _tiff(order, make, [(37500, 7, len(note), u32(0))])
        path.write_bytes(_tiff(order, make, [(37500, 7, len(note), u32(len(blank)))], note))
        assert read_exif(path).serial == serial


def test_exif_with_nonsense_stays_empty(tmp_path):
    path = tmp_path / "a.cr2"
    entries = [(33434, 5, 1, b"\xff\xff\xff\x00"), (34855, 99, 1, b"\0" * 4), (36867, 2, 20, b"\xf0\xff\xff\x0f")]
    path.write_bytes(_tiff("<", b"Canon", entries))
    assert read_exif(path) == Exif(make="Canon")


def test_raw_image_checks_its_shape():
    good = {"cfa": "RGGB", "black_dn": (0.0,) * 4, "white_dn": 1000.0, "exif": Exif()}
    RawImage(np.zeros((4, 6), np.float32), **good)
    with pytest.raises(ValueError):
        RawImage(np.zeros((4, 5), np.float32), **good)
    with pytest.raises(ValueError):
        RawImage(np.zeros((4, 6), np.float64), **good)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError):
        RawImage(np.zeros((4, 6), np.float32), **{**good, "cfa": "RGBW"})
    with pytest.raises(ValueError):
        RawImage(np.zeros((4, 6), np.float32), **{**good, "white_dn": 0.0})
