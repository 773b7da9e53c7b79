"""From one photograph to its skin detail: proxy, patches, displacement, meshes, pictures; kept while it is valid."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..capture.image_files import write_png
from ..model.detail_files import png_bytes, write_displacement
from ..model.detailed_mesh import EDGE_MM, detailed_mesh, model_normals, normal_colours, tangent_normals, texel_frame
from ..model.synthesis import BATCH, DetailPredictor, SkinDetail, enlarged, read_face, synthesize
from ..reconstruct.gltf_file import write_glb
from ..reconstruct.mesh_files import write_mesh
from ..reconstruct.photo import load_photo
from ..reconstruct.proxy_fit import YAW_LIMIT_DEG
from ..reconstruct.uv_charts import UvCharts, uv_charts
from .proxy_stage import ProxyTools, run_proxy
from .stage import Stage, StageResult, run_stage
from .synthesize_pictures import face_in_photo, read_albedo, relit_photo
from .synthesize_report import write_synthesis_report

CODE = 1
"""Goes up when the same proxy and network give another result."""
PROXY, DETAIL = "proxy", "detail"
"""Folders of a picture's two stages."""
USED = ("proxy.json", "texture.png", "visible.png", "facing.png", "albedo.png", "overlay.png")
"""Files of the proxy that the detail depends on."""
PROXY_SIZES = (512, 2048)
"""Side of the proxy's maps, at least and at most, unless the network takes larger ones."""


