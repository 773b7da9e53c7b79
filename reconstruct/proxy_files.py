"""Files of a fitted proxy: mesh with texture, coefficients, maps. One folder per face."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..capture.files import write_json, write_text
from ..capture.image_files import write_png
from ..capture.json_files import read_format
from .affine_camera import AffineCamera
from .face_model import FaceModel
from .face_obj import write_obj
from .harmonic_light import NAMES, HarmonicLight
from .landmarks import Landmarks
from .proxy_camera import FaceCamera
from .proxy_fit import Proxy, fast_shape_mm
from .proxy_maps import ProxyMaps

FORMAT = "mesoface-proxy"
SCHEMA_VERSION = 1
PROXY_FILE = "proxy.json"
MATERIAL = "newmtl face\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd texture.png\n"
FRAME = "face model: x to the subject's left, y up, z out of the face; mm; origin amid the inner landmarks of the mean"


@dataclass(frozen=True, eq=False)
class ProxyResult:
    """What later steps read: all of it in the frame of the face model."""

    face_model: str
    alpha: np.ndarray
    beta: np.ndarray
    camera: AffineCamera
    light: HarmonicLight
    gamma: np.ndarray
    confidence: float
    content: dict[str, Any]
    """proxy.json as it is."""

    def vertices_mm(self, model: FaceModel) -> np.ndarray:
        """(N, 3) float32. Raises UserError for another face model than the one that was fitted."""
        if model.name != self.face_model or len(model.identity_mm) != len(self.alpha):
            raise UserError(
                f"{PROXY_FILE}: was fitted with {self.face_model} ({len(self.alpha)} identity components), "
                f"but {model.name} ({len(model.identity_mm)}) is given; load the same face model"
            )
        return fast_shape_mm(model, self.alpha, self.beta)

    @property
    def view_camera(self) -> AffineCamera | FaceCamera:
        """The camera that the maps were looked up with, as `Proxy.view_camera`."""
        kept = self.content.get("view_camera")
        if kept is None:
            return self.camera
        return FaceCamera(
            np.array(kept["rotation_cam_from_model"]), float(kept["scale_px_per_mm"]),
            np.array(kept["translation_px"]), float(kept["inverse_distance_per_mm"]),
        )  # fmt: skip


def write_proxy(
    folder: Path, proxy: Proxy, landmarks: Landmarks, maps: ProxyMaps, image: dict[str, Any], warnings: Sequence[str]
) -> None:
    """Mesh, maps and proxy.json into `folder`. `image`: facts of the picture (file, sha256, size_px, notes)."""
    model, seen = proxy.model, maps.texture
    write_obj(folder / "proxy.obj", proxy.vertices_mm, model.triangles, model.uv, model.uv_triangles)
    mesh = (folder / "proxy.obj").read_text(encoding="ascii")
    write_text(folder / "proxy.obj", f"# millimetres\nmtllib proxy.mtl\nusemtl face\n{mesh}")
    write_text(folder / "proxy.mtl", MATERIAL)
    write_png(folder / "texture.png", _eight_bit(maps.filled))
    write_png(folder / "visible.png", seen.visible.astype(np.uint8) * 255)
    write_png(folder / "facing.png", _eight_bit(seen.facing))
    covered = np.asarray(maps.normal.any(2))
    low, high = (np.asarray(end(proxy.vertices_mm[model.triangles], (0, 1)), np.float64) for end in (np.min, np.max))
    scale = max(float((high - low).max()) / 65534, 1e-6)
    offset = low - scale
    write_png(folder / "position.png", _units(maps.position_mm, 1 / scale, -offset / scale, covered))
    write_png(folder / "normal.png", _units(maps.normal, 32767, np.full(3, 32768.0), covered))
    write_png(folder / "albedo.png", _units(maps.albedo, 65535, np.zeros(3), covered))
    write_json(
        folder / PROXY_FILE,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "image": image,
            "face_model": model.name,
            "frame": FRAME,
            "pixel_convention": "column, row; pixel centres at integers, of the upright picture",
            "pose_deg": dict(zip(("yaw", "pitch", "roll"), (round(float(a), 3) for a in proxy.pose_deg), strict=True)),
            "camera": {"kind": "affine", "matrix_px_per_mm": proxy.camera.matrix.tolist()},
            "view_camera": _view_camera(proxy.perspective),
            "alpha": proxy.alpha.tolist(),
            "beta": proxy.beta.tolist(),
            "expression_names": list(model.expression_names),
            "expression_is_units": model.expression_is_units,
            "confidence": float(proxy.confidence),
            "landmarks": {
                "source": landmarks.source,
                "points_px": [_pair(point) for point in landmarks.points_px],
                "weights": landmarks.weights.tolist(),
                "residuals_px": [_number(value) for value in proxy.residuals_px],
            },
            "light": {
                "method": "mesoface: second-order harmonics and albedo from sparse vertices (docs/proxy.md)",
                "functions": list(NAMES),
                "coefficients": maps.light.light.coefficients.tolist(),
                "gamma": maps.light.gamma.tolist(),
                "samples": len(maps.light.samples.vertex),
                "trusted_share": float(maps.light.trust.mean()) if len(maps.light.trust) else 0.0,
                "misfit": maps.light.misfit,
            },
            "maps": {
                "size": len(maps.valid),
                "seen_share": float(seen.visible.sum() / max(int(maps.valid.sum()), 1)),
                "position": {"mm_per_unit": scale, "offset_mm": offset.tolist(), "outside": [0, 0, 0]},
                "normal": {"per_unit": 1 / 32767, "offset": -32768 / 32767, "outside": [0, 0, 0]},
                "albedo": {"per_unit": 1 / 65535, "encoding": "linear"},
                "facing": {"per_unit": 1 / 255, "meaning": "cosine between normal and view"},
            },
            "warnings": list(warnings),
        },
    )


def read_proxy(folder: str | Path) -> ProxyResult:
    """Read the proxy of a folder. Raises UserError when proxy.json is missing, damaged or newer."""
    path = Path(folder) / PROXY_FILE
    made = "`mesoface proxy`"
    content = read_format(
        path, FORMAT, SCHEMA_VERSION, missing=f"expected a folder made by {made}", again=f"run {made} again"
    )
    try:
        return ProxyResult(
            str(content["face_model"]),
            np.array(content["alpha"], np.float64),
            np.array(content["beta"], np.float64),
            AffineCamera(np.array(content["camera"]["matrix_px_per_mm"], np.float64)),
            HarmonicLight(np.array(content["light"]["coefficients"], np.float64)),
            np.array(content["light"]["gamma"], np.float64),
            float(content["confidence"]),
            content,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is damaged ({error!r}); run `mesoface proxy` again") from None


def read_position_map(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions (S, S, 3) float32 mm of a proxy's folder, NaN outside, and the mask (S, S) bool of what was seen.

    Positions are rounded to about 0.005 mm; exact ones follow from the mesh. Raises UserError as `read_proxy`.
    """
    import cv2

    folder = Path(folder)
    facts = read_proxy(folder).content["maps"]["position"]
    units = cv2.imread(str(folder / "position.png"), cv2.IMREAD_UNCHANGED)
    seen = cv2.imread(str(folder / "visible.png"), cv2.IMREAD_GRAYSCALE)
    if units is None or seen is None or units.dtype != np.uint16 or units.shape[:2] != seen.shape:
        raise UserError(f"{folder}: position.png or visible.png is missing or damaged; run `mesoface proxy` again")
    units = units[..., ::-1]
    position = units.astype(np.float32) * np.float32(facts["mm_per_unit"]) + np.float32(facts["offset_mm"])
    position[~units.any(2)] = np.nan
    return position, seen > 0


def _view_camera(camera: FaceCamera | None) -> dict[str, Any] | None:
    """The camera at a finite distance that the maps were looked up with; None: the affine one."""
    if camera is None:
        return None
    return {
        "kind": "one scale, foreshortening",
        "formula": "pixel = scale_px_per_mm (R X)_xy / (1 + inverse_distance_per_mm (R X)_z) + translation_px",
        "rotation_cam_from_model": camera.rotation.tolist(),
        "scale_px_per_mm": float(camera.scale_px_per_mm),
        "translation_px": camera.translation_px.tolist(),
        "inverse_distance_per_mm": float(camera.inverse_distance_per_mm),
    }


def _eight_bit(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _units(values: np.ndarray, gain: float, offset: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint16 of values . gain + offset, 1 to 65535; 0 where not covered."""
    units = values * np.float32(gain)
    units += offset.astype(np.float32)
    np.rint(units, out=units)
    np.clip(units, 1, 65535, out=units)
    units *= covered[..., None]
    return units.astype(np.uint16)


def _pair(point: np.ndarray) -> list[float] | None:
    return [round(float(x), 4) for x in point] if np.isfinite(point).all() else None


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return round(float(value), 4) if np.isfinite(value) else None
