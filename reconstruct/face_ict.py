"""ICT-FaceKit (USC ICT, MIT licence) as users have it: a folder of OBJ files that share one topology.

`FaceXModel/` holds `generic_neutral_mesh.obj`, `identityNNN.obj`, one OBJ per ARKit-named expression and
`vertex_indices.json`. Every file is a whole mesh in centimetres, x to the subject's left, y up, z forward; a mode is
its difference from the neutral mesh, and identity weights are standard normal. Vertex ranges, counts and landmark
indices: the ICT-FaceKit README.

What the loader changes, beside centimetres to millimetres and the origin:

- quads become two triangles;
- triangles of parts that are drawn with transparency and would hide the eyes when opaque are left out: lacrimal
  fluid, eye blend, eye occlusion, lashes, and the inner iris shell that lies behind the cornea. Their vertices stay, so
  that published vertex numbers keep their meaning;
- the published texture coordinates lie in tiles (face 0, back of the head, neck and sockets 1, gums 2, teeth 3) and
  both eyeballs lie on top of the face's tile. They are packed into [0, 1]^2 by `UV_TILES`: the face takes
  [0, 0.8] x [0.2, 1], the other parts take squares of side 0.2 beside and below it;
- the Light version has no colours: skin, gums, teeth and eyes take plain ones.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.errors import UserError
from .face_frame import SKIN_LINEAR, frame_origin, read_table
from .face_model import UNIT_NAMES, FaceModel, Region
from .face_obj import ObjMesh, fan_triangles, read_obj
from .face_regions import label_regions

log = logging.getLogger(__name__)

NEUTRAL = "generic_neutral_mesh.obj"
INDEX = "vertex_indices.json"
VERTICES, FACES = 26719, 26384
MM_PER_UNIT = 10.0

PARTS = {
    "face": (0, 9409), "head_and_neck": (9409, 11248), "mouth_socket": (11248, 13294),
    "eye_socket_left": (13294, 13678), "eye_socket_right": (13678, 14062), "gums_and_tongue": (14062, 17039),
    "teeth": (17039, 21451), "eyeball_left": (21451, 23021), "eyeball_right": (23021, 24591),
    "lacrimal_fluid": (24591, 24999), "eye_blend": (24999, 25047), "eye_occlusion": (25047, 25351),
    "eyelashes": (25351, 26719),
}  # fmt: skip
"""Half-open vertex ranges of the published topology."""

_IRIS = {"eyeball_left": 22221, "eyeball_right": 23791}
"""First vertex of the inner iris shell within each eyeball's range."""

UV_TILES = {
    "face": (0, (0.8, 0.0, 0.2)), "head_and_neck": (1, (0.2, 0.8, 0.8)), "mouth_socket": (1, (0.2, 0.8, 0.8)),
    "eye_socket_left": (1, (0.2, 0.8, 0.8)), "eye_socket_right": (1, (0.2, 0.8, 0.8)),
    "gums_and_tongue": (2, (0.2, 0.8, 0.6)), "teeth": (3, (0.2, 0.8, 0.4)), "eyeball_left": (0, (0.2, 0.8, 0.2)),
    "eyeball_right": (0, (0.2, 0.8, 0.0)),
}  # fmt: skip
"""Per kept part: published tile, and (size, left, bottom) of its square: uv = size * (published - tile) + corner."""

_COLOURS = {
    "mouth_socket": (0.30, 0.08, 0.07), "gums_and_tongue": (0.45, 0.13, 0.12), "teeth": (0.72, 0.66, 0.53),
    "eyeball_left": (0.74, 0.70, 0.67), "eyeball_right": (0.74, 0.70, 0.67),
}  # fmt: skip
_IRIS_LINEAR, _PUPIL_LINEAR = (0.10, 0.06, 0.035), (0.01, 0.01, 0.01)
_IRIS_MM, _PUPIL_MM = (5.9, 6.7), (1.8, 3.2)
"""Radii over which iris blends into white and pupil into iris; the vertices lie about 1 mm apart."""


@dataclass(frozen=True, slots=True)
class _Index:
    landmarks: np.ndarray
    expressions: tuple[str, ...]


