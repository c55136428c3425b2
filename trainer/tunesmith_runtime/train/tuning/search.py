"""The trials of a search, run by Ray Tune: as many at once as there is room for, the worse ones ended early by ASHA.

Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

import tempfile
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial

from tunesmith_api.contract import RunFailure, TrainRun
from tunesmith_api.placement import devices, trials_at_once
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.cluster import cluster
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.recovery.attempt import Attempt
from tunesmith_runtime.train.tuning import trial as trials
from tunesmith_runtime.train.tuning.course import Course
from tunesmith_runtime.train.tuning.drawing import run_of
from tunesmith_runtime.train.tuning.reporting import ENDED, FAILURE, STEP, STEPS, TRAINING, VALUE
from tunesmith_runtime.train.tuning.scheduling import InOrder, scheduler
from tunesmith_runtime.train.tuning.table import Table

# How often a trial whose process was lost goes on from its last checkpoint within one attempt.
RESTARTS = 3


def search(config: TrainRun, data: TokenisedData, table: Table, reporter: ProgressReporter, attempt: Attempt) -> None:
    """Run the trials of the table that are not over, until they are or no further one may begin.

    When the attempt's time is over, those that run end where they are. Raises RunError.
    """
    left, seconds = table.left(), attempt.seconds_left
    if not left or table.is_out_of_time or (seconds is not None and seconds <= 0):
        return
    job = trials.Job(
        configs={each.number: run_of(config, each.number, each.values).model_dump_json(by_alias=True) for each in left},
        reports={each.number: each.reports for each in left},
        data=data,
        metric=table.tuning.metric,
        per_pod=1 if config.gpus else devices(config),
    )
    needed = {"CPU": 1, **({"GPU": 1} if config.gpus else {})}
    course = Course(config, table, reporter)
    with cluster(config, reporter), tempfile.TemporaryDirectory(prefix="tunesmith-ray-") as storage_path:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(trials.run, job=job), needed),
            param_space={trials.NUMBER: tune.grid_search([each.number for each in left])},
            tune_config=tune.TuneConfig(
                search_alg=InOrder(trials_at_once(config), lambda: table.is_out_of_time),
                scheduler=scheduler(config, table),
                reuse_actors=True,  # a new process takes seconds for its libraries
                time_budget_s=seconds,
            ),
            run_config=tune.RunConfig(
                name=f"{config.run.name}-a{config.run.attempt}",
                storage_path=storage_path,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                callbacks=[_Listener(course)],
                verbose=0,
            ),
        ).fit()


class _Listener(tune.Callback):
    """Tells the course of the search what Ray Tune hears from the trials."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Hear that a trial begins, or goes on."""
        self._course.begins(_number(trial))

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Hear what a trial tells."""
        failure = RunFailure.model_validate(result[FAILURE]) if result.get(FAILURE) else None
        self._course.hears(
            _number(trial),
            steps=result.get(STEPS),
            report=(int(result[STEP]), float(result[VALUE])) if STEP in result else None,
            training=result.get(TRAINING),
            ended=bool(result.get(ENDED)),
            failure=failure,
        )

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Hear that a trial has ended by itself, or was ended."""
        self._course.ends(_number(trial))

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Hear that a trial's process was lost once too often."""
        error = trial.get_pickled_error() or trial.get_error()
        self._course.loses(_number(trial), " ".join(str(error).split()))


def _number(trial: RayTrial) -> int:
    return int(trial.config[trials.NUMBER])
