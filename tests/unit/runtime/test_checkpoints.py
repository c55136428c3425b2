"""A checkpoint counts once its manifest holds; nothing else is ever resumed from, in a folder or in a bucket."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3 import BUCKET, DENIED, Answer, S3Server
from tunesmith_runtime.errors import DataError, NotWritableError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import checkpoints
from tunesmith_runtime.train.checkpoints import CheckpointStore
from tunesmith_runtime.train.manifests import MANIFEST
from tunesmith_runtime.train.recovery import skipped

DATA = "fingerprint-of-the-data"
FOLDER = "bot-checkpoints/uid-1"


class Place:
    """Where checkpoints lie, and the means to look and to damage."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def store(self) -> CheckpointStore:
        """A store as a new attempt on another machine opens it."""
        store = checkpoints.store(self.uri)
        store.clear()
        return store

    def write(
        self, step: int, keep: int = 9, spared: frozenset[int] = frozenset(), store: CheckpointStore | None = None
    ) -> None:
        store = store or self.store
        store.prepare()
        staged = store.staging / f"checkpoint-{step}"
        (staged / "state").mkdir(parents=True)
        (staged / "model.safetensors").write_bytes(b"weights" * step)
        (staged / "state" / "rng.pth").write_bytes(b"random")
        store.complete(step, DATA, keep, spared)
        assert not staged.exists()
        store.clear()

    def names(self) -> list[str]:
        """Return the folders there."""
        return sorted({name.partition("/")[0] for name in self.files()})

    def files(self) -> list[str]:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        raise NotImplementedError

    def put(self, name: str, content: bytes) -> None:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError


class Folder(Place):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"file://{folder}")
        self.folder = folder

    def files(self) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def put(self, name: str, content: bytes) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class Bucket(Place):
    def __init__(self, server: S3Server) -> None:
        super().__init__(f"s3://{BUCKET}/{FOLDER}")
        self.server = server

    def files(self) -> list[str]:
        return self.server.names(FOLDER)

    def read(self, name: str) -> bytes:
        return bytes(self.server.files.cat_file(f"{BUCKET}/{FOLDER}/{name}"))

    def put(self, name: str, content: bytes) -> None:
        self.server.files.pipe_file(f"{BUCKET}/{FOLDER}/{name}", content)

    def remove(self, name: str) -> None:
        self.server.files.rm_file(f"{BUCKET}/{FOLDER}/{name}")


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Folder(tmp_path / "checkpoints")
    return Bucket(request.getfixturevalue("s3"))


def resumed_from(place: Place) -> int | None:
    """Return the step that a new attempt goes on from, having looked at what it was given."""
    store = place.store
    found = store.latest(DATA)
    if found is None:
        return None
    assert (found.path / "model.safetensors").read_bytes() == b"weights" * found.step
    assert (found.path / "state" / "rng.pth").read_bytes() == b"random"
    store.clear()
    return found.step


def test_the_newest_complete_checkpoint_is_the_one_to_go_on_from(place: Place) -> None:
    for step in (10, 20, 100):
        place.write(step)
    assert resumed_from(place) == 100


def test_an_empty_folder_has_none(place: Place) -> None:
    assert resumed_from(place) is None


def test_only_so_many_are_kept(place: Place) -> None:
    for step in (10, 20, 30):
        place.write(step, keep=2)
    assert place.names() == ["checkpoint-20", "checkpoint-30"]


def test_one_that_is_spared_stays_besides_them(place: Place) -> None:
    for step in (10, 20, 30, 40):
        place.write(step, keep=2, spared=frozenset({10}))
    assert place.names() == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]
    place.write(50, keep=2, spared=frozenset({50}))
    assert place.names() == ["checkpoint-30", "checkpoint-40", "checkpoint-50"]


def test_a_checkpoint_by_its_step(place: Place) -> None:
    place.write(10)
    place.write(20)
    store = place.store
    found = store.fetch(10)
    assert found is not None
    assert (found.path / "model.safetensors").read_bytes() == b"weights" * 10
    assert store.has(20)
    assert not store.has(30)
    assert store.fetch(30) is None
    place.put("checkpoint-20/model.safetensors", b"weightz" * 20)
    assert place.store.fetch(20) is None


def test_the_newest_is_at_hand_when_it_is_wanted(place: Place) -> None:
    store = place.store
    for step in (10, 20):
        store.prepare()
        (store.staging / f"checkpoint-{step}").mkdir()
        (store.staging / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"weights")
        store.complete(step, DATA, 1, here=True)
        assert (store.folder_of(step) / "model.safetensors").read_bytes() == b"weights"
    assert not store.folder_of(10).exists()