def find_ict_folder(path: Path) -> Path | None:
    """The folder that holds the neutral mesh: `path` itself or `path/FaceXModel`; None where neither does."""
    for folder in (path, path / "FaceXModel"):
        if (folder / NEUTRAL).is_file():
            return folder
    return None


def load_ict(path: Path, all_shapes: bool = False) -> FaceModel:
    """Load an ICT-FaceKit folder (or its parent) with as many identities and expressions as lie in it.

    Expressions become our units (symmetric: left plus right shape; table `ict_units.json`), so
    `expression_is_units` is true; a unit whose source shapes are missing is left out with a logged warning.
    `all_shapes` appends every ARKit shape present under its own name, one-sided ones and gaze among them.
    Raises UserError for a missing neutral mesh, no identity file, other topology, and unreadable files.
    """
    folder = find_ict_folder(path)
    if folder is None:
        here = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{path}: expected an ICT-FaceKit folder with FaceXModel/{NEUTRAL}, found {here}. "
            "Give the folder FaceXModel of ICT-FaceKit or its parent."
        )
    neutral = read_obj(folder / NEUTRAL)
    _check_topology(folder / NEUTRAL, neutral, None)
    index = _read_index(folder / INDEX)
    identities = sorted(folder.glob("identity[0-9]*.obj"))
    if not identities:
        raise UserError(
            f"{folder}: expected at least one identity file (identity000.obj ...), found none. "
            "Copy the identity files of ICT-FaceKit beside the neutral mesh."
        )

    def offset(file: Path) -> np.ndarray:
        shape = read_obj(file, neutral)
        _check_topology(file, shape, neutral)
        return ((shape.vertices - neutral.vertices) * MM_PER_UNIT).astype(np.float32)

    sources = {name: offset(folder / f"{name}.obj") for name in index.expressions if (folder / f"{name}.obj").is_file()}
    names, expressions = _units(folder, index.expressions, sources)
    if all_shapes:
        names += list(sources)
        expressions += list(sources.values())

    mean = neutral.vertices * MM_PER_UNIT
    mean -= frame_origin(mean, index.landmarks)
    keep = _kept_faces(neutral)
    triangles, polygon = fan_triangles(neutral.corners, neutral.counts)
    uv_triangles, _ = fan_triangles(neutral.uv_corners, neutral.counts)
    shown = keep[polygon]
    return FaceModel(
        name=f"ICT-FaceKit ({len(identities)} identities, {len(names)} expressions)",
        mean_mm=mean.astype(np.float32),
        identity_mm=np.stack([offset(file) for file in identities]),
        expression_mm=np.stack(expressions) if expressions else np.zeros((0, VERTICES, 3), np.float32),
        expression_names=tuple(names),
        expression_is_units=True,
        albedo_mean=_plain_colours(mean),
        albedo_basis=np.zeros((0, VERTICES, 3), np.float32),
        triangles=triangles[shown],
        uv=_packed_uv(neutral),
        uv_triangles=uv_triangles[shown],
        landmarks=index.landmarks,
        regions=_regions(mean, index.landmarks),
        licence="MIT (c) 2020 USC Institute for Creative Technologies",
    )


def _check_topology(file: Path, mesh: ObjMesh, neutral: ObjMesh | None) -> None:
    if len(mesh.vertices) != VERTICES or len(mesh.counts) != FACES:
        raise UserError(
            f"{file}: expected the ICT-FaceKit topology ({VERTICES} vertices, {FACES} faces), found "
            f"{len(mesh.vertices)} vertices and {len(mesh.counts)} faces. The file is cut short or another mesh."
        )
    if neutral is None and not len(mesh.uv_corners):
        raise UserError(f"{file}: expected texture coordinates (faces 'v/vt'), found none. Take the original file.")
    if neutral is not None and not np.array_equal(mesh.corners, neutral.corners):
        raise UserError(f"{file}: its faces differ from those of {NEUTRAL}. All files must come from one release.")


def _read_index(file: Path) -> _Index:
    wanted = "expected the JSON object of ICT-FaceKit with 'idx_to_landmark_verts' (68 indices) and 'expressions'"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: {wanted}, found no such file. Copy it from ICT-FaceKit's FaceXModel.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {wanted}, found unreadable JSON ({error}). Copy the file again.") from error
    landmarks = content.get("idx_to_landmark_verts") if isinstance(content, dict) else None
    names = content.get("expressions") if isinstance(content, dict) else None
    if (
        not isinstance(landmarks, list)
        or len(landmarks) != 68
        or not all(isinstance(vertex, int) and 0 <= vertex < VERTICES for vertex in landmarks)
        or not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
    ):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{file}: {wanted}, found {found} with other content. Copy the file again.")
    return _Index(np.array(landmarks, np.int32), tuple(names))


