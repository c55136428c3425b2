"""A new operator takes over what the one before has started, and touches none of its pods."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.builders import fine_tune_job, manifest, model_serve
from tunesmith_api import conditions as c
from tunesmith_api.contract import ProgressDocument, RunLimits, TrainRun, run_config
from tunesmith_api.finetunejob import FineTuneJobStatus, PublishedModel, TrainingProgress
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import FineTuneJob, parse, reference
from tunesmith_operator.backends.native import Settings, render
from tunesmith_operator.planner import Observed, ObservedWorkload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
# What the version before wrote for the job and the server of tests/builders.py.
STARTED = json.loads((Path(__file__).parent / "previous_version.json").read_text())


def running_job(**policy: Any) -> FineTuneJob:
    data = manifest("FineTuneJob", "support-bot", fine_tune_job(runPolicy=policy).spec.to_json())
    data["metadata"]["uid"] = "uid-support-bot"
    parsed = parse(data | {"status": STARTED["status"]})
    assert isinstance(parsed, FineTuneJob)
    return parsed


def test_a_config_of_the_version_before_has_its_limits() -> None:
    config = run_config.validate_json(json.dumps(STARTED["config"]))
    assert isinstance(config, TrainRun)
    assert config.limits == RunLimits()


def test_a_report_of_the_version_before_is_understood() -> None:
    document = ProgressDocument.model_validate_json(json.dumps(STARTED["progress"]))
    assert (document.recoveries, document.skipped) == ((), ())


def test_a_running_job_goes_on_untouched() -> None:
    job = running_job()
    progress = ProgressDocument.model_validate_json(json.dumps(STARTED["progress"]))
    observed = Observed({"support-bot-a1": ObservedWorkload("support-bot-a1", "Running", progress=progress)})

    result = plan(job, observed, NOW)

    # Nothing is applied but what a plan ensures.
    assert (result.ensure, result.stop) == ((), ())
    assert result.status.phase == "Running"
    assert isinstance(result.status, FineTuneJobStatus)
    assert [each.number for each in result.status.attempts] == [1]
    assert result.status.progress == TrainingProgress(step=12, total_steps=60, percent=20, loss=2.5)
    assert next(each for each in result.status.conditions if each.type == c.RECONCILING).reason == c.RUNNING


def test_its_next_attempt_follows_the_new_policy() -> None:
    job = running_job(maxFailures=9)
    crashed = Observed({"support-bot-a1": ObservedWorkload("support-bot-a1", "Failed", message="exit code 1")})
    waiting = plan(job, crashed, NOW)
    later = datetime(2026, 11, 21, 12, 1, tzinfo=UTC)
    (workload,) = plan(job.model_copy(update={"status": waiting.status}), crashed, later).ensure

    assert workload.name == "support-bot-a2"
    assert isinstance(workload.config, TrainRun)
    assert workload.config.limits.max_failures == 9


def test_a_server_goes_on_as_its_first_revision() -> None:
    model = PublishedModel(uri="pvc://models/support-bot")
    tuned = fine_tune_job(status=FineTuneJobStatus(phase="Succeeded", output=model))
    status = ModelServeStatus(phase="Ready", revision=1, serving=model)
    observed = Observed(resources={reference(tuned): tuned}, address="http://support-bot.default.svc:8000")
    result = plan(model_serve(status=status), observed, NOW)
    (workload,) = result.ensure
    *_, deployment = render(workload, Settings(image="registry.test/runtime:1"))

    # Its pods are replaced one by one: the Deployment is the same, and selects the same pods.
    assert deployment["metadata"]["name"] == "support-bot-v1"
    assert deployment["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "tunesmith-serve",
        "app.kubernetes.io/instance": "support-bot-v1",
        "tunesmith.dev/role": "server",
    }
    assert isinstance(result.status, ModelServeStatus)
    assert (result.stop, result.status.revision) == ((), 1)
