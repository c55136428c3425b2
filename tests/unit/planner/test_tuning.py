"""A search reaches its run, and its trials the status."""

from datetime import UTC, datetime

from tests.builders import FINE_TUNE_JOB_SPEC, fine_tune_job
from tunesmith_api.contract import ProgressDocument, TrainRun
from tunesmith_api.finetunejob import FineTuneJobStatus
from tunesmith_api.immutability import changed_fields
from tunesmith_api.tuning import TrialRecord, TuningStatus
from tunesmith_operator.planner import Observed, ObservedWorkload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DATA = FINE_TUNE_JOB_SPEC["data"] | {"validation": {"fraction": 0.1}}
TUNING = {"parameters": [{"name": "training.weightDecay", "uniform": {"min": 0, "max": 0.1}}], "trials": 4}


def test_a_search_is_carried_out_by_its_run() -> None:
    job = fine_tune_job(data=DATA, tuning=TUNING)
    (workload,) = plan(job, Observed(), NOW).ensure
    assert isinstance(workload.config, TrainRun)
    assert workload.config.tuning == job.spec.tuning


def test_trials_reach_the_status_and_stay_there() -> None:
    job = fine_tune_job(data=DATA, tuning=TUNING)
    started = plan(job, Observed(), NOW).status
    assert isinstance(started, FineTuneJobStatus)
    assert isinstance(started, FineTuneJobStatus)
    trials = TuningStatus(trials=(TrialRecord(number=1, steps=4, value=2.5, step=4),), best=1)
    job = fine_tune_job(data=DATA, tuning=TUNING, status=started)
    name = started.attempts[-1].workload
    for progress in (ProgressDocument(tuning=trials), ProgressDocument()):
        observed = Observed(workloads={name: ObservedWorkload(name, "Running", progress=progress)})
        status = plan(job, observed, NOW).status
        assert isinstance(status, FineTuneJobStatus)
        assert status.tuning == trials
        job = fine_tune_job(data=DATA, tuning=TUNING, status=status)


def test_a_search_cannot_change_once_it_has_started() -> None:
    before = fine_tune_job(data=DATA, tuning=TUNING, status=FineTuneJobStatus(phase="Running"))
    assert changed_fields(before, fine_tune_job(data=DATA, tuning=TUNING | {"trials": 5})) == ["spec.tuning"]
