"""Shared storage by address: takes come verified, datasets go whole. memory:// and file:// stand for all stores."""

import json
import shutil
from pathlib import Path

import fsspec
import pytest
from flow_fixtures import arguments, made_sessions
from take_fixtures import whole_take

from mesoface.capture.bag import write_bag
from mesoface.capture.errors import UserError
from mesoface.capture.shared_files import SharedFolder, cache_folder, is_url, open_shared, storage_mistakes
from mesoface.capture.take_report import verify_take
from mesoface.dataset.dataset_index import INDEX, read_index, verify_shards
from mesoface.dataset.shared_dataset import fetch_dataset, local_dataset, publish_dataset
from mesoface.flows.cli import main
from mesoface.flows.shared_sessions import fetch_sessions


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path):
    """An address nobody else writes to."""
    files = fsspec.filesystem("memory")
    yield f"memory://{request.node.name.replace('[', '-').replace(']', '')}"
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def upload(folder: Path, url: str) -> None:
    files, root = fsspec.core.url_to_fs(url)
    files.put(str(folder) + "/", root + "/", recursive=True)


def remote(url: str, path: str):
    files, root = fsspec.core.url_to_fs(url)
    return files, f"{root}/{path}"


def closed_take(folder: Path) -> Path:
    with whole_take(folder) as take:
        (take.data / "quality.json").write_text('{"verdict": "pass"}')
        write_bag(take.folder, {"External-Identifier": take.name})
    (take.folder / "take.lock").unlink()
    return take.folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    made_sessions(root, 2)
    assert main(arguments(root, "--no-prefect")) == 0
    return root / "datasets/studio-v001"


def test_addresses_and_paths(tmp_path):
    for address in ("s3://bucket/a", "gs://bucket", "memory://a", "file:///mnt/a", "sftp://user@host/a"):
        assert is_url(address)
    for path in ("sessions", "/mnt/a", "C:/a", Path("s3://bucket/a")):
        assert not is_url(path)
    one, other = cache_folder(tmp_path, "s3://b/x/takes"), cache_folder(tmp_path, "s3://b/y/takes/")
    assert one != other and one.name.startswith("takes-") and one == cache_folder(tmp_path, "s3://b/x/takes/")


