"""Displaced meshes without cracks, normal maps that agree with them, and files that say the same."""

import io
import json
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from proxy_fixtures import procedural

from mesoface.capture.errors import UserError
from mesoface.capture.image_files import read_tiff
from mesoface.model.detail_files import (
    png_bytes,
    png_text,
    read_displacement_png,
    with_png_text,
    write_displacement,
)
from mesoface.model.detailed_mesh import (
    TexelFrame,
    at_vertices,
    detailed_mesh,
    model_normals,
    normal_colours,
    tangent_normals,
    texel_frame,
)
from mesoface.reconstruct.face_model import FaceModel, Region
from mesoface.reconstruct.gltf_file import tangents, write_glb
from mesoface.reconstruct.mesh_refine import TriangleMesh, edge_lengths_mm, vertex_normals
from mesoface.reconstruct.uv_charts import UvCharts, uv_charts

MAP = 512


@lru_cache(maxsize=1)
def charts() -> UvCharts:
    return uv_charts(procedural(), MAP)


@lru_cache(maxsize=1)
def ripples() -> np.ndarray:
    """A map of smooth relief on the cheeks and the forehead, 1 mm high, waves of about 20 texels."""
    rows, columns = np.mgrid[:MAP, :MAP]
    middle = np.exp(-(((rows - 250) / 60.0) ** 2) - ((columns - 256) / 60.0) ** 2)
    waves = np.sin(0.3 * rows + 0.13 * columns) * middle
    return np.where(np.abs(waves) > 1e-3, waves, 0).astype(np.float32)


def tube(sides: int = 12, rings: int = 6) -> TriangleMesh:
    """An open tube of 20 mm radius: its first column of vertices is also its last, with two texture coordinates."""
    vertices, uv = [], []
    for ring in range(rings):
        for side in range(sides):
            angle = 2 * np.pi * side / sides
            vertices.append([20 * np.sin(angle), 10.0 * ring, 20 * np.cos(angle)])
        uv += [[0.1 + 0.8 * side / sides, 0.1 + 0.8 * ring / (rings - 1)] for side in range(sides + 1)]
    triangles, uv_triangles = [], []
    for ring in range(rings - 1):
        for side in range(sides):
            a, b = ring * sides + side, ring * sides + (side + 1) % sides
            c, d = a + sides, b + sides
            p = ring * (sides + 1) + side
            triangles += [[a, b, d], [a, d, c]]
            uv_triangles += [[p, p + 1, p + sides + 2], [p, p + sides + 2, p + sides + 1]]
    return TriangleMesh(
        np.array(vertices), np.array(triangles, np.int32), np.array(uv, np.float32), np.array(uv_triangles, np.int32)
    )


def tube_model(mesh: TriangleMesh) -> FaceModel:
    count = len(mesh.vertices_mm)
    empty = np.zeros((0, count, 3), np.float32)
    return FaceModel(
        "tube", mesh.vertices_mm.astype(np.float32), empty, empty, (), False, np.full((count, 3), 0.5, np.float32),
        empty, mesh.triangles, mesh.uv, mesh.uv_triangles, np.full(68, -1, np.int32),
        np.full(count, Region.CHEEK_LEFT, np.uint8), "CC0",
    )  # fmt: skip


