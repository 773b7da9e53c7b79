"""Steps of pycolmap, each run as `python -m mesoface.reconstruct.colmap_worker STEP` with JSON on the input.

The last line of the output is the result as JSON. Started by colmap_process.py alone.
"""

import json
import sys
from typing import Any

from .colmap_feature_steps import map_incrementally, match_features, triangulate
from .worker_pool import end_with_parent


def fuse(workspace: str, output: str, options: dict[str, Any], input_type: str = "geometric") -> dict[str, Any]:
    """Fuse the maps of a dense workspace into a point cloud (.ply and .ply.vis)."""
    import pycolmap

    settings = pycolmap.StereoFusionOptions()
    for name, value in options.items():
        setattr(settings, name, value)
    cloud = pycolmap.stereo_fusion(output, workspace, input_type=input_type, options=settings, output_type="ply")
    return {"points": len(cloud.points3D), "options": {key: str(value) for key, value in settings.todict().items()}}


def mesh(cloud: str, output: str, options: dict[str, Any]) -> dict[str, Any]:
    """Poisson surface of a fused cloud."""
    import pycolmap

    settings = pycolmap.PoissonMeshingOptions()
    for name, value in options.items():
        setattr(settings, name, value)
    pycolmap.poisson_meshing(cloud, output, options=settings)
    return {"options": {key: str(value) for key, value in settings.todict().items()}}


def patch_match(workspace: str, options: dict[str, Any]) -> dict[str, Any]:
    """COLMAP's CUDA stereo over the workspace's patch-match.cfg."""
    import pycolmap

    settings = pycolmap.PatchMatchOptions()
    for name, value in options.items():
        setattr(settings, name, value)
    pycolmap.patch_match_stereo(workspace, options=settings)  # pyright: ignore[reportAttributeAccessIssue]
    return {}


def devices() -> dict[str, Any]:
    """Number of CUDA devices that this pycolmap can use, and its version."""
    import pycolmap

    return {"cuda": int(getattr(pycolmap, "get_num_cuda_devices", lambda: 0)()), "version": pycolmap.__version__}


STEPS = {
    "fuse": fuse,
    "mesh": mesh,
    "patch_match": patch_match,
    "devices": devices,
    "match_features": match_features,
    "triangulate": triangulate,
    "map_incrementally": map_incrementally,
}

if __name__ == "__main__":
    end_with_parent()
    result = STEPS[sys.argv[1]](**json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps(result) + "\n")
