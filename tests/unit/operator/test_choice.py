"""Which backend runs an attempt."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import fine_tune_job, model_serve
from tunesmith_api.finetunejob import FineTuneJobStatus, PublishedModel
from tunesmith_api.resources import reference
from tunesmith_operator.backends.choice import Chosen, RenderError, UnavailableError, choose, render, started_on
from tunesmith_operator.backends.kuberay import USUAL, Offer
from tunesmith_operator.backends.native import Settings
from tunesmith_operator.planner import Observed, Workload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SETTINGS = Settings(image="registry.test/runtime:1")
ABSENT = Offer()
OLD = replace(USUAL, recent=False)
SILENT = replace(USUAL, answers=False)
KUEUE = {"name": "research", "gang": "kueue"}


def workload(name: str = "bot", **spec: Any) -> Workload:
    (found,) = plan(fine_tune_job(name, **spec), Observed(), NOW).ensure
    return found


@pytest.mark.parametrize(
    ("spec", "operators", "offer", "chosen"),
    [
        ({"workers": 2}, "auto", USUAL, "kuberay"),
        ({"workers": 2}, "auto", ABSENT, "native"),
        ({"workers": 2}, "auto", SILENT, "native"),
        # An older one runs Ray without a token: only who asks for it gets that.
        ({"workers": 2}, "auto", OLD, "native"),
        ({"workers": 2}, "kuberay", OLD, "kuberay"),
        ({"workers": 2}, "native", USUAL, "native"),
        ({}, "auto", USUAL, "native"),
        ({}, "kuberay", USUAL, "kuberay"),
        ({"backend": "kuberay"}, "auto", SILENT, "kuberay"),
        ({"backend": "native", "workers": 2}, "kuberay", USUAL, "native"),
        ({"workers": 2, "queue": KUEUE}, "auto", USUAL, "kuberay"),
        ({"queue": KUEUE}, "auto", ABSENT, "native"),
    ],
)
def test_who_runs_training(spec: dict[str, Any], operators: Any, offer: Offer, chosen: Chosen) -> None:
    assert choose(workload(**spec), replace(SETTINGS, backend=operators), offer) == chosen


def test_a_name_that_kuberay_does_not_take_is_left_to_the_native_one() -> None:
    assert choose(workload("3d-bot", workers=2), SETTINGS, USUAL) == "native"


def test_a_server_is_always_native() -> None:
    tuned = fine_tune_job(
        status=FineTuneJobStatus(phase="Succeeded", output=PublishedModel(uri="pvc://models/support-bot"))
    )
    (server,) = plan(model_serve(), Observed(resources={reference(tuned): tuned}), NOW).ensure
    assert choose(server, replace(SETTINGS, backend="kuberay"), USUAL) == "native"


def test_an_attempt_stays_where_it_began() -> None:
    several = workload(workers=2)
    for began in ("native", "kuberay"):
        objects = {each["metadata"]["name"]: each for each in render(several, SETTINGS, USUAL, began)}
        assert started_on(objects["bot-a1-progress"]) == began
    assert choose(several, SETTINGS, USUAL, "native") == "native"
    assert choose(several, SETTINGS, SILENT, "kuberay") == "kuberay"


def test_kuberay_that_is_not_there_is_waited_for() -> None:
    with pytest.raises(UnavailableError, match="the cluster serves no RayJobs"):
        choose(workload(backend="kuberay"), SETTINGS, ABSENT)
    with pytest.raises(UnavailableError, match="kueue holds several workers together as one RayJob of KubeRay, and"):
        choose(workload(workers=2, queue=KUEUE), SETTINGS, ABSENT)


def test_kuberay_that_the_operator_may_not_touch_is_refused() -> None:
    alone = replace(SETTINGS, backend="native")
    with pytest.raises(RenderError, match=r"spec.backend is kuberay, and the operator is told to leave KubeRay alone"):
        choose(workload(backend="kuberay"), alone, USUAL)
    with pytest.raises(RenderError, match="RayJob bot-a1 was started"):
        choose(workload(), alone, USUAL, "kuberay")
