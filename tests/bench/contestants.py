"""Who takes part, and how each is started."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tests.bench import settings
from tests.bench.workload import Workload
from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import TrainingData
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Adapter, Method, Training


@dataclass(frozen=True)
class Start:
    """A command to run, and where it leaves the model and the figures."""

    command: tuple[str, ...]
    model: Path
    figures: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class Prepare(Protocol):
    """Makes ready for a run in an empty folder."""

    def __call__(self, work: Workload, folder: Path) -> Start:
        """Return how to start it."""


@dataclass(frozen=True)
class Contestant:
    """A trainer with the settings that the table names it by."""

    name: str
    prepare: Prepare


def ours(data: Mapping[str, Any], batch_size: int, work: Workload, folder: Path) -> Start:
    """Start a training run as the local shell does, with settings of `spec.data`."""
    name = folder.name
    config = TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="bench", name=name, uid=name, attempt=1),
        model="pvc://models/base",
        data=TrainingData.model_validate(
            {
                "train": ({"name": "records", "uri": "pvc://data/train.jsonl", "format": "messages"},),
                "maxLength": settings.LENGTH,
                **data,
            },
            by_alias=True,
            strict=False,
        ),
        method=Method(adapter=Adapter(type="full")),
        training=Training(
            num_train_epochs=1,
            per_device_train_batch_size=batch_size,
            learning_rate=settings.LEARNING_RATE,
            seed=settings.SEED,
        ),
        checkpoints=RunCheckpoints(uri=f"pvc://models/{name}-checkpoints", every_steps=100_000, keep=1),
        output=Output(uri=f"pvc://models/{name}"),
    )
    file, figures = folder / "config.json", folder / "figures.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    environment = {
        "TUNESMITH_CONFIG": str(file),
        "TUNESMITH_PROGRESS": str(folder / "progress.json"),
        "TUNESMITH_VOLUMES": str(work.volumes),
    }
    command = (sys.executable, "-m", "tests.bench.ours", str(work.model), str(figures))
    return Start(command, work.volumes / "models" / name, figures, environment)


def other(python: str, module: str, way: str, work: Workload, folder: Path) -> Start:
    """Start a module of this folder that trains in its own way."""
    command = (python, "-m", f"tests.bench.{module}", str(work.model), str(work.train), str(folder), way)
    return Start(command, folder / "model", folder / "figures.json")


PACKED = Contestant("Tunesmith, packed", partial(ours, {"packing": "bfd"}, settings.BATCH_SEQUENCES))
BUCKETED = Contestant(
    "Tunesmith, bucketed", partial(ours, {"lengthBuckets": settings.BUCKETS}, settings.BATCH_SEQUENCES)
)
PADDED = Contestant("Tunesmith, padded", partial(ours, {}, settings.BATCH_RECORDS))
TRL_PACKED = Contestant("TRL, packed", partial(other, sys.executable, "trl_alone", "packed"))
TRL_PADDED = Contestant("TRL, padded", partial(other, sys.executable, "trl_alone", "padded"))
BARE_PACKED = Contestant("bare torch loop, packed", partial(other, sys.executable, "bare_loop", "packed"))
BARE_PADDED = Contestant("bare torch loop, padded", partial(other, sys.executable, "bare_loop", "padded"))
OF_THIS_ENVIRONMENT = (PACKED, TRL_PACKED, BARE_PACKED, PADDED, TRL_PADDED, BARE_PADDED, BUCKETED)
LLAMA_FACTORY = "LLaMA-Factory"


def llama_factory(python: Path) -> tuple[Contestant, ...]:
    """Return LLaMA-Factory with its defaults, and without what its defaults save memory by."""
    start = partial(other, os.fspath(python.absolute()), "llama_factory")
    return (
        Contestant(LLAMA_FACTORY, partial(start, "default")),
        Contestant(f"{LLAMA_FACTORY}, nothing recomputed", partial(start, "stored")),
    )
