"""`python -m tunesmith_runtime.train.measure_checkpoint FILE`: run a job's suites on one of its checkpoints.

FILE holds a request as JSON. The metrics are written to its `result`, or why there are none. The process ends with the
one that started it, when its standard input does.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith_api.contract import RunFailure, TrainRun
from tunesmith_runtime.errors import as_run_error

# Training goes first where both want a CPU.
NICENESS = 5


@dataclass(frozen=True)
class Request:
    """What is to be measured: a run's config as JSON, and a checkpoint's folder; `result` is the file to write."""

    config: str
    checkpoint: str
    result: str
    precision: str
    threads: int


def outcome(metrics: Mapping[str, float] | RunFailure) -> str:
    """Return what is written to the result's file."""
    if isinstance(metrics, RunFailure):
        return json.dumps({"failure": metrics.model_dump(mode="json")})
    return json.dumps({"metrics": dict(metrics)})


def main(file: str) -> None:
    """Carry out the request in the file."""
    _end_with_parent()
    os.nice(NICENESS)
    request = Request(**json.loads(Path(file).read_text(encoding="utf-8")))
    try:
        found: Mapping[str, float] | RunFailure = _measure(request)
    except Exception as error:
        found = as_run_error(error).failure()
    result = Path(request.result)
    unfinished = result.with_suffix(".part")
    unfinished.write_text(outcome(found), encoding="utf-8")
    unfinished.replace(result)


def _measure(request: Request) -> dict[str, float]:
    import torch

    from tunesmith_runtime import storage
    from tunesmith_runtime.evaluate.measuring import measure_model
    from tunesmith_runtime.models.adapted import without_prompt
    from tunesmith_runtime.models.loading import load_tokenizer
    from tunesmith_runtime.train.measurable import read_suites
    from tunesmith_runtime.train.precision import autocast
    from tunesmith_runtime.train.trained import load_trained

    torch.set_num_threads(request.threads)
    config = TrainRun.model_validate_json(request.config)
    base = storage.model_path(config.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_trained(Path(request.checkpoint), base, config.method.adapter).eval().to(device)
    precision: Any = request.precision
    with without_prompt(model), autocast(precision, device):
        suites = read_suites(config)
        batch_size = config.training.per_device_eval_batch_size
        return measure_model(model, load_tokenizer(base), suites, batch_size=batch_size)


def _end_with_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
