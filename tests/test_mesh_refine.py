"""Refinement without cracks on curved surfaces, texture coordinates with seams, and fairing that keeps shape."""

import numpy as np
import pytest
import trimesh

from mesoface.reconstruct.mesh_refine import TriangleMesh, edge_lengths_mm, fair, refine_edges, vertex_normals


def icosphere(radius_mm: float = 10.0, subdivisions: int = 2) -> TriangleMesh:
    """A sphere; its texture coordinates are x and y, linear in space."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius_mm)
    vertices, triangles = np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int32)
    return TriangleMesh(vertices, triangles, vertices[:, :2].astype(np.float32), triangles)


def grid(count: int = 6, seam: bool = False) -> TriangleMesh:
    """A flat unit square of count x count vertices; with a seam, the right half has its own texture coordinates."""
    steps = np.linspace(0, 1, count)
    x, y = (a.ravel() for a in np.meshgrid(steps, steps))
    index = np.arange(count * count).reshape(count, count)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    uv = np.stack([x, y], 1).astype(np.float32)
    if not seam:
        return TriangleMesh(np.stack([x, y, 0 * x], 1), triangles, uv, triangles)
    right = (x[triangles] > 0.5 - 1e-9).all(axis=1, keepdims=True)
    uv_triangles = triangles + np.int32(count * count) * right.astype(np.int32)
    return TriangleMesh(np.stack([x, y, 0 * x], 1), triangles, np.concatenate([uv, uv + 10]), uv_triangles)


def area(mesh: TriangleMesh) -> float:
    corners = mesh.vertices_mm[mesh.triangles]
    return float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    )


def closed(mesh: TriangleMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices_mm, mesh.triangles, process=False)


@pytest.mark.parametrize("graded", [False, True])
def test_watertight_stays_watertight_and_edges_meet_their_target(graded):
    mesh = icosphere()
    target = 0.6 + 0.15 * (mesh.vertices_mm[:, 0] + 10) * graded
    refined, labels = refine_edges(mesh, target, np.arange(len(mesh.vertices_mm)))
    solid = closed(refined)
    assert solid.is_watertight and solid.is_winding_consistent and solid.euler_number == 2
    assert len(np.unique(refined.triangles)) == len(refined.vertices_mm) == len(labels)
    assert np.array_equal(refined.vertices_mm[: len(mesh.vertices_mm)], mesh.vertices_mm)
    lengths = edge_lengths_mm(refined.vertices_mm, refined.triangles)
    # targets are carried as means, so the bound at a place is its target plus their change over one coarse edge
    bound = 0.6 + (0.15 * (refined.vertices_mm[:, 0] + 10) + 0.15 * 3.3) * graded
    assert (lengths <= bound[refined.triangles].max(1, keepdims=True) + 1e-9).all()
    assert lengths.min() > 0.6 / 5
    right, left = (refined.vertices_mm[refined.triangles].mean(1)[:, 0] > 5), refined.vertices_mm[:, 0].min() < 0
    assert left and (not graded or lengths[right].mean() > 1.5 * lengths[~right].mean())


def test_flat_triangles_are_not_folded_over():
    refined, _ = refine_edges(grid(), np.full(36, 0.03), np.zeros(36, int))
    corners = refined.vertices_mm[refined.triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert normal.min() > 0 and area(refined) == pytest.approx(1, rel=1e-12)
    assert edge_lengths_mm(refined.vertices_mm, refined.triangles).max() <= 0.03 + 1e-12


def test_sphere_stays_a_sphere():
    """Linear mid-points of these 3 mm edges would fall short by 0.1 mm."""
    mesh = icosphere()
    refined, _ = refine_edges(mesh, np.full(len(mesh.vertices_mm), 0.5), np.zeros(len(mesh.vertices_mm), int))
    radius = np.linalg.norm(refined.vertices_mm, axis=1)
    coarse_sag = 10 - np.sqrt(100 - (edge_lengths_mm(mesh.vertices_mm, mesh.triangles).max() / 2) ** 2)
    assert np.abs(radius - 10).max() < 0.12 * coarse_sag
    assert closed(refined).volume == pytest.approx(4 / 3 * np.pi * 1000, rel=3e-3)
    normals = vertex_normals(refined.vertices_mm, refined.triangles)
    assert ((normals * refined.vertices_mm).sum(1) / radius).min() > np.cos(np.deg2rad(2.0))


def test_texture_coordinates_are_carried_linearly():
    """On a flat mesh, texture coordinates that equal positions still equal them."""
    refined, _ = refine_edges(grid(), np.full(36, 0.05), np.zeros(36, int))
    assert refined.uv.dtype == np.float32 and refined.triangles.dtype == np.int32
    at_corners = refined.uv[refined.uv_triangles]
    assert at_corners == pytest.approx(refined.vertices_mm[refined.triangles][..., :2], abs=1e-6)


def test_texture_seam_is_kept():
    """Both sides of the seam are split at the same places; each keeps its own coordinates."""
    mesh = grid(5, seam=True)
    refined, _ = refine_edges(mesh, np.full(25, 0.06), np.zeros(25, int))
    position = refined.vertices_mm[refined.triangles][..., :2]
    offset = refined.uv[refined.uv_triangles] - position
    right = position[..., 0].mean(1) > 0.5
    assert offset[~right] == pytest.approx(0, abs=1e-6)
    assert offset[right] == pytest.approx(10, abs=2e-6)
    # no crack: along the seam, both sides have the same vertices
    on_seam = [set(refined.triangles[side][np.abs(position[side][..., 0] - 0.5) < 1e-9]) for side in (right, ~right)]
    assert on_seam[0] == on_seam[1] and len(on_seam[0]) >= 17
    used = np.unique(refined.uv_triangles)
    assert len(used) == len(np.unique(np.round(refined.uv[used], 6), axis=0))


def test_labels_come_from_the_lower_numbered_end():
    mesh = grid(3)
    refined, labels = refine_edges(mesh, np.full(9, 0.26), np.arange(9))
    assert np.array_equal(labels[:9], np.arange(9))
    middle = np.flatnonzero(np.linalg.norm(refined.vertices_mm[:, :2] - (0.75, 0), axis=1) < 1e-9)  # between 1 and 2
    assert len(middle) == 1 and labels[middle[0]] == 1
    assert set(labels) <= set(range(9))


def test_nothing_to_split_changes_nothing():
    mesh = grid(4)
    refined, labels = refine_edges(mesh, np.full(16, 5.0), np.arange(16))
    assert np.array_equal(refined.triangles, mesh.triangles) and np.array_equal(refined.uv, mesh.uv)
    assert np.array_equal(refined.vertices_mm, mesh.vertices_mm) and np.array_equal(labels, np.arange(16))


def test_mesh_checks_shapes():
    mesh = grid(3)
    with pytest.raises(ValueError, match="expected"):
        TriangleMesh(mesh.vertices_mm[:, :2], mesh.triangles, mesh.uv, mesh.uv_triangles)
    with pytest.raises(ValueError, match="uv_triangles"):
        TriangleMesh(mesh.vertices_mm, mesh.triangles, mesh.uv, mesh.uv_triangles[:-1])


def test_vertex_normals_do_not_depend_on_how_quads_are_split():
    cube = trimesh.creation.box((2, 2, 2))
    normals = vertex_normals(np.asarray(cube.vertices, float), np.asarray(cube.faces))
    assert normals == pytest.approx(np.sign(cube.vertices) / np.sqrt(3), abs=1e-12)


def test_fairing_takes_facets_away_and_keeps_the_volume():
    mesh = icosphere(10.0, 5)
    rough = mesh.vertices_mm * (1 + np.random.default_rng(1).normal(0, 0.003, (len(mesh.vertices_mm), 1)))
    smooth = fair(rough, mesh.triangles, 10)
    after = closed(TriangleMesh(smooth, mesh.triangles, mesh.uv, mesh.triangles)).volume
    assert after == pytest.approx(closed(mesh).volume, rel=1e-3)
    assert np.linalg.norm(smooth, axis=1).std() < 0.4 * np.linalg.norm(rough, axis=1).std()
    assert np.linalg.norm(fair(mesh.vertices_mm, mesh.triangles, 10), axis=1) == pytest.approx(10, rel=1e-3)


def test_fairing_keeps_open_borders():
    mesh = grid(9)
    bumpy = mesh.vertices_mm.copy()
    bumpy[:, 2] = np.random.default_rng(2).normal(0, 0.02, len(bumpy))
    smooth = fair(bumpy, mesh.triangles, 5)
    border = (mesh.vertices_mm[:, :2] < 1e-9).any(1) | (mesh.vertices_mm[:, :2] > 1 - 1e-9).any(1)
    assert np.array_equal(smooth[border], bumpy[border])
    assert (smooth[~border] != bumpy[~border]).any(1).all()
    assert np.array_equal(fair(bumpy, mesh.triangles, 0), bumpy)