def open_edges(triangles: np.ndarray) -> int:
    """Edges with one triangle alone: borders and cracks."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    return int((np.unique(edges, axis=0, return_counts=True)[1] == 1).sum())


def test_a_seam_of_the_charts_is_no_crack():
    mesh = tube()
    # the two sides of the seam carry different heights: a vertex there takes the mean, once
    heights = np.broadcast_to(np.linspace(-1, 1, MAP, dtype=np.float32), (MAP, MAP)).copy()
    found = detailed_mesh(tube_model(mesh), mesh.vertices_mm, heights, 1.0)
    base, displaced = found.base, found.vertices_mm
    moved = ((displaced - base.vertices_mm) * found.base_normals).sum(1)
    np.testing.assert_allclose(moved, found.displacement_mm, atol=1e-9)
    rings = open_edges(base.triangles)
    border = np.isin(np.round(base.vertices_mm[:, 1], 6), [0, 50])
    assert rings == border.sum(), "its two open ends, nothing else"
    angle = np.arctan2(base.vertices_mm[:, 0], base.vertices_mm[:, 2])
    at_seam = np.abs(angle) < 1e-6
    assert at_seam.sum() > 20 and np.abs(found.displacement_mm[at_seam]).max() < 1e-3
    assert found.displacement_mm.min() < -0.6 and found.displacement_mm.max() > 0.6
    pairs = np.unique(np.stack([base.triangles.ravel(), base.uv_triangles.ravel()], 1), axis=0)
    assert len(pairs) == len(displaced) + at_seam.sum(), "only the seam has two texture coordinates"


def test_edges_are_short_where_something_is_displaced():
    model = procedural()
    found = detailed_mesh(model, model.mean_mm, ripples(), 1.6)
    lengths = edge_lengths_mm(found.base.vertices_mm, found.base.triangles)
    here = (np.abs(found.displacement_mm[found.base.triangles]) > 0.07).all(1)
    assert here.sum() > 2000 and 1.1 < lengths[here].mean() < 1.8 and np.percentile(lengths[here], 99) < 2.7
    coarse = open_edges(model.triangles)
    assert open_edges(found.base.triangles) < 9 * coarse, "openings of the head have finer edges, no new ones"
    assert (np.bincount(np.unique(found.base.triangles, return_inverse=True)[1].ravel()) > 0).all()
    still = found.displacement_mm == 0
    assert np.array_equal(found.vertices_mm[still], found.base.vertices_mm[still])


def flat_frame(right_mm: float, up_mm: float, size: int = 64, *, mirrored: bool = False) -> TexelFrame:
    """Texels of a plane that faces z, columns along x (mirrored: against x), rows downwards."""
    one = np.ones((size, size), np.float32)
    normal = np.stack([0 * one, 0 * one, one], -1)
    tangent = np.stack([-one if mirrored else one, 0 * one, 0 * one], -1)
    return TexelFrame(normal, tangent, -one if mirrored else one, right_mm * one, np.stack([0 * one, up_mm * one], -1))


def test_a_slope_leans_the_normal_against_it():
    rows, columns = np.mgrid[:64, :64].astype(np.float32)
    frame = flat_frame(0.5, 0.25)
    rising_right = tangent_normals(0.05 * columns, frame)[5:-5, 5:-5]  # 0.1 mm per mm
    np.testing.assert_allclose(rising_right, np.broadcast_to([-0.0995, 0, 0.995], rising_right.shape), atol=1e-3)
    rising_up = tangent_normals(-0.05 * rows, frame)[5:-5, 5:-5]  # 0.2 mm per mm
    np.testing.assert_allclose(rising_up, np.broadcast_to([0, -0.1961, 0.9806], rising_up.shape), atol=1e-3)
    colours = normal_colours(rising_up)
    assert (colours[..., 1] < 110).all() and (np.abs(colours[..., 0].astype(int) - 128) <= 1).all()
    assert (normal_colours(tangent_normals(0 * rows, frame)) == [128, 128, 255]).all()


def test_a_mirrored_chart_means_the_same_surface():
    rows, columns = np.mgrid[:64, :64].astype(np.float32)
    relief = np.sin(0.3 * columns + 0.2 * rows)
    plain, mirrored = flat_frame(0.5, 0.5), flat_frame(0.5, 0.5, mirrored=True)
    one = model_normals(tangent_normals(relief, plain), plain)
    other = model_normals(tangent_normals(relief[:, ::-1], mirrored), mirrored)[:, ::-1]
    np.testing.assert_allclose(one[2:-2, 2:-2], other[2:-2, 2:-2], atol=1e-5)
    assert np.abs(one[..., 0]).max() > 0.3


def test_normal_map_and_displaced_mesh_are_one_surface():
    model = procedural()
    frame = texel_frame(charts(), model, model.mean_mm)
    mapped = model_normals(tangent_normals(ripples(), frame), frame)
    mesh = detailed_mesh(model, model.mean_mm, ripples(), 1.0)
    there = np.abs(mesh.displacement_mm) > 0.2
    found = at_vertices(mesh.base, mapped)[there]
    found /= np.linalg.norm(found, axis=1, keepdims=True)

    def angle(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.degrees(np.median(np.arccos(np.clip((a * b).sum(1), -1, 1)))))

    relief = angle(mesh.base_normals[there], mesh.normals[there])
    assert relief > 3 and angle(found, mesh.normals[there]) < 0.3 * relief
    upside_down = model_normals(tangent_normals(ripples(), frame) * np.array([1, -1, 1], np.float32), frame)
    assert angle(at_vertices(mesh.base, upside_down)[there], mesh.normals[there]) > 0.8 * relief


def test_texel_lengths_are_those_of_the_surface():
    model = procedural()
    frame = texel_frame(charts(), model, model.mean_mm)
    row, column = 250, 256
    around = charts().raster
    assert around.valid[row, column]
    nearby = at_vertices(
        TriangleMesh(model.mean_mm.astype(float), model.triangles, model.uv, model.uv_triangles),
        np.where(frame.right_mm > 0, frame.right_mm, np.nan),
    )
    assert 0.3 < np.nanmedian(nearby) < 2
    lengths = np.linalg.norm(frame.tangent[around.valid], axis=1)
    assert np.percentile(np.abs(lengths - 1), 99) < 1e-3
    assert np.abs((frame.tangent * frame.normal).sum(2)).max() < 1e-4


def parsed(path: Path) -> tuple[dict, bytes]:
    """A .glb file's JSON and binary chunk, its structure checked on the way."""
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data)) and length % 4 == 0
    text_length, text_kind = struct.unpack("<I4s", data[12:20])
    assert text_kind == b"JSON" and text_length % 4 == 0
    at = 20 + text_length
    binary_length, binary_kind = struct.unpack("<I4s", data[at : at + 8])
    assert binary_kind == b"BIN\0" and at + 8 + binary_length == len(data)
    return json.loads(data[20:at]), data[at + 8 :]