def test_what_cannot_be_opened_is_told(monkeypatch):
    def without(url):
        raise ImportError("Install s3fs to access S3")

    with pytest.raises(UserError, match="holds a password") as told:
        open_shared("sftp://anna:secret@host/takes")
    assert "secret" not in str(told.value)
    with pytest.raises(UserError, match="Protocol not known"):
        open_shared("nonsense://a/b")
    with pytest.raises(UserError, match="is no address"):
        open_shared("takes")
    monkeypatch.setattr(fsspec.core, "url_to_fs", without)
    with pytest.raises(UserError, match="pip install s3fs"):
        open_shared("s3://bucket/takes")


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_takes_come_verified_and_only_once(kind, store, tmp_path):
    take = closed_take(tmp_path / "rig")
    url = store if kind == "memory" else f"file://{tmp_path}/rig"
    if kind == "memory":
        upload(tmp_path / "rig", url)
    first = fetch_sessions(url, tmp_path / "cache")
    assert first.names == (take.name,) and not first.left_out
    copy = first.folder / take.name
    assert verify_take(copy).status == "closed"
    files = {path.relative_to(take).as_posix(): path.read_bytes() for path in take.rglob("*") if path.is_file()}
    assert files == {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert fetch_sessions(url, tmp_path / "cache").fetched == {take.name: 0}
    image = next((copy / "data/raw").iterdir())
    image.write_bytes(b"bad sector")
    (copy / "data/quality.json").unlink()
    assert fetch_sessions(url, tmp_path / "cache").fetched == {take.name: 2}
    assert verify_take(copy).status == "closed"


def test_changed_take_is_noticed(tmp_path):
    take = closed_take(tmp_path / "rig")
    url = f"file://{tmp_path}/rig"
    copy = fetch_sessions(url, tmp_path / "cache").folder / take.name
    (take / "data/quality.json").unlink()
    (take / "data/notes.txt").write_text("judged again")
    write_bag(take, {"External-Identifier": take.name})
    found = fetch_sessions(url, tmp_path / "cache")
    assert found.fetched[take.name] == 3, "the new file and two tag files; tagmanifest comes with the list"
    assert not (copy / "data/quality.json").exists() and verify_take(copy).status == "closed"


def test_interrupted_fetch_is_no_closed_take_and_continues(tmp_path, monkeypatch):
    take = closed_take(tmp_path / "rig")
    url, whole = f"file://{tmp_path}/rig", SharedFolder.fetch
    calls = []

    def breaking(self, *arguments):
        calls.append(arguments)
        if len(calls) == 10:
            raise ConnectionResetError("the cable")
        return whole(self, *arguments)

    monkeypatch.setattr(SharedFolder, "fetch", breaking)
    with pytest.raises(UserError, match="run the same command again"), storage_mistakes(url):
        fetch_sessions(url, tmp_path / "cache")
    copy = cache_folder(tmp_path / "cache", url) / take.name
    assert not (copy / "tagmanifest-sha256.txt").exists() and len(list(copy.rglob("*.*"))) >= 9
    found = fetch_sessions(url, tmp_path / "cache")
    assert found.fetched[take.name] == len(list(take.rglob("*.*"))) - 1 - 9
    assert verify_take(copy).status == "closed"


def test_what_cannot_be_verified_is_left_out_with_its_reason(tmp_path):
    rig = tmp_path / "rig"
    good, bad = closed_take(rig), closed_take(rig)
    with whole_take(rig) as still_open:
        pass
    image = next((bad / "data/raw").iterdir())
    image.write_bytes(b"#" + image.read_bytes()[1:])
    (rig / "notes").mkdir()
    evil = rig / "evil"
    (evil / "uv").mkdir(parents=True)
    (evil / "uv/stage.json").write_text(json.dumps({"outputs": {"../../../x": "0" * 64}}))
    (rig / "half").mkdir()
    (rig / "half/scan.json").write_text(json.dumps({"files": {}, "complete": False}))
    found = fetch_sessions(f"file://{rig}", tmp_path / "cache")
    assert found.names == (good.name,)
    assert "take close" in found.left_out[still_open.name]
    assert "other bytes" in found.left_out[bad.name] and image.name in found.left_out[bad.name]
    assert "no path inside" in found.left_out["evil"] and "not complete" in found.left_out["half"]
    assert len(found.left_out) == 4 and not list(tmp_path.glob("**/x"))
    copied = found.folder / bad.name / "data/raw" / image.name
    assert not copied.exists(), "what is not as listed gets no name"


def test_cache_must_be_a_cache(tmp_path):
    closed_take(tmp_path / "rig")
    url = f"file://{tmp_path}/rig"
    folder = cache_folder(tmp_path / "cache", url)
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="no copy of shared takes"):
        fetch_sessions(url, tmp_path / "cache")
    with pytest.raises(UserError, match="no such file or folder"):
        fetch_sessions(f"file://{tmp_path}/nowhere", tmp_path / "cache")


def test_dataset_goes_and_comes_whole(dataset, store, tmp_path):
    order: list[str] = []
    done = publish_dataset(dataset, store, order.append)
    assert order[-1] == INDEX and order[0].endswith(".h5") and done.moved == done.files == len(order)
    assert publish_dataset(dataset, store).moved == 0
    assert fetch_dataset(store, tmp_path / "copy").moved == done.files
    for name in order:
        assert (tmp_path / "copy" / name).read_bytes() == (dataset / name).read_bytes()
    assert fetch_dataset(store, tmp_path / "copy").moved == 0
    opened = local_dataset(store, tmp_path / "cache")
    assert verify_shards(opened, read_index(opened)) == [] and local_dataset(dataset) == dataset
    (opened / read_index(opened).shards[0].file).write_bytes(b"damaged")
    assert verify_shards(local_dataset(store, tmp_path / "cache"), read_index(opened)) == []


def test_patches_of_an_address(dataset, store, tmp_path):
    pytest.importorskip("torch")
    from mesoface.dataset.torch_patches import PatchDataset

    publish_dataset(dataset, store)
    patches = PatchDataset(local_dataset(store, tmp_path / "cache"), "all")
    assert len(patches) == read_index(dataset).count() and patches[0]["displacement_mm"].shape == (1, 16, 16)


