"""runPolicy: what it takes, what it refuses, and that it may change; a status that makes no sense is passed over."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, eval_job, fine_tune_job, manifest
from tunesmith_api.errors import explain
from tunesmith_api.finetunejob import AttemptRecord, FineTuneJobStatus
from tunesmith_api.immutability import altered_fields, changed_fields, fingerprints
from tunesmith_api.resources import FineTuneJob, parse
from tunesmith_api.salvage import read


def refused(kind: str, policy: dict[str, Any], **spec: Any) -> list[str]:
    base = FINE_TUNE_JOB_SPEC if kind == "FineTuneJob" else EVAL_JOB_SPEC
    with pytest.raises(ValidationError) as error:
        parse(manifest(kind, "bot", {**base, "runPolicy": policy, **spec}))
    return explain(error.value)


def test_without_a_policy_nothing_is_limited_but_silence() -> None:
    policy = fine_tune_job().spec.run_policy
    assert (policy.max_attempts, policy.max_failures, policy.suspend) == (3, 3, False)
    assert (policy.active_deadline_seconds, policy.ttl_seconds_after_finished, policy.gpu_hours) == (None, None, None)
    assert policy.progress_timeout_seconds == 3600


def test_a_budget_may_be_a_whole_number() -> None:
    job = fine_tune_job(runPolicy={"gpuHours": 64}, resources={"gpu": 8})
    assert job.spec.run_policy.gpu_hours == 64


def test_a_budget_of_gpu_hours_needs_gpus() -> None:
    assert refused("FineTuneJob", {"gpuHours": 8}) == [
        "spec.runPolicy.gpuHours: counts GPUs, and resources.gpu is 0; leave it out and use activeDeadlineSeconds, or "
        "set resources.gpu"
    ]


@pytest.mark.parametrize(
    "policy",
    [
        {"activeDeadlineSeconds": 0},
        {"ttlSecondsAfterFinished": -1},
        {"maxFailures": -1},
        {"maxFailures": 101},
        {"progressTimeoutSeconds": 0},
        {"gracePeriodSeconds": 0},
        {"gpuHours": 0},
        {"suspend": "yes"},
    ],
)
def test_what_is_out_of_bounds_is_named(policy: dict[str, Any]) -> None:
    (sentence,) = refused("FineTuneJob", policy, resources={"gpu": 1})
    assert sentence.startswith(f"spec.runPolicy.{next(iter(policy))}: ")


@pytest.mark.parametrize("name", ["suspend", "maxFailures", "gpuHours", "progressTimeoutSeconds"])
def test_an_evaluation_has_no_policy_of_training(name: str) -> None:
    (sentence,) = refused("EvalJob", {name: 1})
    assert sentence.startswith(f"spec.runPolicy.{name}: ")


def test_an_evaluation_has_a_deadline_and_an_end() -> None:
    policy = eval_job(runPolicy={"activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 0}).spec.run_policy
    assert (policy.active_deadline_seconds, policy.ttl_seconds_after_finished) == (60, 0)


def test_the_policy_may_change_while_the_job_is_under_way() -> None:
    job = fine_tune_job()
    started = fine_tune_job(status=FineTuneJobStatus(phase="Running", started_with=fingerprints(job)))
    changed = {"suspend": True, "maxAttempts": 9, "activeDeadlineSeconds": 60, "gracePeriodSeconds": 300}
    after = fine_tune_job(status=started.status, runPolicy=changed)
    assert changed_fields(started, after) == []
    assert altered_fields(after) == []


def test_a_job_that_was_suspended_from_the_start_may_still_change() -> None:
    waiting = fine_tune_job(status=FineTuneJobStatus(phase="Suspended"))
    changed = fine_tune_job(training={"learningRate": 0.5})
    assert changed_fields(waiting, changed) == []

    attempt = AttemptRecord.model_validate_json(
        '{"number": 1, "workload": "support-bot-a1", "startedAt": "2026-11-21T12:00:00Z"}'
    )
    paused = fine_tune_job(status=FineTuneJobStatus(phase="Suspended", attempts=(attempt,)))
    assert changed_fields(paused, changed) == ["spec.training"]


# What is read back


ATTEMPT = {"number": 2, "workload": "bot-a2", "startedAt": "2026-11-21T12:00:00Z"}


def kept(status: Any) -> dict[str, Any]:
    resource, _ = read(manifest("FineTuneJob", "bot", FINE_TUNE_JOB_SPEC) | {"status": status})
    assert isinstance(resource, FineTuneJob)
    return resource.status.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def test_a_sound_status_is_read_as_it_is() -> None:
    resource, mended = read(manifest("FineTuneJob", "bot", FINE_TUNE_JOB_SPEC) | {"status": {"phase": "Running"}})
    assert (resource.status.phase, mended) == ("Running", False)


@pytest.mark.parametrize(
    ("status", "left"),
    [
        ({"phase": "Confused", "attempt": 2}, {"attempt": 2}),
        ({"phase": "Running", "attempt": -1}, {"phase": "Running"}),
        ({"phase": "Running", "progress": {"step": -3}}, {"phase": "Running"}),
        ({"attempts": [{"number": 0}, ATTEMPT, "?"]}, {"attempts": [ATTEMPT]}),
        ({"attempts": {"number": 2}, "phase": "Failed"}, {"phase": "Failed"}),
        ({"conditions": [{"type": "Failed"}], "gpuHours": 1.5}, {"gpuHours": 1.5}),
        ("Running", {}),
    ],
)
def test_what_makes_no_sense_is_passed_over_and_the_rest_stays(status: Any, left: dict[str, Any]) -> None:
    assert kept(status) == left


def test_of_too_many_attempts_the_newest_are_kept() -> None:
    attempts = [ATTEMPT | {"number": number} for number in range(1, 31)]
    assert [each["number"] for each in kept({"attempts": attempts})["attempts"]] == list(range(11, 31))


def test_a_time_without_a_zone_is_utc() -> None:
    status = kept({"attempts": [ATTEMPT | {"startedAt": "2026-11-21T12:00:00"}]})
    assert status["attempts"][0]["startedAt"] == "2026-11-21T12:00:00Z"


def test_a_spec_that_is_wrong_is_refused_whatever_the_status() -> None:
    with pytest.raises(ValidationError, match="output"):
        read({**manifest("FineTuneJob", "bot", {"model": {"uri": "pvc://a/b"}}), "status": {"phase": "Confused"}})