def _units(folder: Path, listed: tuple[str, ...], sources: dict[str, np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    missing = [name for name in listed if name not in sources]
    if missing:
        log.warning(
            "%s: %d of %d expression files are missing: %s", folder, len(missing), len(listed), ", ".join(missing)
        )
    table: dict[str, dict[str, float]] = read_table("ict_units.json")["units"]
    names, offsets = [], []
    for unit in UNIT_NAMES:
        parts = table.get(unit, {})
        if parts and all(source in sources for source in parts):
            total = np.zeros((VERTICES, 3), np.float32)
            for source, weight in parts.items():
                total += np.float32(weight) * sources[source]
            names.append(unit)
            offsets.append(total)
    left_out = [unit for unit in table if unit not in names]
    if left_out:
        log.warning("%s: units without their source shapes: %s", folder, ", ".join(left_out))
    return names, offsets


def _part_mask(*names: str) -> np.ndarray:
    mask = np.zeros(VERTICES, bool)
    for name in names:
        mask[slice(*PARTS[name])] = True
    return mask


def _kept_faces(mesh: ObjMesh) -> np.ndarray:
    """(F,) bool: faces of opaque parts. Neighbouring parts share border vertices, so any dropped corner decides."""
    kept = _part_mask(*UV_TILES)
    for part, start in _IRIS.items():
        kept[start : PARTS[part][1]] = False
    return np.logical_and.reduceat(kept[mesh.corners], np.concatenate([[0], np.cumsum(mesh.counts)[:-1]]))


def _packed_uv(mesh: ObjMesh) -> np.ndarray:
    """(U, 2) float32 in [0, 1]^2. The face that uses a coordinate names its part: its highest vertex number decides,
    because border faces between two parts belong to the later part's tile."""
    starts = np.concatenate([[0], np.cumsum(mesh.counts)[:-1]])
    highest = np.repeat(np.maximum.reduceat(mesh.corners, starts), mesh.counts)
    packed = np.zeros_like(mesh.uv)
    for part, (tile, (size, left, bottom)) in UV_TILES.items():
        first, end = PARTS[part]
        used = np.unique(mesh.uv_corners[(highest >= first) & (highest < end)])
        packed[used] = (mesh.uv[used] - (tile, 0)) * size + (left, bottom)
    return np.clip(packed, 0, 1).astype(np.float32)


def _plain_colours(mean: np.ndarray) -> np.ndarray:
    colours = np.broadcast_to(SKIN_LINEAR, (VERTICES, 3)).copy()
    for part, colour in _COLOURS.items():
        colours[slice(*PARTS[part])] = colour
    for part, end in _IRIS.items():
        shell = slice(PARTS[part][0], end)
        ball = mean[shell]
        # The outer shell bulges at the cornea: the middle of its foremost cap is the optical axis.
        axis = ball[ball[:, 2] > ball[:, 2].max() - 0.5].mean(0)
        radius = np.where(ball[:, 2] > np.median(ball[:, 2]), np.linalg.norm((ball - axis)[:, :2], axis=1), np.inf)
        for colour, (inner, outer) in ((_IRIS_LINEAR, _IRIS_MM), (_PUPIL_LINEAR, _PUPIL_MM)):
            weight = np.clip((outer - radius) / (outer - inner), 0, 1)[:, None].astype(np.float32)
            colours[shell] += weight * (np.array(colour, np.float32) - colours[shell])
    return colours


def _regions(mean: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    regions = label_regions(mean, landmarks, outer=_part_mask("face", "head_and_neck"))
    regions[_part_mask("mouth_socket", "gums_and_tongue", "teeth")] = Region.MOUTH_INTERIOR
    regions[_part_mask("eyeball_left")] = Region.EYEBALL_LEFT
    regions[_part_mask("eyeball_right")] = Region.EYEBALL_RIGHT
    return regions
