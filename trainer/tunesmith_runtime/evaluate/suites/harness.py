"""Tasks of lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness), run in this process."""

from dataclasses import dataclass

import numpy as np
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate

from tunesmith_api.suites import EvalSuite, HarnessSuite, Suite
from tunesmith_runtime.errors import ConfigError, DataError, RunError
from tunesmith_runtime.evaluate.endpoint_model import EndpointModel
from tunesmith_runtime.evaluate.harness.asking import Asked
from tunesmith_runtime.evaluate.harness.results import result_of
from tunesmith_runtime.evaluate.harness.tasks import Tasks, load, reseed, seeded
from tunesmith_runtime.evaluate.respondent import Progress, Respondent
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult

_GENERATED = "generate_until"


@dataclass(frozen=True, kw_only=True)
class LoadedTasks(LoadedSuite):
    """A suite with its tasks; its records are the task and the number of each sample."""

    tasks: Tasks


def read(suite: Suite) -> LoadedTasks:
    """Return the suite with its tasks and their data. Raises DataError or ConfigError."""
    try:
        tasks = load(_kind(suite))
    except (DataError, ConfigError) as error:
        raise type(error)(f"suite {suite.name}: {error.message}") from error
    return LoadedTasks(suite, tuple(tasks.samples()), tasks=tasks)


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Return lm-eval's metrics of each task and group.

    What is asked, how it is scored and how scores become metrics is lm-eval's own code (Gao et al., A framework for
    few-shot language model evaluation); how the model is asked is ours.
    """
    assert isinstance(loaded, LoadedTasks)  # noqa: S101 - made by `read`
    kind, tasks, asked = _kind(loaded.suite), loaded.tasks, Asked(progress)
    chat = kind.apply_chat_template or isinstance(respondent, EndpointModel)
    model = _asking(respondent, tasks, asked)
    reseed(tasks)
    # lm-eval divides by the lengths of answers, and one may be empty.
    with seeded(), np.errstate(divide="ignore"):
        try:
            found = evaluate(
                model,
                tasks.as_lm_eval,
                limit=kind.limit,
                bootstrap_iters=0,
                system_instruction=kind.system_instruction,
                apply_chat_template=chat,
                fewshot_as_multiturn=True,
                confirm_run_unsafe_code=kind.runs_code,
            )
        except RunError:
            raise
        except Exception as error:
            if error is asked.failure:
                raise
            raise DataError(
                f"lm-eval cannot put the questions of {', '.join(tasks.tasks)} or score the answers: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            ) from error
    return result_of(tasks, found)


def _asking(respondent: Respondent, tasks: Tasks, asked: Asked) -> LM:
    if isinstance(respondent, EndpointModel):
        from tunesmith_runtime.evaluate.harness.remote import EndpointHarness

        for task, kind in tasks.request_types():
            if kind != _GENERATED:
                raise ConfigError(
                    f"task {task} compares likelihoods, which an endpoint does not give; let target and baseline name "
                    "models, or name tasks in which the model writes its answer (output_type generate_until)"
                )
        return EndpointHarness(respondent, asked)
    from tunesmith_runtime.evaluate.harness.local import LocalHarness
    from tunesmith_runtime.evaluate.local_model import LocalModel

    assert isinstance(respondent, LocalModel)  # noqa: S101 - the only other one
    return LocalHarness(respondent, asked)


def _kind(suite: Suite) -> HarnessSuite:
    assert isinstance(suite, EvalSuite)  # noqa: S101 - this module is the harness suite's
    assert suite.harness is not None  # noqa: S101 - the same
    return suite.harness
