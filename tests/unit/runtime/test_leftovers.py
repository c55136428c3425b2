"""What a killed attempt leaves on a volume is gone when the next one has begun."""

from pathlib import Path

import pytest

from tests.local.test_ending import config_of, parsed
from tunesmith_runtime.train.recovery import leftovers


def test_what_earlier_attempts_left_is_deleted_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    models = tmp_path / "models"
    gone = [".bot.staged-1", ".bot.staged-2", "bot-checkpoints/.data-a1-x", "bot-checkpoints/.data-a3-y"]
    kept = [".bot.staged-4", ".bottle.staged-1", "bot-checkpoints/.data-a12-x", "bot-checkpoints/checkpoint-10", "bot"]
    for name in [*gone, *kept]:
        (models / name).mkdir(parents=True)
        (models / name / "file").touch()

    leftovers.delete(parsed(config_of(3)))

    assert [name for name in gone if (models / name).exists()] == []
    assert [name for name in kept if not (models / name / "file").exists()] == []
