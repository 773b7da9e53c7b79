"""Steps of pycolmap on a scan's features, run by colmap_worker.py in a process of its own.

The folder of a feature job: images/NAME.png, masks/NAME.png.png, sparse/ (known poses, text), database.db.
"""

from pathlib import Path
from typing import Any

import numpy as np


def match_features(
    folder: str, cameras: dict[str, dict[str, Any]], options: dict[str, Any], threads: int, seed: int
) -> dict[str, Any]:
    """Extract and match features with known intrinsics; writes tracks.npz (see `_tracks`).

    cameras: image name -> {model, width, height, params} in COLMAP's convention.
    Returns features per image and verified matches per pair.
    """
    import pycolmap

    root = Path(folder)
    database_path = root / "database.db"
    database_path.unlink(missing_ok=True)
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads, extraction.use_gpu = threads, False
    extraction.max_image_size = int(options["max_image_size"])
    for name, value in options["sift"].items():
        setattr(extraction.sift, name, value)
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "PINHOLE"
    reader.mask_path = root / "masks"
    pycolmap.set_random_seed(seed)
    with pycolmap.Database.open(database_path):
        pass  # makes the file
    # Extraction in several threads would number the images as they finish, and the points depend on the numbers.
    for name in sorted(cameras):
        pycolmap.import_images(database_path, root / "images", pycolmap.CameraMode.PER_IMAGE, [name], reader)
    pycolmap.extract_features(
        database_path, root / "images", list(cameras), pycolmap.CameraMode.PER_IMAGE,
        reader_options=reader, extraction_options=extraction, device=pycolmap.Device.cpu,
    )  # fmt: skip
    with pycolmap.Database.open(database_path) as database:
        for image in database.read_all_images():
            known = cameras[image.name]
            camera = database.read_camera(image.camera_id)
            camera.model = pycolmap.CameraModelId.__members__[known["model"]]
            camera.width, camera.height, camera.params = known["width"], known["height"], known["params"]
            camera.has_prior_focal_length = True
            database.update_camera(camera)
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = threads, False
    matching.sift.max_ratio = float(options["max_ratio"])
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.max_error = float(options["max_error_px"])
    verification.ransac.random_seed = seed
    verification.detect_watermark = False
    pycolmap.match_exhaustive(
        database_path, matching_options=matching, verification_options=verification, device=pycolmap.Device.cpu
    )
    with pycolmap.Database.open(database_path) as database:
        images = {image.image_id: image.name for image in database.read_all_images()}
        features = {name: int(database.num_keypoints_for_image(number)) for number, name in images.items()}
        matches = _verified(database, list(images))
        keypoints = {number: database.read_keypoints(number)[:, :2] for number in images}
    _tracks(root / "tracks.npz", images, matches, keypoints)
    pairs = [[images[a], images[b], len(found)] for (a, b), found in matches.items()]
    return {"features": features, "pairs": pairs}


def _verified(database: Any, numbers: list[int]) -> dict[tuple[int, int], np.ndarray]:
    """(image, image) -> (M, 2) indices of features that a geometric check confirmed."""
    found = {}
    for place, a in enumerate(numbers):
        for b in numbers[place + 1 :]:
            if database.exists_two_view_geometry(a, b):
                inliers = np.asarray(database.read_two_view_geometry(a, b).inlier_matches).reshape(-1, 2)
            else:
                inliers = np.zeros((0, 2), np.uint32)
            found[a, b] = inliers.astype(np.int64)
    return found