def test_what_was_staged_and_not_completed_does_not_count(place: Place) -> None:
    place.write(10)
    store = place.store
    store.prepare()
    (store.staging / "checkpoint-20").mkdir()
    (store.staging / "checkpoint-20" / "model.safetensors").write_bytes(b"half")

    assert resumed_from(place) == 10
    store.prepare()
    assert list(store.staging.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("truncated", "model.safetensors has 139 bytes, and 140 were written"),
        ("flipped", "model.safetensors is not what was written: its SHA-256 differs"),
        ("missing", "model.safetensors is missing"),
        ("no manifest", "tunesmith.json is missing: it was never completed"),
        ("torn manifest", "tunesmith.json cannot be read"),
        ("odd manifest", "tunesmith.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(place: Place, damage: str, sentence: str) -> None:
    place.write(10)
    place.write(20)
    weights, manifest = "checkpoint-20/model.safetensors", f"checkpoint-20/{MANIFEST}"
    match damage:
        case "truncated":
            place.put(weights, place.read(weights)[:-1])
        case "flipped":
            place.put(weights, b"W" + place.read(weights)[1:])
        case "missing":
            place.remove(weights)
        case "no manifest":
            place.remove(manifest)
        case "torn manifest":
            place.put(manifest, place.read(manifest)[:20])
        case "odd manifest":
            place.put(manifest, b"[]")
    assert resumed_from(place) == 10
    store = place.store
    assert store.latest(DATA) is not None
    assert [(each.uri, each.message) for each in store.skipped()] == [(f"{place.uri}/checkpoint-20", sentence)]


def test_one_that_is_damaged_does_not_count_among_those_that_are_kept(place: Place) -> None:
    """Else the next one, with fewer steps, would be the oldest, and go."""
    place.write(10)
    place.write(40)
    place.put("checkpoint-40/model.safetensors", b"damaged")
    store = place.store
    assert store.latest(DATA) is not None
    place.write(20, keep=1, store=store)
    assert place.names() == ["checkpoint-20"]


def test_one_that_is_damaged_stays_as_long_as_there_is_no_other(place: Place) -> None:
    place.write(40)
    place.remove(f"checkpoint-40/{MANIFEST}")
    store = place.store
    assert store.latest(DATA) is None
    assert place.names() == ["checkpoint-40"]
    place.write(10, keep=1, store=store)
    assert place.names() == ["checkpoint-10"]
    assert resumed_from(place) == 10


def test_what_is_passed_over_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Folder(tmp_path / "checkpoints")
    place.write(10)
    place.remove("checkpoint-10/model.safetensors")
    reporter = ProgressReporter(tmp_path / "progress.json")
    for _ in range(2):  # as after the loss of a worker
        store = place.store
        assert store.latest(DATA) is None
        skipped.report(store.skipped(), reporter)
    (told,) = reporter.read().skipped
    assert (told.uri, told.message) == (f"{place.uri}/checkpoint-10", "model.safetensors is missing")
    assert capsys.readouterr().out == f"{told.uri} is passed over: {told.message}\n"


def test_a_damaged_checkpoint_is_replaced_by_the_next_attempt(place: Place) -> None:
    place.write(10)
    place.write(20)
    place.put("checkpoint-20/model.safetensors", b"damaged")
    assert resumed_from(place) == 10
    place.write(20)
    assert resumed_from(place) == 20


def test_a_checkpoint_of_other_data_is_refused(place: Place) -> None:
    place.write(10)
    with pytest.raises(DataError, match="checkpoint-10 was trained on other data: a dataset has changed since"):
        place.store.latest("other data")


def test_other_things_beside_the_checkpoints_are_let_alone(place: Place) -> None:
    place.put("checkpoint-notes/readme.txt", b"x")
    place.put("notes.txt", b"x")
    place.write(10)
    place.write(20, keep=1)
    assert resumed_from(place) == 20
    assert place.names() == ["checkpoint-20", "checkpoint-notes", "notes.txt"]


def test_an_upload_that_is_cut_off_leaves_the_checkpoint_before(s3: S3Server) -> None:
    place = Bucket(s3)
    place.write(10)
    for cut in ("model.safetensors", "rng.pth", MANIFEST):
        s3.refuse(_denied("PUT", cut))
        with pytest.raises(NotWritableError, match="access denied"):
            place.write(20)
        s3.refuse(lambda method, path: None)
        assert resumed_from(place) == 10
    place.write(30, keep=1)
    assert place.names() == ["checkpoint-30"]


def test_a_checkpoint_loses_its_manifest_first(s3: S3Server) -> None:
    place = Bucket(s3)
    place.write(10)
    s3.refuse(_denied("DELETE", "rng.pth"))
    with pytest.raises(NotWritableError, match="s3:DeleteObject"):
        place.write(20, keep=1)
    s3.refuse(lambda method, path: None)
    assert f"checkpoint-10/{MANIFEST}" not in place.files()
    assert resumed_from(place) == 20


def test_a_checkpoint_that_is_here_already_is_not_downloaded_again(s3: S3Server) -> None:
    place = Bucket(s3)
    place.write(10)
    store = place.store
    assert store.latest(DATA) is not None
    s3.requests.clear()
    assert store.latest(DATA) is not None
    assert not [path for method, path in s3.requests if path.endswith("model.safetensors")]


def _denied(wanted: str, name: str) -> Callable[[str, str], Answer | None]:
    def refusal(method: str, path: str) -> Answer | None:
        return DENIED if method == wanted and path.endswith(name) else None

    return refusal