@dataclass
class SynthesisTools:
    """What all pictures of a run share."""

    models: Sequence[DetailPredictor]
    """One network for the face, or one per area."""
    names: Sequence[str]
    """Of the networks, for people."""
    proxy: ProxyTools
    size: int = 2048
    overlap: float = 0.5
    batch: int = BATCH
    edge_mm: float = EDGE_MM

    @cached_property
    def charts(self) -> UvCharts:
        """At the networks' map size, made when the first picture needs them."""
        return uv_charts(self.proxy.model, self.models[0].about.map_size)

    @cached_property
    def model_sha256(self) -> str:
        """Of the networks: what they are for and their weights."""
        total = hashlib.sha256()
        for model in self.models:
            total.update(repr((type(model).__name__, model.about, getattr(model, "preset", None))).encode())
            network: Any = getattr(model, "network", None)
            for name, value in network.state_dict().items() if network is not None else ():
                total.update(name.encode() + np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
        return total.hexdigest()


def proxy_size(size: int, map_size: int) -> int:
    """Side of the proxy's maps for an output of `size` and networks that take `map_size`."""
    return max(min(max(size, PROXY_SIZES[0]), PROXY_SIZES[1]), map_size)


def run_synthesis(
    image: Path,
    out: Path,
    tools: SynthesisTools,
    landmarks: Path | None = None,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StageResult:
    """Make out/proxy and out/detail for one picture; the result is that of the latter, its warnings are of both.

    Raises UserError as `run_proxy`, for a network of another face model, and when too little skin is seen.
    """
    about = tools.models[0].about
    if about.face_model != tools.proxy.model.name:
        raise UserError(
            f"the network was trained in the texture space of {about.face_model!r}, but the face model is "
            f"{tools.proxy.model.name!r}; give --face-model {about.face_model}, or a network for this one"
        )
    proxy = run_proxy(image, out / PROXY, tools.proxy, landmarks, force=force)
    inputs = {f"{PROXY}/{name}": sha256_file(proxy.folder / name) for name in USED}
    inputs |= {"image": sha256_file(image), "network": tools.model_sha256}
    parameters = {
        "size": tools.size, "overlap": tools.overlap, "edge_mm": tools.edge_mm, "network": list(tools.names),
    }  # fmt: skip

    def work(folder: Path) -> Sequence[str]:
        return _make(folder, image, proxy, tools, progress)

    return run_stage(out / DETAIL, Stage("synthesize", CODE, parameters, inputs), work, force=force)


def _make(
    folder: Path, image: Path, proxy: StageResult, tools: SynthesisTools, progress: Callable[[int, int], None]
) -> list[str]:
    """All files of a picture's detail; its warnings."""
    model, about = tools.proxy.model, tools.models[0].about
    warnings = list(proxy.warnings)
    started = time.perf_counter()
    face = read_face(proxy.folder, about.map_size, model=model, charts=tools.charts)
    yaw_deg = float(face.proxy.content["pose_deg"]["yaw"])
    if abs(yaw_deg) > YAW_LIMIT_DEG and not any("yaw" in text for text in warnings):
        warnings.append(f"the head is turned by {abs(yaw_deg):.0f} degrees of yaw: its far side is a guess")
    pixel_mm = 1 / face.proxy.view_camera.scale_px_per_mm
    if pixel_mm > 2 * about.texel_mm:
        warnings.append(
            f"a pixel of the picture covers {pixel_mm:.2f} mm of skin, {pixel_mm / about.texel_mm:.1f} texels: finer "
            "detail cannot be seen in it"
        )
    detail = synthesize(
        tools.models, face.texture_srgb, face.valid, face.region, area=face.area, overlap=tools.overlap,
        batch=tools.batch, tell=warnings.append, progress=progress,
    )  # fmt: skip
    tools.batch = min(tools.batch, detail.batch)  # what did not fit once will not fit for the next picture
    seconds = time.perf_counter() - started
    vertices = face.proxy.vertices_mm(model)
    frame = texel_frame(tools.charts, model, vertices)
    bumps = tangent_normals(detail.displacement_mm, frame)
    output_mm = enlarged(detail.displacement_mm, tools.size)
    mesh = detailed_mesh(model, vertices, output_mm, tools.edge_mm)
    photo = load_photo(image)
    seen = face_in_photo(photo.srgb, face.proxy, model)
    albedo = read_albedo(proxy.folder, face.proxy, about.map_size)
    relit = [relit_photo(seen, albedo, normals, face.proxy.light)
             for normals in (frame.normal, model_normals(bumps, frame))]  # fmt: skip
    facts = _facts(image, tools, detail, yaw_deg, warnings)
    write_displacement(folder, output_mm, facts)
    normal_rgb = normal_colours(_as_size(bumps, tools.size))
    write_png(folder / "normal_map.png", normal_rgb)
    write_mesh(folder / "detailed.obj", mesh.base, mesh.vertices_mm)
    write_mesh(folder / "detailed.ply", mesh.base, mesh.vertices_mm, mesh.normals)
    texture, overlay = (_picture(proxy.folder / name) for name in ("texture.png", "overlay.png"))
    write_glb(
        folder / "detailed.glb", mesh.displaced, normals=mesh.base_normals, base_colour=png_bytes(texture),
        normal_map=png_bytes(normal_rgb), name=image.stem, extras={"network": "; ".join(tools.names)},
    )  # fmt: skip
    write_png(folder / "rerender.png", relit[1])
    coarse = detailed_mesh(model, vertices, output_mm, 4 * tools.edge_mm)
    rows = [
        ("picture", f"{image.name}, {photo.size}"),
        ("network", "; ".join(tools.names)),
        ("patches", f"{detail.patches} of {about.patch_px} texels, overlap {100 * tools.overlap:.0f} %, "
                    f"{seconds:.1f} s"),
        ("yaw", f"{yaw_deg:+.0f} degrees"),
        ("picture's resolution", f"{pixel_mm:.2f} mm per px; texels of the network {about.texel_mm:.2f} mm"),
        ("mesh", f"{len(mesh.base.vertices_mm):,} vertices, edges of the skin about {tools.edge_mm:g} mm"),
    ]  # fmt: skip
    write_synthesis_report(
        folder, image.name, seen, overlay, detail, bumps, mesh, coarse, (relit[0], relit[1]), texture, rows, warnings
    )
    return warnings


def _picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return np.rint(load_photo(path).srgb * 255).astype(np.uint8)


def _facts(
    image: Path, tools: SynthesisTools, detail: SkinDetail, yaw_deg: float, warnings: Sequence[str]
) -> dict[str, Any]:
    about = tools.models[0].about
    moved = np.abs(detail.displacement_mm[detail.valid])
    return {
        "image": image.name,
        "face_model": about.face_model,
        "networks": list(tools.names),
        "network_sha256": tools.model_sha256,
        "predicted_size": about.map_size,
        "texel_mm": about.texel_mm,
        "overlap": tools.overlap,
        "predicted_share": float(detail.valid.sum() / max(int(tools.charts.valid.sum()), 1)),
        "rms_mm": float(np.sqrt(np.mean(moved**2))),
        "highest_percentile_99_mm": float(np.percentile(moved, 99)),
        "yaw_deg": yaw_deg,
        "normal_map": "tangent space of glTF 2.0 and OpenGL: red along u, green up, blue outward; 127.5 (n + 1)",
        "detailed_glb": "vertices displaced; vertex normals of the smooth proxy, to which the normal map belongs",
        "warnings": list(warnings),
    }


def _as_size(normals: np.ndarray, size: int) -> np.ndarray:
    """Unit normals (S, S, 3) at another resolution."""
    if len(normals) == size:
        return normals
    method = cv2.INTER_CUBIC if size > len(normals) else cv2.INTER_AREA
    made = cv2.resize(normals, (size, size), interpolation=method)
    return made / np.linalg.norm(made, axis=2, keepdims=True)