def _tracks(
    path: Path,
    images: dict[int, str],
    matches: dict[tuple[int, int], np.ndarray],
    keypoints: dict[int, np.ndarray],
) -> None:
    """Chain matches to tracks; those with two features of one image are dropped.

    Arrays: names (C,), pixels (N, C, 2) float64 with pixel centres at integers, NaN where a view lacks the point.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers = list(images)
    start = np.cumsum([0, *(len(keypoints[number]) for number in numbers)])
    first = {number: int(start[place]) for place, number in enumerate(numbers)}
    edges = np.concatenate(
        [found + np.array([first[a], first[b]]) for (a, b), found in matches.items()] or [np.zeros((0, 2))]
    )
    total = int(start[-1])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0].astype(int), edges[:, 1].astype(int))), (total, total))
    count, label = connected_components(graph, directed=False)
    members = np.bincount(label, minlength=count)
    view = np.repeat(np.arange(len(numbers)), np.diff(start))
    where = np.concatenate([keypoints[number] for number in numbers] or [np.zeros((0, 2))]).astype(np.float64) - 0.5
    seen = np.zeros((count, len(numbers)), np.int32)
    np.add.at(seen, (label, view), 1)
    good = (members >= 2) & (seen.max(1) <= 1) if count else np.zeros(0, bool)
    row = np.cumsum(good) - 1
    pixels = np.full((int(good.sum()), len(numbers), 2), np.nan)
    chosen = good[label]
    pixels[row[label[chosen]], view[chosen]] = where[chosen]
    np.savez(path, names=np.array([images[number] for number in numbers]), pixels=pixels)


def triangulate(folder: str, threads: int) -> dict[str, Any]:
    """Triangulate the matches with the poses of folder/sparse; the model goes to folder/points (binary and text)."""
    import pycolmap

    root = Path(folder)
    known = pycolmap.Reconstruction(root / "sparse")
    by_name = {image.name: image for image in known.images.values()}
    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(root / "database.db") as database:
        for camera in database.read_all_cameras():
            model.add_camera(camera)
        for rig in database.read_all_rigs():
            model.add_rig(rig)
        images = {image.image_id: image for image in database.read_all_images() if image.name in by_name}
        for frame in database.read_all_frames():
            image = next((images[data.id] for data in frame.image_ids if data.id in images), None)
            if image is None:
                continue  # a view that was left out
            frame.rig_from_world = by_name[image.name].cam_from_world()
            model.add_frame(frame)
        for image in images.values():
            model.add_image(image)
        for frame_id in list(model.frames):
            model.register_frame(frame_id)
    options = _pipeline(threads)
    out = root / "points"
    out.mkdir(exist_ok=True)
    made = pycolmap.triangulate_points(
        model, root / "database.db", root / "images", out, clear_points=True, options=options, refine_intrinsics=False
    )
    made.write_text(out)
    errors = np.array([point.error for point in made.points3D.values()])
    lengths = [point.track.length() for point in made.points3D.values()]
    seen: dict[str, int] = {image.name: int(image.num_points3D) for image in made.images.values()}
    return {
        "points": len(errors),
        "error_px": float(errors.mean()) if len(errors) else None,
        "track_length": float(np.mean(lengths)) if lengths else None,
        "seen": seen,
    }


def _pipeline(threads: int) -> Any:
    """Options of triangulation and mapping; a long lens, or a small crop of a picture, is no mistake."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = threads
    for part in (options, options.mapper, options.triangulation):
        part.max_focal_length_ratio = 1000.0
    return options


def map_incrementally(folder: str, threads: int, seed: int, part: int | None) -> dict[str, Any]:
    """Structure from motion with known intrinsics.

    part: None for all matches; 0 or 1 for two halves of them, drawn with `seed`.
    Returns every model found: points, mean error, and pose and points of each image.
    """
    import pycolmap

    root = Path(folder)
    database_path = root / "database.db"
    if part is not None:
        database_path = _half(root, part, seed)
    options = _pipeline(threads)
    options.random_seed, options.min_model_size = seed, 3
    options.ba_refine_focal_length = options.ba_refine_extra_params = False
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
    options.mapper.init_min_num_inliers = 50
    options.mapper.init_min_tri_angle = 8.0
    options.triangulation.ignore_two_view_tracks = False
    pycolmap.set_random_seed(seed)
    target = root / ("sfm" if part is None else f"sfm{part}")
    target.mkdir(exist_ok=True)
    models = pycolmap.incremental_mapping(database_path, root / "images", target, options=options)
    return {
        "models": [
            {
                "points": len(model.points3D),
                "error_px": float(model.compute_mean_reprojection_error()),
                "images": {
                    image.name: {
                        "rotation": image.cam_from_world().rotation.matrix().tolist(),
                        "translation": image.cam_from_world().translation.tolist(),
                        "points": int(image.num_points3D),
                    }
                    for image in model.images.values()
                    if image.has_pose
                },
            }
            for model in models.values()
        ]
    }


def _half(root: Path, part: int, seed: int) -> Path:
    """A copy of the database that holds half of the verified matches of every pair."""
    import shutil

    import pycolmap

    path = root / f"half{part}.db"
    shutil.copyfile(root / "database.db", path)
    draw = np.random.default_rng(seed)
    with pycolmap.Database.open(path) as database:
        numbers = [image.image_id for image in database.read_all_images()]
        for place, a in enumerate(numbers):
            for b in numbers[place + 1 :]:
                if not database.exists_two_view_geometry(a, b):
                    continue
                pair = database.read_two_view_geometry(a, b)
                inliers = np.asarray(pair.inlier_matches)
                pair.inlier_matches = inliers[(draw.random(len(inliers)) < 0.5) == bool(part)]
                database.update_two_view_geometry(a, b, pair)
    return path
