"""A checkpoint counts once its manifest holds; nothing else is ever resumed from."""

from pathlib import Path

import pytest

from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train import checkpoints

DATA = "fingerprint-of-the-data"


def write(folder: Path, step: int, keep: int = 9) -> checkpoints.Checkpoint:
    staged = checkpoints.staging_folder(folder) / f"checkpoint-{step}"
    staged.mkdir()
    (staged / "model.safetensors").write_bytes(b"weights" * step)
    return checkpoints.complete(folder, step, DATA, keep)


def test_the_newest_complete_checkpoint_is_the_one_to_go_on_from(tmp_path: Path) -> None:
    for step in (10, 20, 100):
        write(tmp_path, step)
    assert checkpoints.latest(tmp_path, DATA) == checkpoints.Checkpoint(tmp_path / "checkpoint-100", 100)


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path, DATA) is None
    assert checkpoints.latest(tmp_path / "missing", DATA) is None


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step, keep=2)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-20", "checkpoint-30"]


def test_what_was_staged_and_not_completed_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 10)
    staged = checkpoints.staging_folder(tmp_path) / "checkpoint-20"
    staged.mkdir()
    (staged / "model.safetensors").write_bytes(b"half")

    assert checkpoints.latest(tmp_path, DATA) == checkpoints.Checkpoint(tmp_path / "checkpoint-10", 10)
    assert list(checkpoints.staging_folder(tmp_path).iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "no manifest", "torn manifest"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 10)
    damaged = write(tmp_path, 20).path
    weights, manifest = damaged / "model.safetensors", damaged / checkpoints.MANIFEST
    match damage:
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "flipped":
            weights.write_bytes(b"W" + weights.read_bytes()[1:])
        case "missing":
            weights.unlink()
        case "no manifest":
            manifest.unlink()
        case "torn manifest":
            manifest.write_text(manifest.read_text()[:20])
    assert checkpoints.latest(tmp_path, DATA) == checkpoints.Checkpoint(tmp_path / "checkpoint-10", 10)


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 10)
    with pytest.raises(DataError, match="a dataset has changed since"):
        checkpoints.latest(tmp_path, "other data")
