"""URIs become paths; folders appear whole; what cannot be read or written is said."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from tunesmith_runtime import storage
from tunesmith_runtime.errors import ConfigError, ModelError, NotWritableError


def test_a_claim_is_a_folder_below_the_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    assert storage.local_path("pvc://models/a/b") == tmp_path / "models/a/b"
    assert storage.local_path("file:///data/x.jsonl") == Path("/data/x.jsonl")


def test_a_claim_without_volumes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_VOLUMES", raising=False)
    with pytest.raises(ConfigError, match=r"pvc://models/a needs \$TUNESMITH_VOLUMES"):
        storage.local_path("pvc://models/a")


def test_a_hub_model_is_no_folder() -> None:
    with pytest.raises(ConfigError, match="hf:// cannot be read or written as files"):
        storage.local_path("hf://org/name")


def test_a_hub_model_comes_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, revision = tmp_path / "models--org--name", "a" * 40
    (repository / "snapshots" / revision).mkdir(parents=True)
    (repository / "snapshots" / revision / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    assert storage.model_path("hf://org/name@v1") == repository / "snapshots" / revision
    with pytest.raises(ModelError, match="hf://org/other: cannot be downloaded from the Hugging Face Hub"):
        storage.model_path("hf://org/other")


def test_a_missing_model_and_a_folder_that_is_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        storage.model_path(f"file://{tmp_path}/none")
    with pytest.raises(ModelError, match=r"not a model in Hugging Face layout: it has no config\.json"):
        storage.model_path(f"file://{tmp_path}")


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotWritableError, match="cannot be written: Not a directory"):
        storage.ensure_writable(f"file://{tmp_path}/file/models")
    with pytest.raises(NotWritableError, match="is a file; name a folder"):
        storage.destination(f"file://{tmp_path}/file", "lineage.json")


def test_a_folder_with_something_else_in_it_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    with pytest.raises(
        NotWritableError, match=r"holds files that were not published here \(there is no lineage\.json\)"
    ):
        storage.destination(f"file://{tmp_path}/home", "lineage.json")
    (tmp_path / "home" / "lineage.json").touch()
    with storage.destination(f"file://{tmp_path}/home", "lineage.json").published() as folder:
        (folder / "lineage.json").touch()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["lineage.json"]


def test_publishing_replaces_a_folder_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "lineage.json").touch()
    (target / "old").touch()

    with storage.destination(f"file://{target}", "lineage.json").published() as staged:
        (staged / "adapter").mkdir(parents=True)
        (staged / "new").touch()
        assert (target / "old").exists()

    assert sorted(path.name for path in target.iterdir()) == ["adapter", "new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_is_published_when_something_went_wrong(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        storage.destination(f"file://{tmp_path}/model", "lineage.json").published() as staged,
    ):
        (staged / "lineage.json").write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []
