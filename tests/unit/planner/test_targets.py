"""What an EvalJob may evaluate, and what it waits for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, EvaluateRun, ProgressDocument
from tunesmith_api.endpoint import SecretKey
from tunesmith_api.evaljob import EvalJobStatus, Subject
from tunesmith_api.finetunejob import (
    AttemptRecord,
    CheckpointRecord,
    CheckpointStatus,
    FineTuneJobStatus,
    Phase,
    PublishedModel,
)
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import Resource, reference
from tunesmith_operator.backends.native import Settings, render
from tunesmith_operator.planner import Observed, ObservedWorkload, plan
from tunesmith_operator.planner.situation import find

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MODEL = PublishedModel(uri="pvc://models/support-bot", digest="sha256:aa")
BEST = CheckpointRecord(step=40, uri="pvc://m/c/checkpoint-40")
LAST = CheckpointRecord(step=60, uri="pvc://m/c/checkpoint-60")


def observing(*resources: Resource) -> Observed:
    return Observed(resources={reference(each): each for each in resources})


def evaluated(target: dict[str, Any], *resources: Resource) -> Subject:
    result = plan(eval_job(target=target), observing(*resources), NOW)
    config = result.ensure[0].config
    assert isinstance(config, EvaluateRun)
    return config.target


def told(target: dict[str, Any], *resources: Resource) -> tuple[str, str]:
    """Return the reason and the words of an EvalJob that starts nothing."""
    result = plan(eval_job(target=target), observing(*resources), NOW)
    assert result.ensure == ()
    found = next(
        each for each in result.status.conditions if each.type in {c.RECONCILING, c.STALLED} and each.status == "True"
    )
    return found.reason, found.message


def training(phase: Phase = "Running", best: CheckpointRecord | None = BEST) -> Resource:
    kept = CheckpointStatus(latest=LAST, best=best)
    return fine_tune_job(status=FineTuneJobStatus(phase=phase, checkpoints=kept))


@pytest.mark.parametrize(
    ("name", "uri"), [("best", BEST.uri), ("last", LAST.uri), ("60", LAST.uri), ("20", "pvc://m/c/checkpoint-20")]
)
def test_a_checkpoint_of_a_job_that_still_trains(name: str, uri: str) -> None:
    found = evaluated({"fineTuneJob": "support-bot", "checkpoint": name}, training())

    assert (found.uri, found.base, found.digest) == (uri, "pvc://models/base", None)


@pytest.mark.parametrize(
    ("name", "job", "reason", "words"),
    [
        ("80", training(), c.WAITING_FOR_FINE_TUNE_JOB, "waits for checkpoint 80 of FineTuneJob support-bot"),
        ("80", training("Succeeded"), c.REFERENCE_FAILED, "has ended without a checkpoint 80"),
        ("best", training("Succeeded", None), c.REFERENCE_FAILED, "best is of a job with evaluation.earlyStopping"),
        ("best", training("Failed", None), c.REFERENCE_FAILED, "has failed"),
    ],
)
def test_a_checkpoint_that_is_not_there(name: str, job: Resource, reason: str, words: str) -> None:
    found = told({"fineTuneJob": "support-bot", "checkpoint": name}, job)

    assert found[0] == reason
    assert words in found[1]


def test_an_adapter_on_a_base() -> None:
    published = fine_tune_job(status=FineTuneJobStatus(phase="Succeeded", output=MODEL))

    found = evaluated({"uri": "hf://org/base", "adapter": "finetunejob://support-bot"}, published)

    assert (found.uri, found.base) == (MODEL.uri, "hf://org/base")


def test_a_server_is_waited_for_and_then_asked() -> None:
    target = {"modelServe": "support-bot"}
    assert told(target)[0] == c.REFERENCE_NOT_FOUND
    assert told(target, model_serve()) == (c.WAITING_FOR_MODEL_SERVE, "waits for ModelServe support-bot to answer")

    serving = ModelServeStatus(phase="Ready", url="http://support-bot.default.svc:8000", serving=MODEL)
    found = evaluated(target, model_serve(status=serving))

    assert (found.uri, found.digest) == (MODEL.uri, MODEL.digest)
    assert found.endpoint is not None
    assert (found.endpoint.url, found.endpoint.model) == ("http://support-bot.default.svc:8000/v1", "support-bot")


def test_a_server_that_waits_for_the_verdict_cannot_be_asked_for_it() -> None:
    serving = model_serve(requires=[{"evalJob": "support-bot-eval"}])

    reason, words = told({"modelServe": "support-bot"}, serving)

    assert reason == c.REFERENCE_CYCLE
    assert "waits for this EvalJob, and this EvalJob for it" in words


def test_an_endpoint_s_key_comes_from_its_secret_alone() -> None:
    key = {"name": "openai", "key": "api-key"}
    target = {"endpoint": {"url": "https://api.example.com/v1", "model": "m", "apiKeySecretRef": key}}
    (workload,) = plan(eval_job(target=target, baseline=target), observing(), NOW).ensure

    assert workload.keys == (SecretKey(**key),)
    pod = next(each for each in render(workload, Settings(image="runtime:1")) if each["kind"] == "Job")
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    (variable,) = [each for each in container["env"] if each["name"].startswith("TUNESMITH_KEY_")]
    assert variable == {
        "name": "TUNESMITH_KEY_OPENAI__API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "openai", "key": "api-key"}},
    }
    assert "envFrom" not in container, "nothing else of the Secret"


def test_what_could_not_be_measured_is_in_the_status() -> None:
    problem = "facts: the endpoint cannot answer now (503): busy"
    result = EvaluateResult(results=(), target=Subject(uri="x"), problems=(problem,), report="pvc://r/report.html")
    seen = ObservedWorkload("e", "Succeeded", progress=ProgressDocument(state="Succeeded", result=result))
    attempt = AttemptRecord(number=1, workload="e", started_at=NOW)
    job = eval_job(
        status=EvalJobStatus(phase="Running", attempts=(attempt,)), gates=[{"metric": "facts/f1", "min": 0.5}]
    )

    status = plan(job, Observed(workloads={"e": seen}), NOW).status

    assert isinstance(status, EvalJobStatus)
    assert (status.verdict, status.problems) == ("Inconclusive", (problem,))
    passed = find(status.conditions, c.PASSED)
    assert passed is not None
    assert (passed.status, passed.reason) == ("Unknown", c.INCONCLUSIVE)
    assert "busy" in passed.message
