"""Models in a folder that pods share: fetched once, whole, and the ones that were published."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub import serving
from tests.s3 import BUSY, S3Server
from tunesmith_api.contract import RunIdentity, ServedAdapter, ServeRun
from tunesmith_runtime.__main__ import main
from tunesmith_runtime.errors import ModelError, NotWritableError, RunError
from tunesmith_runtime.models.kept import MARKER, kept_folder, kept_model
from tunesmith_runtime.models.lineage import model_digest

URI = "s3://workshop/models/bot"
FILES = {"config.json": "{}", "model.safetensors": "weights"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_MODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def publish(s3: S3Server, **changes: str) -> None:
    s3.write({f"models/bot/{name}": text for name, text in {**FILES, **changes}.items()})
    s3.requests.clear()


def digest_of(folder: Path, **files: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **files}.items():
        (folder / name).write_text(text)
    return model_digest(folder)


def downloads(s3: S3Server) -> int:
    return sum(method == "GET" and path.endswith("model.safetensors") for method, path in s3.requests)


def test_many_pods_at_once_fetch_a_model_once(s3: S3Server, cache: Path, tmp_path: Path) -> None:
    publish(s3)
    digest = digest_of(tmp_path / "published")
    with ThreadPoolExecutor(4) as pods:
        folders = set(pods.map(lambda _: kept_model(URI, digest), range(4)))
    (folder,) = folders
    assert folder.parent == cache
    assert (folder / "model.safetensors").read_text() == "weights"
    assert downloads(s3) == 1
    s3.refuse(lambda method, path: BUSY)
    assert kept_model(URI, digest) == folder, "what is kept needs no storage any more"
    assert [path.name for path in cache.iterdir() if "partial" in path.name] == []


def test_another_model_than_the_published_one_is_refused(s3: S3Server, cache: Path, tmp_path: Path) -> None:
    digest = digest_of(tmp_path / "published")
    publish(s3, **{"model.safetensors": "others"})
    with pytest.raises(ModelError, match="was published and evaluated: its files have been changed since; publish"):
        kept_model(URI, digest)
    assert downloads(s3) == 2, "it might have been damaged on its way"
    assert not [path for path in cache.iterdir() if path.is_dir()]
    publish(s3)
    assert kept_model(URI, digest)


def test_a_kept_model_that_has_been_damaged_is_fetched_again(s3: S3Server, cache: Path, tmp_path: Path) -> None:
    publish(s3)
    digest = digest_of(tmp_path / "published")
    weights = kept_model(URI, digest) / "model.safetensors"
    weights.write_text("wei")
    assert (kept_model(URI, digest) / "model.safetensors").read_text() == "weights"
    weights.unlink()
    assert (kept_model(URI, digest) / "model.safetensors").read_text() == "weights"


def test_without_a_digest_a_model_that_has_changed_is_fetched_again(s3: S3Server, cache: Path) -> None:
    publish(s3)
    old = kept_model(URI)
    assert kept_model(URI) == old
    assert downloads(s3) == 1
    publish(s3, **{"model.safetensors": "newer weights"})
    new = kept_model(URI)
    assert (new / "model.safetensors").read_text() == "newer weights"
    assert (old / "model.safetensors").read_text() == "weights", "who reads it goes on"


def test_a_download_that_breaks_off_leaves_nothing_that_looks_whole(s3: S3Server, cache: Path, tmp_path: Path) -> None:
    publish(s3)
    digest = digest_of(tmp_path / "published")
    s3.refuse(lambda method, path: BUSY if path.endswith("safetensors") else None)
    with pytest.raises(RunError) as failed:
        kept_model(URI, digest)
    assert failed.value.retryable
    assert not [path for path in cache.iterdir() if path.is_dir()]
    s3.refuse(lambda method, path: None)
    assert kept_model(URI, digest)


def test_a_cache_that_cannot_be_written(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(s3)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNESMITH_MODEL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NotWritableError, match=r"cannot be fetched into .*; check the volume and its rights"):
        kept_model(URI)


def test_folders_of_volumes_are_used_where_they_are(cache: Path, tmp_path: Path) -> None:
    digest_of(tmp_path / "model")
    assert kept_model(f"file://{tmp_path}/model", "sha256:x") == tmp_path / "model"
    assert kept_folder(f"file://{tmp_path}/model") == tmp_path / "model"
    assert not cache.exists()


def test_models_of_the_hub_by_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        hub.files["org/bot"] = {name: text.encode() for name, text in FILES.items()}
        folder = kept_model("hf://org/bot")
        assert {path.name for path in folder.iterdir()} == {*FILES, MARKER}
        assert kept_model("hf://org/bot") == folder
        hub.files["org/bot"]["model.safetensors"] = b"newer"
        assert kept_model("hf://org/bot") != folder
        with pytest.raises(ModelError, match="hf://org/gone: cannot be downloaded from the Hugging Face Hub"):
            kept_model("hf://org/gone")


def test_a_server_that_is_not_ours_finds_links(
    s3: S3Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(s3, **{"adapter/adapter_config.json": "{}"})
    config = ServeRun(
        run=RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1),
        model=URI,
        adapters=(ServedAdapter(name="formal", uri=URI),),
        port=8000,
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    monkeypatch.setenv("TUNESMITH_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("TUNESMITH_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("TUNESMITH_MODEL_LINKS", str(tmp_path / "links"))
    for _ in range(2):  # a pod may start again
        assert main(["fetch"]) == 0
        assert (tmp_path / "links/model/model.safetensors").read_text() == "weights"
        assert (tmp_path / "links/adapters/formal/adapter_config.json").is_file()
    assert downloads(s3) == 1
    monkeypatch.setenv("TUNESMITH_MODEL_LINKS", "")
    gone = config.model_copy(update={"model": "s3://workshop/models/gone"})
    (tmp_path / "config.json").write_text(json.dumps(gone.to_json()))
    assert main(["fetch"]) == 1
    assert json.loads((tmp_path / "progress.json").read_text())["failure"]["reason"] == "ModelInvalid"
