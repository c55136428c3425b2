"""Suites of an EvalJob that are measured apart: when, how many at once, and what becomes of those that fail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders import eval_job, fine_tune_job
from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, EvaluateRun, PartResult, ProgressDocument, RunFailure, SampleProgress
from tunesmith_api.evaljob import EvalJobStatus, Subject
from tunesmith_api.finetunejob import FineTuneJobStatus, PublishedModel
from tunesmith_api.resources import EvalJob, reference
from tunesmith_operator.planner import Observed, ObservedWorkload, Plan, Workload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
GOLDEN = {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}
ENDPOINT = {"url": "http://judge/v1", "model": "wise", "apiKeySecretRef": {"name": "judge", "key": "key"}}
SUITES: dict[str, dict[str, Any]] = {
    "facts": {"golden": GOLDEN},
    "prose": {"perplexity": {"uri": "pvc://data/prose.jsonl"}},
    "code": {"harness": {"tasks": ["sums"], "taskUris": ["pvc://data/tasks"], "runsCode": True}},
    "judged": {"judge": {"uri": "pvc://data/questions.jsonl", "format": "text", "endpoint": ENDPOINT}},
    "people": {"human": {"uri": "pvc://data/questions.jsonl", "format": "text"}},
    "load": {"performance": {"requests": 10}},
}


def job(*suites: str, **spec: Any) -> EvalJob:
    named = [{"name": each, **SUITES[each]} for each in suites]
    given = {"target": {"uri": "pvc://models/bot"}, "baseline": {"uri": "pvc://models/base"}, "gates": [], **spec}
    return eval_job(name="bot", suites=named, **given)


class Story:
    """An EvalJob and its workloads, planned again and again."""

    def __init__(self, resource: EvalJob) -> None:
        self.job, self.now = resource, NOW
        self.workloads: dict[str, ObservedWorkload] = {}
        self.started: dict[str, Workload] = {}

    def look(self) -> Plan[EvalJobStatus]:
        result = plan(self.job, Observed(self.workloads), self.now)
        assert isinstance(result.status, EvalJobStatus)
        self.job = self.job.model_copy(update={"status": result.status})
        for each in result.ensure:
            self.started[each.name] = each
            self.workloads.setdefault(each.name, ObservedWorkload(each.name, "Running"))
        for name in result.stop:
            del self.workloads[name]
        return result

    def starts(self) -> list[str]:
        """Return what starts until nothing does any more."""
        found: list[str] = []
        while new := [each.name for each in self.look().ensure if each.name not in found]:
            found += new
        return found

    def ends(self, name: str) -> None:
        done = ProgressDocument(state="Succeeded", result=PartResult())
        self.workloads[name] = ObservedWorkload(name, "Succeeded", progress=done)

    def fails(self, name: str, *, retryable: bool = True, reason: str = c.EVICTED) -> None:
        failure = RunFailure(reason=reason, message="it broke", retryable=retryable)
        said = ProgressDocument(state="Failed", failure=failure)
        self.workloads[name] = ObservedWorkload(name, "Failed", progress=said, ended_at=self.now)

    @property
    def said(self) -> str:
        return next(each.message for each in self.job.status.conditions if each.type == c.RECONCILING)

    def config(self, name: str) -> EvaluateRun:
        config = self.started[name].config
        assert isinstance(config, EvaluateRun)
        return config


@pytest.mark.parametrize(
    ("suites", "spec", "apart"),
    [
        (["facts", "prose"], {}, ["bot-e1"]),
        (["facts", "prose"], {"parallelism": 2}, ["bot-p1-1", "bot-p2-1"]),
        (["facts", "code"], {}, ["bot-p2-1"]),
        (["people", "facts"], {"parallelism": 2}, ["bot-p2-1"]),
        (["judged", "facts"], {"parallelism": 2}, ["bot-p1-1", "bot-p2-1"]),
        (["judged", "facts"], {"parallelism": 2, "limits": {"maxRequests": 9}}, ["bot-p2-1"]),
        (["people"], {"parallelism": 2}, ["bot-e1"]),
        (["facts"], {"parallelism": 2, "target": {"endpoint": ENDPOINT}, "limits": {"maxTokens": 9}}, ["bot-e1"]),
        (["load", "facts"], {"parallelism": 2, "target": {"endpoint": ENDPOINT}, "baseline": None}, ["bot-p2-1"]),
    ],
)
def test_which_suites_are_measured_apart(suites: list[str], spec: dict[str, Any], apart: list[str]) -> None:
    assert Story(job(*suites, **spec)).starts() == apart


def test_no_more_than_parallelism_at_once_then_one_attempt_joins_them() -> None:
    story = Story(job("facts", "people", "prose", "judged", parallelism=2))
    assert story.starts() == ["bot-p1-1", "bot-p3-1"]
    assert story.said == "0 of 3 parts measured; at work: facts, prose"
    assert story.job.status.phase == "Running"

    story.ends("bot-p1-1")
    assert story.starts() == ["bot-p4-1"]
    half = ProgressDocument(state="Running", samples=SampleProgress(done=1, total=2))
    story.workloads["bot-p3-1"] = ObservedWorkload("bot-p3-1", "Running", progress=half)
    story.look()
    assert story.job.status.percent == 37, "one of four suites, and half of another"
    story.ends("bot-p3-1")
    assert story.starts() == []
    story.ends("bot-p4-1")

    assert story.starts() == ["bot-e1"]
    joining = story.config("bot-e1")
    folder = f"pvc://reports/support-bot-eval-parts/{story.job.metadata.uid}"
    assert joining.parts == {each: f"{folder}/{each}/result" for each in ("facts", "prose", "judged")}
    assert [suite.name for suite in joining.suites] == ["facts", "people", "prose", "judged"]
    assert joining.part is None
    assert story.started["bot-e1"].keys == (), "the judge has been asked already"
    assert [each.variable for each in story.started["bot-p4-1"].keys] == ["TUNESMITH_KEY_JUDGE__KEY"]
    assert story.started["bot-p1-1"].keys == ()
    measured = story.config("bot-p3-1")
    assert [suite.name for suite in measured.suites] == ["prose"]
    assert measured.part == joining.parts["prose"]
    result = EvaluateResult(results=(), target=Subject(uri="pvc://models/bot"), report="pvc://reports/bot/report.html")
    done = ProgressDocument(state="Succeeded", result=result)
    story.workloads["bot-e1"] = ObservedWorkload("bot-e1", "Succeeded", progress=done)
    assert story.starts() == []
    assert (story.job.status.phase, story.job.status.verdict) == ("Succeeded", "Passed")


def test_a_part_that_is_evicted_is_tried_again_and_the_others_go_on() -> None:
    story = Story(job("facts", "prose", parallelism=2))
    story.starts()
    story.ends("bot-p1-1")
    story.fails("bot-p2-1")
    waits = story.look()
    assert (waits.status.phase, waits.ensure) == ("Recovering", ())
    assert story.said.startswith("suite prose: attempt 1 failed: it broke; the next one starts at")
    assert waits.requeue_after == timedelta(seconds=10)
    story.now += timedelta(seconds=10)
    assert story.starts() == ["bot-p2-2"], "what was measured is not measured again"
    story.ends("bot-p2-2")
    assert story.starts() == ["bot-e1"]
    # Neither are the parts when the attempt that joins them has to be another.
    story.fails("bot-e1")
    story.look()
    story.now += timedelta(seconds=10)
    assert story.starts() == ["bot-e2"]
    assert story.config("bot-e2").parts.keys() == {"facts", "prose"}


@pytest.mark.parametrize(("retryable", "attempts"), [(False, 1), (True, 2)])
def test_a_part_that_fails_for_good_ends_the_job_and_the_other_parts(retryable: bool, attempts: int) -> None:
    story = Story(job("facts", "prose", parallelism=2, runPolicy={"maxAttempts": 2}))
    story.starts()
    for number in range(1, attempts + 1):
        story.fails(f"bot-p1-{number}", retryable=retryable, reason=c.DATA_INVALID)
        story.now += timedelta(minutes=1)
        story.look()
    assert story.job.status.phase == "Failed"
    assert story.said.startswith("suite facts: it broke")
    assert "bot-p2-1" not in story.workloads, "it is stopped"


def test_all_parts_judge_the_model_that_the_first_one_was_given() -> None:
    def training(uri: str) -> dict[Any, Any]:
        tuned = fine_tune_job(status=FineTuneJobStatus(phase="Succeeded", output=PublishedModel(uri=uri)))
        return {reference(tuned): tuned}

    resource = job("facts", "prose", target={"fineTuneJob": "support-bot"}, parallelism=1)
    resource = resource.model_copy(update={"spec": resource.spec.model_copy(update={"parallelism": 2})})
    first = plan(resource, Observed(resources=training("pvc://models/one")), NOW)
    assert isinstance(first.status, EvalJobStatus)
    resource = resource.model_copy(update={"status": first.status})
    done = ProgressDocument(state="Succeeded", result=PartResult())
    ended = {each.name: ObservedWorkload(each.name, "Succeeded", progress=done) for each in first.ensure}
    joining = plan(resource, Observed(ended, training("pvc://models/other")), NOW).ensure[0]
    assert isinstance(joining.config, EvaluateRun)
    assert joining.config.target.uri == "pvc://models/one"


def test_a_model_beyond_the_reach_of_code_is_told_before_anything_starts() -> None:
    tuned = fine_tune_job(status=FineTuneJobStatus(phase="Succeeded", output=PublishedModel(uri="s3://models/bot")))
    resource = job("code", target={"fineTuneJob": "support-bot"})
    result = plan(resource, Observed(resources={reference(tuned): tuned}), NOW)
    assert result.ensure == ()
    stalled = next(each for each in result.status.conditions if each.type == c.STALLED)
    assert (stalled.status, stalled.reason) == ("True", c.SPEC_INVALID)
    assert "suite code runs code (harness.runsCode) where there is no network, and target names s3://models/bot" in (
        stalled.message
    )


def test_what_runs_code_gets_no_secrets_and_answers_of_its_own() -> None:
    story = Story(job("code", "facts", secretRefs=[{"name": "hub"}]))
    assert story.starts() == ["bot-p1-1"]
    sandbox = story.started["bot-p1-1"]
    assert (sandbox.secrets, sandbox.keys) == ((), ())
    assert story.config("bot-p1-1").sandboxed
    assert str(story.config("bot-p1-1").answers).endswith("/code/answers")
    story.ends("bot-p1-1")
    assert story.starts() == ["bot-e1"]
    assert story.started["bot-e1"].secrets == ("hub",)
    assert not story.config("bot-e1").sandboxed


def test_when_the_time_is_over_parts_are_stopped_and_none_starts() -> None:
    story = Story(job("facts", "prose", "judged", parallelism=2, runPolicy={"activeDeadlineSeconds": 60}))
    story.starts()
    story.now += timedelta(seconds=61)
    story.look()
    assert story.workloads == {}
    assert story.job.status.phase == "Failed"
    assert "activeDeadlineSeconds are 60" in story.said
