"""Any face model by its name or path, told apart by what is there."""

from pathlib import Path

from ..capture.errors import UserError
from .face_model import FaceModel

KINDS = (
    "'procedural', a .h5 file (Basel Face Model 2017/2019 or one saved by mesoface), an ICT-FaceKit folder, "
    "or an eos .bin file"
)


def load_face_model(spec: str | Path) -> FaceModel:
    """Load the face model that `spec` names: the word `procedural`, a file or a folder; see `KINDS`.

    `.h5` files are told apart by content. Raises UserError, with the path, what was expected, what was found and what
    to do, for everything that can be wrong with a path or a file.
    """
    if str(spec) == "procedural":
        from .face_procedural import procedural_face_model

        return procedural_face_model()
    path = Path(spec).expanduser()
    if not path.exists():
        raise UserError(f"{path}: expected {KINDS}, found no such file or folder. Check the path.")
    if path.is_dir():
        from .face_ict import load_ict

        return load_ict(path)
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return _load_hdf5(path)
    if suffix == ".bin":
        from .face_eos import load_eos

        return load_eos(path)
    raise UserError(f"{path}: expected {KINDS}, found a '{suffix or 'no'}' suffix. Give one of those.")


def _load_hdf5(path: Path) -> FaceModel:
    import h5py

    from .face_bfm import is_bfm, load_bfm
    from .face_model_file import is_own_format, read_face_model

    try:
        with h5py.File(path, "r") as file:
            own, basel, groups = is_own_format(file), is_bfm(file), sorted(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{path}: expected an HDF5 face model, but it cannot be opened ({error}). "
            "It is cut short, damaged or no HDF5 file: download or copy it again."
        ) from error
    if own:
        return read_face_model(path)
    if basel:
        return load_bfm(path)
    raise UserError(
        f"{path}: expected a Basel Face Model (dataset shape/model/mean) or a face model saved by mesoface, found an "
        f"HDF5 file of another kind with the top-level groups {', '.join(groups) or '(none)'}. Give a face model file."
    )
