"""The trials of a search, as far as they are: kept beside their checkpoints, so that the next attempt goes on."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith_api.contract import TrainRun
from tunesmith_api.evaluation import higher_is_better
from tunesmith_api.tuning import Scalar, TrialRecord, TrialState, Tuning, TuningStatus, written
from tunesmith_api.uris import join
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage.texts import read_text, write_text
from tunesmith_runtime.train.tuning.drawing import draw

TABLE = "trials.json"


@dataclass
class Trial:
    """One trial. `reports` are the steps of its checkpoints and what the metric was there.

    `state` is None before it has begun. `again` says that it failed by something that another attempt may not meet.
    `training` is the last TrainingProgress that it reported, as JSON.
    """

    number: int
    values: dict[str, Scalar]
    state: TrialState | None = None
    steps: int = 0
    reports: list[tuple[int, float]] = field(default_factory=list)
    message: str | None = None
    reason: str | None = None
    again: bool = False
    training: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether no attempt has anything left to do for it."""
        return self.state in ("Succeeded", "StoppedEarly") or (self.state == "Failed" and not self.again)

    @property
    def total_steps(self) -> int:
        """How many steps it has in all; 0 as long as nobody knows."""
        return int((self.training or {}).get("totalSteps", 0))

    def best(self, metric: str) -> tuple[int, float] | None:
        """Return the step and the value of its best checkpoint, the first of equals."""
        sign = -1 if higher_is_better(metric) else 1
        return min(self.reports, key=lambda report: sign * report[1], default=None)

    def __str__(self) -> str:
        values = ", ".join(f"{name}={written(value)}" for name, value in self.values.items())
        return f"trial {self.number} ({values})"


class Table:
    """The trials of a run, in a file that is written whole at each change.

    `seconds` counts the time of earlier attempts.
    """

    def __init__(
        self,
        tuning: Tuning,
        trials: Sequence[Trial],
        uri: str,
        fingerprint: str,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tuning = tuning
        self.trials = tuple(trials)
        self._uri = uri
        self._fingerprint = fingerprint
        self._clock = clock
        self._began = clock() - seconds

    @classmethod
    def open(cls, config: TrainRun, fingerprint: str) -> "Table":
        """Return the table that an earlier attempt has left at the checkpoints, or a new one.

        `fingerprint` names the data. Raises DataError when the earlier attempt had other data.
        """
        assert config.tuning is not None  # noqa: S101 - asked of searches alone
        uri, tuning = config.checkpoints.uri, config.tuning
        text = read_text(join(uri, TABLE))
        if text is None:
            trials = [Trial(number, values) for number, values in enumerate(draw(tuning), 1)]
            return cls(tuning, trials, uri, fingerprint)
        state = json.loads(text)
        if state["fingerprint"] != fingerprint:
            raise DataError(
                f"the trials in {uri} were trained on other data: a dataset has changed since. Put the old data back "
                "to go on, or delete the job and create it again to start afresh"
            )
        trials = [
            Trial(**{**each, "reports": [(step, value) for step, value in each["reports"]]}) for each in state["trials"]
        ]
        return cls(tuning, trials, uri, fingerprint, state["seconds"])

    @classmethod
    def peek(cls, config: TrainRun) -> "Table | None":
        """Return the table as it is now, to look at; None when there is none."""
        text = read_text(join(config.checkpoints.uri, TABLE)) if config.tuning else None
        return cls.open(config, json.loads(text)["fingerprint"]) if text else None

    def save(self) -> None:
        """Write it to the folder of checkpoints."""
        state = {
            "fingerprint": self._fingerprint,
            "seconds": round(self.seconds, 1),
            "trials": [asdict(trial) for trial in self.trials],
        }
        write_text(json.dumps(state), join(self._uri, TABLE))

    @property
    def seconds(self) -> float:
        """How long all attempts have taken so far."""
        return self._clock() - self._began

    @property
    def is_out_of_time(self) -> bool:
        """Whether no further trial may begin."""
        limit = self.tuning.max_seconds
        return limit is not None and self.seconds >= limit

    def left(self) -> list[Trial]:
        """Return the trials that are still to be run to their end, those that have begun first."""
        return sorted((trial for trial in self.trials if not trial.is_over), key=lambda trial: trial.state is None)

    def best(self) -> Trial | None:
        """Return the trial with the best checkpoint, the first of equals; None before anything was measured."""
        return self.best_of(self.trials)

    def best_of(self, trials: Iterable[Trial]) -> Trial | None:
        """Return the best of some trials."""
        sign = -1 if higher_is_better(self.tuning.metric) else 1
        found = [(trial, best) for trial in trials if (best := trial.best(self.tuning.metric))]
        return min(found, key=lambda each: sign * each[1][1])[0] if found else None

    def status(self) -> TuningStatus:
        """Return the trials that have begun, as status holds them."""
        best = self.best()
        return TuningStatus(
            trials=tuple(self._record(trial, trial.state) for trial in self.trials if trial.state),
            best=best.number if best else None,
        )

    def _record(self, trial: Trial, state: TrialState) -> TrialRecord:
        best = trial.best(self.tuning.metric)
        return TrialRecord(
            number=trial.number,
            parameters={name: written(value) for name, value in trial.values.items()},
            state=state,
            steps=trial.steps,
            value=best[1] if best else None,
            step=best[0] if best else None,
            message=trial.message,
        )
