"""Which checkpoints a run with or without DeepSpeed goes on from."""

from pathlib import Path

import pytest

from tunesmith_api.training import DeepSpeed
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.zero import check_resumable

ZERO_2 = DeepSpeed(zero_stage=2)


def checkpoint(folder: Path, *, shards: int) -> Path:
    """Return a checkpoint as DeepSpeed leaves it: one file of optimizer states for each worker."""
    (folder / "global_step4").mkdir()
    for rank in range(shards):
        (folder / "global_step4" / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    return folder


def test_as_many_workers_go_on(tmp_path: Path) -> None:
    check_resumable(checkpoint(tmp_path, shards=2), ZERO_2, 2)


def test_another_number_of_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is spread over 2 workers by DeepSpeed ZeRO and cannot be continued on 3: "):
        check_resumable(checkpoint(tmp_path, shards=2), ZERO_2, 3)


def test_without_deepspeed_the_number_of_workers_is_free(tmp_path: Path) -> None:
    check_resumable(tmp_path, None, 3)


def test_a_checkpoint_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"was not written by DeepSpeed: leave out spec\.deepspeed"):
        check_resumable(tmp_path, ZERO_2, 2)
    with pytest.raises(ConfigError, match=r"was written by DeepSpeed: set spec\.deepspeed"):
        check_resumable(checkpoint(tmp_path, shards=2), None, 2)