def values_of(content: dict, binary: bytes, number: int) -> np.ndarray:
    """An accessor's array, its place checked."""
    accessor = content["accessors"][number]
    view = content["bufferViews"][accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
    assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * width * 4
    assert view["byteOffset"] + view["byteLength"] <= content["buffers"][0]["byteLength"] <= len(binary)
    part = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(part, kind).reshape(-1, width)


def test_glb_holds_what_was_written(tmp_path):
    mesh = tube()
    colour = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    bumps = np.full((16, 16, 3), (128, 128, 255), np.uint8)
    write_glb(tmp_path / "a.glb", mesh, base_colour=png_bytes(colour), normal_map=png_bytes(bumps), extras={"n": 1})
    content, binary = parsed(tmp_path / "a.glb")
    assert content["asset"] == {"version": "2.0", "generator": "mesoface", "extras": {"n": 1}}
    primitive = content["meshes"][0]["primitives"][0]
    numbers = primitive["attributes"]
    position, normal, tangent, uv = (
        values_of(content, binary, numbers[name]) for name in ("POSITION", "NORMAL", "TANGENT", "TEXCOORD_0")
    )
    corners = values_of(content, binary, primitive["indices"]).reshape(-1, 3)
    assert corners.shape == mesh.triangles.shape and corners.max() == len(position) - 1
    np.testing.assert_allclose(position[corners], mesh.vertices_mm[mesh.triangles] / 1000, atol=1e-7)
    expected = mesh.uv[mesh.uv_triangles]
    np.testing.assert_allclose(uv[corners], np.stack([expected[..., 0], 1 - expected[..., 1]], -1), atol=1e-6)
    bounds = content["accessors"][numbers["POSITION"]]
    np.testing.assert_allclose(bounds["min"], position.min(0))
    np.testing.assert_allclose(bounds["max"], position.max(0))
    smooth = vertex_normals(mesh.vertices_mm, mesh.triangles)
    np.testing.assert_allclose(normal[corners], smooth[mesh.triangles], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-5)
    assert (tangent[:, 3] == 1).all() and np.abs((tangent[:, :3] * normal).sum(1)).max() < 1e-5
    # u grows with the angle about y: at the front (z > 0) that is along x
    front = (position[:, 2] > 0.0199) & (np.abs(uv[:, 0] - 0.1) < 0.01)
    assert front.any() and (tangent[front, 0] > 0.9).all()
    surface = content["materials"][0]
    links = [surface["normalTexture"], surface["pbrMetallicRoughness"]["baseColorTexture"]]
    textures = [content["textures"][link["index"]]["source"] for link in links]
    for source, written in zip(textures, (bumps, colour), strict=True):
        image = content["images"][source]
        view = content["bufferViews"][image["bufferView"]]
        part = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        assert image["mimeType"] == "image/png" and "target" not in view
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(part))), written)
    with pytest.raises(ValueError, match="PNG or JPEG"):
        write_glb(tmp_path / "b.glb", mesh, base_colour=b"GIF89a")


