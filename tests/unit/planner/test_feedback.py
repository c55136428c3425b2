"""A FineTuneJob learns from what people said of a ModelServe's answers."""

from datetime import UTC, datetime
from typing import Any

from tests.builders import fine_tune_job, model_serve
from tunesmith_api import conditions as c
from tunesmith_api.contract import TrainRun
from tunesmith_api.meta import Condition, Reference
from tunesmith_api.resources import Resource, reference
from tunesmith_operator.planner import AnyPlan, Observed, plan
from tunesmith_operator.planner.references import named_by
from tunesmith_operator.storage import claims_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SAID: dict[str, Any] = {"uri": "modelserve://bot/feedback", "format": "feedback"}
JOB = fine_tune_job(data={"train": [{"name": "said", **SAID}], "validation": {"dataset": SAID}})


def planned(*others: Resource) -> AnyPlan:
    return plan(JOB, Observed(resources={reference(each): each for each in others}), NOW)


def condition(result: AnyPlan, kind: str) -> Condition:
    return next(each for each in result.status.conditions if each.type == kind)


def test_it_waits_for_the_model_serve() -> None:
    result = planned()
    assert (result.status.phase, result.ensure) == ("Pending", ())
    waiting = condition(result, c.RECONCILING)
    assert (waiting.status, waiting.reason) == ("True", c.REFERENCE_NOT_FOUND)
    assert waiting.message == (
        "waits for ModelServe bot, whose feedback it is to learn from and which does not exist; create it"
    )


def test_a_model_serve_that_keeps_nothing() -> None:
    result = planned(model_serve(name="bot"))
    assert (result.status.phase, result.ensure) == ("Pending", ())
    stalled = condition(result, c.STALLED)
    assert (stalled.status, stalled.reason) == ("True", c.CAPTURES_NOTHING)
    assert "ModelServe bot keeps neither answers nor feedback; set its spec.capture" in stalled.message


def test_it_reads_where_the_model_serve_captures_to() -> None:
    serve = model_serve(name="bot", traffic={"provider": "gateway"}, capture={"uri": "pvc://talk/traffic"})
    (workload,) = planned(serve).ensure
    assert isinstance(workload.config, TrainRun)
    data = workload.config.data
    assert data.train[0].uri == "pvc://talk/traffic"
    assert data.validation is not None
    assert data.validation.dataset is not None
    assert data.validation.dataset.uri == "pvc://talk/traffic"
    assert claims_of(workload) == ("models", "talk")


def test_the_model_serve_is_named_once() -> None:
    assert named_by(JOB) == (Reference(kind="ModelServe", name="bot"),)