def test_interrupted_publishing_shows_no_dataset(dataset, store, tmp_path, monkeypatch):
    whole = SharedFolder.publish

    def breaking(self, source, path, sha256):
        if path == "pca.json":
            raise ConnectionResetError("the cable")
        return whole(self, source, path, sha256)

    monkeypatch.setattr(SharedFolder, "publish", breaking)
    with pytest.raises(ConnectionResetError):
        publish_dataset(dataset, store)
    with pytest.raises(UserError, match="is not finished"):
        fetch_dataset(store, tmp_path / "copy")
    monkeypatch.setattr(SharedFolder, "publish", whole)
    done = publish_dataset(dataset, store)
    assert 0 < done.moved < done.files and fetch_dataset(store, tmp_path / "copy").moved == done.files


def test_store_that_alters_bytes_is_found_out(dataset, store, monkeypatch):
    files, _ = fsspec.core.url_to_fs(store)

    def altering(source, place):
        files.pipe_file(place, bytes(len(Path(source).read_bytes())))

    monkeypatch.setattr(files, "put_file", altering)
    with pytest.raises(OSError, match="gives back other bytes"):
        publish_dataset(dataset, store)
    assert not files.exists(remote(store, INDEX)[1])


def test_published_dataset_never_changes(dataset, store, tmp_path):
    publish_dataset(dataset, store)
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    (other / "card.html").write_text("another card")
    with pytest.raises(UserError, match="never changes"):
        publish_dataset(other, store)
    with pytest.raises(UserError, match="holds something else"):
        fetch_dataset(store, other)
    shard = read_index(other).shards[0].file
    (other / shard).write_bytes(b"damaged")
    with pytest.raises(UserError, match="truncated or altered"):
        publish_dataset(other, f"{store}/new")
    files, place = remote(store, shard)
    files.pipe_file(place, b"damaged")
    with pytest.raises(UserError, match="has other bytes"):
        fetch_dataset(store, tmp_path / "copy")
    assert not (tmp_path / "copy" / INDEX).exists()


def test_commands(dataset, tmp_path, capsys):
    url = f"file://{tmp_path}/store/first"
    assert main(["dataset", "publish", str(dataset), url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["moved"] >= 5
    assert main(["dataset", "fetch", url, "--out", str(tmp_path / "copy")]) == 0
    assert main(["dataset", "verify", str(tmp_path / "copy")]) == 0
    assert main(["dataset", "fetch", "nonsense://a", "--out", str(tmp_path / "copy2")]) == 2
    assert main(["dataset", "publish", str(tmp_path), url]) == 2


def test_regenerate_all_from_and_to_addresses(store, tmp_path, capsys):
    made_sessions(tmp_path, 2)
    upload(tmp_path / "sessions", f"{store}/sessions")
    plain = arguments(tmp_path, "--no-prefect", "--json")
    assert main(plain) == 0
    here = json.loads(capsys.readouterr().out)
    machine = tmp_path / "machine"
    shared = arguments(machine, "--no-prefect", "--json", "--cache", str(machine / "cache"))
    shared[shared.index(str(machine / "sessions"))] = f"{store}/sessions"
    shared[shared.index(str(machine / "datasets"))] = f"{store}/datasets"
    assert main(shared) == 0
    there = json.loads(capsys.readouterr().out)
    assert there["hashes"] == here["hashes"], "the same dataset, wherever takes and versions lie"
    assert main(shared) == 0
    assert "studio-v001, as it was" in json.loads(capsys.readouterr().out)["summary"]

    shutil.rmtree(machine)  # another machine knows what was published
    assert main(shared) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["hashes"] == there["hashes"] and "as it was" in again["summary"]
    made_sessions(tmp_path, 3)
    upload(tmp_path / "sessions", f"{store}/sessions")
    assert main(shared) == 0
    assert json.loads(capsys.readouterr().out)["folders"]["dataset"].endswith("studio-v002")
    assert open_shared(f"{store}/datasets").folders() == ["studio-v001", "studio-v002"]
    assert fetch_dataset(f"{store}/datasets/studio-v002", tmp_path / "copy").moved >= 6
    assert open_shared(f"{store}/sessions").folders() == ["S000_smile", "S001_smile", "S002_smile"]
