"""The part of rig calibration that runs in a process of its own, because COLMAP can abort the interpreter.

    python -m mesoface.reconstruct.rig_bundle_worker bundle IN.npz OUT.npz MODEL_DIR
    python -m mesoface.reconstruct.rig_bundle_worker model IN.npz MODEL_DIR

Arrays of IN (C cameras, the first is the reference; F frames = placements of the board; P corners; N observations):
    names (C,), sizes (C, 2), params (C, 8) fx fy cx cy k1 k2 p1 p2, sensor_rotation (C, 3, 3), sensor_shift (C, 3)
    = camera from rig; frame_rotation (F, 3, 3), frame_shift (F, 3) = rig from world; frame_names (F,);
    points (P, 3), and per observation camera, frame, point (N,) int and pixels (N, 2).
Pixels are the project's (centres at integers); the half pixel of COLMAP is added and taken away in this file alone.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

HALF_PX = 0.5
PRINCIPAL = slice(2, 4)


def bundle(problem: Any, model_folder: Path) -> dict[str, np.ndarray]:
    """Adjust lenses, sensor poses and frame poses; corners stay where they are. Returns the adjusted arrays."""
    import pycolmap

    reconstruction = _reconstruction(problem)
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.images:
        config.add_image(image_id)
    for point_id in reconstruction.points3D:
        config.add_constant_point(point_id)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point = True
    options.print_summary = False
    options.ceres.solver_options.max_num_iterations = 200
    # COLMAP stops at a gradient that suits pixels of 0.1; corners found to 0.002 px deserve more
    options.ceres.solver_options.function_tolerance = 1e-12
    options.ceres.solver_options.gradient_tolerance = 1e-12
    options.ceres.solver_options.parameter_tolerance = 1e-14
    summary = pycolmap.create_default_bundle_adjuster(options, config, reconstruction).solve()
    if hasattr(summary, "is_solution_usable") and not summary.is_solution_usable():
        raise RuntimeError(f"bundle adjustment found no solution: {summary.brief_report()}")
    reconstruction.update_point_3d_errors()
    _write(reconstruction, model_folder)
    return _adjusted(reconstruction, problem)


def write_model(problem: Any, model_folder: Path) -> None:
    """Write the cameras as a COLMAP model, without adjustment."""
    _write(_reconstruction(problem), model_folder)


def _reconstruction(problem: Any) -> Any:
    import pycolmap

    made = pycolmap.Reconstruction()
    names = [str(name) for name in problem["names"]]
    rig = pycolmap.Rig()
    rig.rig_id = 1
    for number in range(1, len(names) + 1):
        params = np.array(problem["params"][number - 1], np.float64)
        params[PRINCIPAL] += HALF_PX
        width, height = (int(value) for value in problem["sizes"][number - 1])
        camera = pycolmap.Camera(camera_id=number, model="OPENCV", width=width, height=height, params=params)
        camera.has_prior_focal_length = True
        made.add_camera(camera)
        sensor = _sensor(number)
        if number == 1:
            rig.add_ref_sensor(sensor)
        else:
            pose = _pose(problem["sensor_rotation"][number - 1], problem["sensor_shift"][number - 1])
            rig.add_sensor(sensor, pose)
    made.add_rig(rig)
    seen = _by_image(problem)
    for frame_number, frame_name in enumerate(problem["frame_names"], start=1):
        frame = pycolmap.Frame()
        frame.frame_id, frame.rig_id = frame_number, 1
        frame.rig_from_world = _pose(
            problem["frame_rotation"][frame_number - 1], problem["frame_shift"][frame_number - 1]
        )
        images = []
        for number, name in enumerate(names, start=1):
            observations = seen.get((number - 1, frame_number - 1), [])
            if not observations and len(problem["camera"]):
                continue
            image_id = (frame_number - 1) * len(names) + number
            pixels = problem["pixels"][observations] + HALF_PX
            image = pycolmap.Image(
                name=f"{name}/{frame_name}",
                keypoints=np.asarray(pixels, np.float64),
                camera_id=number,
                image_id=image_id,
            )
            image.frame_id = frame_number
            frame.add_data_id(pycolmap.data_t(_sensor(number), image_id))
            images.append(image)
        made.add_frame(frame)
        for image in images:
            made.add_image(image)
    _add_points(made, problem, seen, len(names))
    for frame_id in list(made.frames):
        made.register_frame(frame_id)
    return made


def _add_points(made: Any, problem: Any, seen: dict[tuple[int, int], list[int]], cameras: int) -> None:
    """One 3-D point per corner with a track over all its observations."""
    import pycolmap

    tracks: dict[int, Any] = defaultdict(pycolmap.Track)
    for (camera, frame), observations in seen.items():
        for place, observation in enumerate(observations):
            tracks[int(problem["point"][observation])].add_element(frame * cameras + camera + 1, place)
    for point, track in sorted(tracks.items()):
        made.add_point3D(np.asarray(problem["points"][point], np.float64), track)


def _by_image(problem: Any) -> dict[tuple[int, int], list[int]]:
    seen: dict[tuple[int, int], list[int]] = defaultdict(list)
    for observation, (camera, frame) in enumerate(zip(problem["camera"], problem["frame"], strict=True)):
        seen[int(camera), int(frame)].append(observation)
    return seen


def _adjusted(made: Any, problem: Any) -> dict[str, np.ndarray]:
    cameras = range(1, len(problem["names"]) + 1)
    params = np.array([made.cameras[number].params for number in cameras])
    params[:, PRINCIPAL] -= HALF_PX
    rig = made.rigs[1]
    sensors = [np.eye(3, 4)] + [rig.sensor_from_rig(_sensor(number)).matrix() for number in cameras if number > 1]
    frames = [made.frames[number].rig_from_world.matrix() for number in range(1, len(problem["frame_names"]) + 1)]
    return {
        "params": params,
        "sensor_rotation": np.array([m[:, :3] for m in sensors]),
        "sensor_shift": np.array([m[:, 3] for m in sensors]),
        "frame_rotation": np.array([m[:, :3] for m in frames]),
        "frame_shift": np.array([m[:, 3] for m in frames]),
    }


def _sensor(number: int) -> Any:
    import pycolmap

    return pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number)


def _pose(rotation: np.ndarray, shift: np.ndarray) -> Any:
    import pycolmap

    return pycolmap.Rigid3d(pycolmap.Rotation3d(np.asarray(rotation, np.float64)), np.asarray(shift, np.float64))


def _write(reconstruction: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reconstruction.write(str(folder))
    reconstruction.write_text(str(folder))


def main(arguments: list[str]) -> int:
    if arguments[0] == "bundle":
        with np.load(arguments[1]) as content:
            problem = dict(content)
        np.savez(arguments[2], **bundle(problem, Path(arguments[3])))  # type: ignore[arg-type]
    else:
        with np.load(arguments[1]) as content:
            problem = dict(content)
        write_model(problem, Path(arguments[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