def test_tangents_of_a_mirrored_chart_have_the_other_hand():
    mesh = tube()
    pairs = np.unique(np.stack([mesh.triangles.ravel(), mesh.uv_triangles.ravel()], 1), axis=0)
    index = {tuple(pair): number for number, pair in enumerate(pairs.tolist())}
    flat = np.array([[index[corner] for corner in zip(a, b, strict=True)]
                     for a, b in zip(mesh.triangles.tolist(), mesh.uv_triangles.tolist(), strict=True)])  # fmt: skip
    positions = mesh.vertices_mm[pairs[:, 0]]
    normals = vertex_normals(mesh.vertices_mm, mesh.triangles)[pairs[:, 0]]
    uv = mesh.uv[pairs[:, 1]].astype(float)
    plain = tangents(positions, normals, uv, flat)
    mirrored = tangents(positions, normals, uv * [-1, 1], flat)
    np.testing.assert_allclose(plain[:, :3], -mirrored[:, :3], atol=1e-9)
    assert (plain[:, 3] == 1).all() and (mirrored[:, 3] == -1).all()
    up = np.cross(normals, plain[:, :3]) * plain[:, 3:]
    assert (up[:, 1] > 0.99).all(), "w N x T is the direction of increasing v"


def test_displacement_files_say_the_same(tmp_path):
    relief = (0.2 * ripples() - 0.05 * (ripples() > 0)).astype(np.float32)
    names = write_displacement(tmp_path, relief, {"image": "anna.png"})
    assert {"displacement_mm.tif", "displacement.png", "displacement.json"} <= set(names)
    stored, about = read_tiff(tmp_path / "displacement_mm.tif")
    assert np.array_equal(stored, relief) and about["unit"] == "mm"
    units = np.asarray(Image.open(tmp_path / "displacement.png")).astype(np.uint16)
    facts = json.loads((tmp_path / "displacement.json").read_text())
    assert Image.open(tmp_path / "displacement.png").mode.startswith("I") and units[0, 0] == 32768 == facts["zero_unit"]
    back = units * facts["mm_per_unit"] + facts["offset_mm"]
    assert np.abs(back - relief).max() <= 0.51 * facts["mm_per_unit"] < 1e-5
    np.testing.assert_allclose(read_displacement_png(tmp_path / "displacement.png"), back, atol=1e-6)
    assert facts["highest_mm"] == pytest.approx(float(relief.max())) and facts["image"] == "anna.png"
    words = png_text((tmp_path / "displacement.png").read_bytes())
    assert float(words["offset_mm"]) == facts["offset_mm"] and words["unit"] == "mm"
    write_displacement(tmp_path, relief * 0, {})
    assert not read_displacement_png(tmp_path / "displacement.png").any()
    plain = tmp_path / "plain.png"
    plain.write_bytes(png_bytes(units))
    with pytest.raises(UserError, match="no 16-bit PNG with a scale"):
        read_displacement_png(plain)
    assert png_text(with_png_text(png_bytes(units), {"a": "b", "c": "1 mm"})) == {"a": "b", "c": "1 mm"}


def test_exr_holds_the_same_millimetres(tmp_path):
    library = pytest.importorskip("OpenEXR")
    assert "displacement_mm.exr" in write_displacement(tmp_path, ripples(), {})
    with library.File(str(tmp_path / "displacement_mm.exr")) as file:
        assert np.array_equal(file.channels()["Y"].pixels, ripples())
