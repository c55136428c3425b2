"""Trains on two CPU workers of a Ray cluster: `python two_workers.py FOLDER`."""

import json
import os
import sys
from pathlib import Path

from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import environment


def main(folder: Path) -> None:
    """Train the folder's tiny model for four steps and leave it in FOLDER/staged."""
    os.environ["TUNESMITH_VOLUMES"] = str(folder)
    config = run_config.validate_json(
        json.dumps(
            {
                "type": "train",
                "run": {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1},
                "model": "pvc://models/base",
                "data": {"train": [{"name": "a", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
                "method": {"adapter": {"type": "full"}},
                "training": {"maxSteps": 4, "perDeviceTrainBatchSize": 2},
                "checkpoints": {"uri": "pvc://models/checkpoints", "everySteps": 2, "keep": 1},
                "output": {"uri": "pvc://models/bot"},
                "workers": 2,
            }
        )
    )
    assert isinstance(config, TrainRun)
    environment.prepare(config)
    from tunesmith_runtime.data.preparing import prepare
    from tunesmith_runtime.data.sources import read_training_data
    from tunesmith_runtime.models.loading import load_tokenizer
    from tunesmith_runtime.train import inputs, raytrain

    data = prepare(config.data, load_tokenizer(folder / "models" / "base"), read_training_data(config.data))
    saved = inputs.save(data.train, None, config.data, data.digests, folder / "prepared")
    reporter = ProgressReporter(folder / "progress.json")
    raytrain.train(config, saved, folder / "staged", reporter)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
