"""What each worker does to train a reward model in two stages."""

import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer

from tunesmith_api.contract import TrainRun
from tunesmith_api.domain import DomainStage
from tunesmith_api.training import Training
from tunesmith_api.uris import join
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import checkpoints, group
from tunesmith_runtime.train.domain import counting, decision
from tunesmith_runtime.train.domain.judging import decide
from tunesmith_runtime.train.domain.rows import DOMAIN, stage_of
from tunesmith_runtime.train.history import history_file
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.recipes.recipe import Setup
from tunesmith_runtime.train.stages import FIRST, SECOND, Stage

Fit = Callable[[TrainRun, TokenisedData, ProgressReporter, Stage], tuple[Trainer, Setup]]


def train(
    config: TrainRun, data: TokenisedData, reporter: ProgressReporter, fit: Fit, over: Callable[[], bool]
) -> tuple[Trainer, Setup]:
    """Train both stages on this worker; `fit` is one training. Return what the second one ends with.

    When `over` says so after the first one, because the time is, return what that ends with.

    What an earlier attempt has done stands: the first stage is not trained again, nor are the pairs judged again. The
    second stage begins with the last checkpoint of the first one and keeps its own checkpoints in a folder below.
    """
    domain, settings = data.domain, stage_of(config)
    assert domain is not None  # noqa: S101 - asked by the caller
    assert settings is not None  # noqa: S101 - the rows are there because it is
    store, folder = checkpoints.store(config.checkpoints.uri), join(config.checkpoints.uri, DOMAIN)
    decided = decision.read(folder, domain.fingerprint)
    first = store.fetch(decided.step) if decided else None
    resumes = first is not None
    if first is None:
        after = _steps(config.training, settings, len(domain.rows.dataset()))
        stage = Stage(FIRST, after=after)
        trainer, setup = fit(config, replace(data, domain=None), reporter, stage)
        if over():
            return trainer, setup
        if decided is None:
            if group.is_first():
                reporter.update(stage="judging the pairs of the domain")
            decided, examples = decide(
                trainer, [rows.dataset() for rows in data.validation.values()], domain, settings.level
            )
            if group.is_first():
                decision.write(folder, decided, examples)
        del trainer, setup
        _free_memory()
        group.wait_for_all()  # what they have cleared away must not be what another one fetches
        first = store.fetch(decided.step)
    assert decided is not None  # noqa: S101 - read or made above
    assert first is not None  # noqa: S101 - the last step of a training is saved
    if group.is_first():
        _report(reporter, decided)
    try:
        return fit(
            _second(config, settings, folder),
            replace(data, train=domain.rows, streams=domain.streams, fingerprint=domain.fingerprint, domain=None),
            reporter,
            Stage(
                SECOND,
                before=decided.step,
                earlier=_log(first.path),
                start=first.path,
                kept=np.setdiff1d(np.arange(len(domain.rows.dataset())), decided.contradicted),
                resumes=resumes,
                history=history_file(config.checkpoints.uri),
            ),
        )
    finally:
        store.clear()


def _second(config: TrainRun, domain: DomainStage, folder: str) -> TrainRun:
    """Return the run as the second stage sees it."""
    training = {"num_train_epochs": domain.num_train_epochs, "max_steps": domain.max_steps}
    if domain.learning_rate is not None:
        training["learning_rate"] = domain.learning_rate
    return config.model_copy(
        update={
            "training": config.training.model_copy(update=training),
            "checkpoints": config.checkpoints.model_copy(update={"uri": folder}),
        }
    )


def _steps(training: Training, domain: DomainStage, rows: int) -> int:
    """Return how many optimizer steps the second stage has if nothing is left out, as the Trainer counts them."""
    if domain.max_steps is not None:
        return domain.max_steps
    batches = math.ceil(rows / (training.per_device_train_batch_size * len(group.gather(0))))
    return math.ceil(domain.num_train_epochs * math.ceil(batches / training.gradient_accumulation_steps))


def _report(reporter: ProgressReporter, decided: decision.Decision) -> None:
    summary = reporter.read().data
    if summary is not None:
        reporter.update(data=counting.chosen(summary, decided.kept))
    left_out, kept = len(decided.contradicted), sum(each.records for each in decided.kept.values())
    print(  # noqa: T201 - the run's log
        f"of {left_out + kept} pairs of the domain {left_out} have a margin below {decided.bound:.4g} and are left out",
        flush=True,
    )


def _log(checkpoint: Path) -> Sequence[Mapping[str, Any]]:
    """Return what the Trainer had logged when it saved a checkpoint."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return list(state["log_history"])


def _free_memory() -> None:
    """Free what only reference cycles hold: the first stage's model, its gradients and its optimizer."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
