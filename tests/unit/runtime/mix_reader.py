"""A worker that reads one epoch of mixed data as training does, and tells how much it saw of each dataset.

`python -m tests.unit.runtime.mix_reader MODEL FOLDER OUT` with RANK, WORLD_SIZE and a port of torch.distributed.
"""

import json
import random
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.numbered import Records, prepare, text, training
from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Method, Training
from tunesmith_runtime.train import inputs, recipes
from tunesmith_runtime.train.recipes.recipe import Setup

# Records of each dataset, and the shortest and longest of them in tokens.
DATASETS = {"general": (300, 4, 10), "domain": (450, 10, 30), "chat": (100, 20, 60)}
MAX_LENGTH = 64


def dataset(name: str) -> Records:
    """Return records of random lengths."""
    count, shortest, longest = DATASETS[name]
    lengths = random.Random(name)
    return Records([text(*[5] * lengths.randint(shortest, longest)) for _ in range(count)])


def epoch(model: Path, folder: Path, packing: str, by: str) -> dict[str, list[int]]:
    """Return how many records and tokens of each dataset an epoch of this worker has."""
    data = training(
        *DATASETS, weights=[3, 6, 1], maxLength=MAX_LENGTH, packing=packing, mixing={"by": by}, seed=7
    )  # 3:6:1
    config = TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="default", name="mix", uid="u", attempt=1),
        model="pvc://models/base",
        data=data,
        method=Method(type="pt"),
        training=Training(),
        checkpoints=RunCheckpoints(uri=f"file://{folder}/checkpoints", every_steps=1, keep=1),
        output=Output(uri=f"file://{folder}/model"),
    )
    recipe = recipes.find("causal-lm", "pt")
    prepared = prepare(data, folder, *map(dataset, DATASETS))
    trainer = recipe.trainer(
        Setup(
            config=config,
            model=AutoModelForCausalLM.from_pretrained(model),
            tokenizer=AutoTokenizer.from_pretrained(model),
            arguments={
                "output_dir": str(folder / "run"),
                "use_cpu": True,
                "report_to": "none",
                "per_device_train_batch_size": 2,
            },
            train=inputs.save(prepared, config, recipe, folder).train.dataset(),
        )
    )
    records, tokens = [0] * len(DATASETS), [0] * len(DATASETS)
    for batch in trainer.get_train_dataloader():
        streams = batch["streams"]
        begins = batch["position_ids"] == 0 if packing == "bfd" else torch.arange(streams.shape[1])[None] == 0
        for stream in range(len(DATASETS)):
            records[stream] += int(((streams == stream) & begins).sum())
            tokens[stream] += int((streams == stream).sum())
    return {"records": records, "tokens": tokens}


if __name__ == "__main__":
    base, work, out = map(Path, sys.argv[1:])
    seen = {
        f"{packing} {by}": epoch(base, work / packing / by, packing, by)
        for packing in ("none", "bfd")
        for by in ("records", "tokens")
    }
    out.write_text(json.dumps(seen))
