"""Runs that need something compiled are refused at once where the image has no compiler."""

from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import Dataset, TrainingData
from tunesmith_api.deepspeed import DeepSpeed, Offload
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Method, Training
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.compiling import check


def run(**changes: Any) -> TrainRun:
    source = Dataset(name="asked", uri="file:///data.jsonl", format="messages")
    return TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="1", attempt=1),
        model="file:///model",
        data=TrainingData(train=(source,)),
        method=Method(),
        checkpoints=RunCheckpoints(uri="file:///checkpoints", every_steps=1, keep=1),
        output=Output(uri="file:///out/model"),
        **{"training": Training(), **changes},
    )


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder that programs are looked for in."""
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(programs: Path, name: str) -> None:
    (programs / name).touch(mode=0o755)


def test_compiling_a_model_needs_a_compiler(programs: Path) -> None:
    compiled = Training(torch_compile=True)
    with pytest.raises(ConfigError, match=r"torchCompile: compiling a model needs a C\+\+ compiler \(Debian: g\+\+\)"):
        check(run(training=compiled))
    with pytest.raises(ConfigError, match=r"needs a C compiler \(Debian: gcc\), which the image lacks; name one"):
        check(run(training=compiled, gpus=1))

    install(programs, "gcc")
    check(run(training=compiled, gpus=1))
    with pytest.raises(ConfigError, match=r"or leave torchCompile out$"):
        check(run(training=compiled))
    install(programs, "g++")
    check(run(training=compiled))


def test_offloading_to_disks_needs_libaio_and_a_compiler(programs: Path) -> None:
    on_disk = DeepSpeed(zero_stage=3, offload=Offload(parameters="nvme", nvme_path="/tmp/zero"))
    with pytest.raises(ConfigError, match=r"offload: nvme needs a C\+\+ compiler .* which the image lacks; .* use cpu"):
        check(run(deepspeed=on_disk))


def test_deepspeeds_own_optimizer_needs_a_compiler(programs: Path) -> None:
    own = DeepSpeed(offload=Offload(optimizer="cpu"), config={"zero_force_ds_cpu_optimizer": True})
    with pytest.raises(ConfigError, match=r"zero_force_ds_cpu_optimizer: DeepSpeed's own optimizer needs a C\+\+ comp"):
        check(run(deepspeed=own))
    install(programs, "g++")
    install(programs, "ninja")
    check(run(deepspeed=own))


def test_what_is_not_compiled_needs_nothing(programs: Path) -> None:
    check(run())
    check(run(deepspeed=DeepSpeed(zero_stage=3, offload=Offload(optimizer="cpu", parameters="cpu"))))
