"""The suites of a training run, looked at before training starts."""

from collections.abc import Sequence
from pathlib import Path

from tunesmith_api.contract import TrainRun
from tunesmith_api.training import Task
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.evaluate.samples import LoadedSuite
from tunesmith_runtime.evaluate.suites import read_suite


def read_suites(config: TrainRun) -> tuple[LoadedSuite, ...]:
    """Return the suites that each checkpoint is measured on, with their records. Raises DataError."""
    return tuple(read_suite(suite) for suite in config.evaluation.suites) if config.evaluation else ()


def check_suites(suites: Sequence[LoadedSuite], task: Task, base: Path) -> None:
    """Raise ConfigError when the model does not write, and DataError when it cannot read a suite's prompts."""
    if not suites:
        return
    if task != "causal-lm":
        raise ConfigError(
            f"spec.evaluation.suites: they ask a causal language model, and this job trains for task {task}; drop them"
        )
    from tunesmith_runtime.data.tokenizing import prompt_ids
    from tunesmith_runtime.evaluate.local_model import check_lengths
    from tunesmith_runtime.models.loading import load_tokenizer
    from tunesmith_runtime.models.tasks import read_config

    tokenizer, limit = load_tokenizer(base), getattr(read_config(base), "max_position_embeddings", None)
    for loaded in suites:
        if not loaded.generation:
            continue
        try:
            check_lengths([prompt_ids(each, tokenizer) for each in loaded.records], loaded.generation, limit)
        except DataError as error:
            raise DataError(f"suite {loaded.suite.name}: {error.message}") from error
