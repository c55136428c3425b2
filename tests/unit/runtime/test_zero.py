"""DeepSpeed as the spec wants it, and which checkpoints a run with or without it goes on from."""

from pathlib import Path
from typing import Any, Self

import pytest

from tunesmith_api.deepspeed import KNOWN, OURS, UNUSABLE, DeepSpeed, Offload
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.zero import check_config, check_resumable, is_spread_otherwise, settings

ZERO_2 = DeepSpeed(zero_stage=2)
ON_DISK = DeepSpeed(zero_stage=3, offload=Offload(optimizer="nvme", nvme_path="/scratch/zero"))


def checkpoint(folder: Path, *, shards: int) -> Path:
    """Return a checkpoint as DeepSpeed leaves it: one file of optimizer states for each worker."""
    (folder / "global_step4").mkdir()
    for rank in range(shards):
        (folder / "global_step4" / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    return folder


def test_as_many_workers_read_a_checkpoint_as_it_is(tmp_path: Path) -> None:
    written = checkpoint(tmp_path, shards=2)
    check_resumable(written, ZERO_2, 2)
    assert not is_spread_otherwise(written, 2)


def test_for_another_number_of_workers_it_is_converted(tmp_path: Path) -> None:
    written = checkpoint(tmp_path, shards=2)
    check_resumable(written, ZERO_2, 3)
    assert is_spread_otherwise(written, 3)


def test_optimizer_states_on_disks_are_for_as_many_workers(tmp_path: Path) -> None:
    written = checkpoint(tmp_path, shards=2)
    check_resumable(written, ON_DISK, 2)
    with pytest.raises(ConfigError, match=r"states of 2 workers as they lay in .* cannot be continued on 3: "):
        check_resumable(written, ON_DISK, 3)


def test_without_spread_states_the_number_of_workers_is_free(tmp_path: Path) -> None:
    check_resumable(tmp_path, None, 3)
    assert not is_spread_otherwise(checkpoint(tmp_path, shards=0), 3)


def test_a_checkpoint_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"was not written by DeepSpeed: leave out spec\.deepspeed"):
        check_resumable(tmp_path, ZERO_2, 2)
    with pytest.raises(ConfigError, match=r"was written by DeepSpeed: set spec\.deepspeed"):
        check_resumable(checkpoint(tmp_path, shards=2), None, 2)


def test_the_users_configuration_is_merged_over_ours() -> None:
    wanted = DeepSpeed(
        zero_stage=3,
        offload=Offload(optimizer="cpu", parameters="nvme", nvme_path="/scratch/zero"),
        config={
            "wall_clock_breakdown": True,
            "fp16": {"initial_scale_power": 12},
            "zero_optimization": {"sub_group_size": 1000, "offload_optimizer": {"pin_memory": False}},
        },
    )
    written = settings(wanted)
    assert written["wall_clock_breakdown"] is True
    assert written["fp16"] == {"enabled": "auto", "initial_scale_power": 12}
    zero = written["zero_optimization"]
    assert (zero["stage"], zero["sub_group_size"], zero["reduce_bucket_size"]) == (3, 1000, "auto")
    assert zero["offload_optimizer"] == {"device": "cpu", "pin_memory": False}
    assert zero["offload_param"] == {"device": "nvme", "nvme_path": "/scratch/zero"}
    assert not written["checkpoint"]["load_universal"]
    assert settings(wanted, universal=True)["checkpoint"]["load_universal"]


def test_what_deepspeed_refuses_within_a_section_is_said_before_the_model_is_loaded() -> None:
    check_config(DeepSpeed(config={"zero_optimization": {"reduce_bucket_size": "auto", "overlap_comm": True}}))
    with pytest.raises(ConfigError, match=r"DeepSpeedZeroConfig of DeepSpeed refuses it: overlap_com: Extra inputs"):
        check_config(DeepSpeed(config={"zero_optimization": {"overlap_com": True}}))
    with pytest.raises(ConfigError, match=r"refuses it: .*communication_data_type.* Got: int9"):
        check_config(DeepSpeed(config={"communication_data_type": "int9"}))


class Asked(dict[str, Any]):
    """A configuration that notes which of its keys somebody asks for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.names: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.names.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self.names.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def keys(self) -> Self:  # type: ignore[override]
        return self

    def __copy__(self) -> Self:
        return self


def test_a_spec_knows_the_sections_that_the_installed_deepspeed_reads() -> None:
    from deepspeed.runtime.config import _REMOVED_TOP_LEVEL_CONFIG_KEYS, DeepSpeedConfig

    asked = Asked({"train_micro_batch_size_per_gpu": 1})
    DeepSpeedConfig(asked)
    known = KNOWN | {key for key in (*OURS, *UNUSABLE) if "." not in key}
    assert known == asked.names - set(_REMOVED_TOP_LEVEL_CONFIG_KEYS)
    assert not KNOWN & (OURS.keys() | UNUSABLE.keys())
