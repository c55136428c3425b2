"""The planner over all states: it never raises, terminal states latch, and planning what is planned changes nothing."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api import conditions as c
from tunesmith_api.contract import (
    EvaluateResult,
    EvaluateRun,
    PartResult,
    ProgressDocument,
    RunFailure,
    SampleProgress,
    TrainResult,
)
from tunesmith_api.evaljob import RUN_OF_LABEL, EvalJobStatus, EvaluationPart, EvaluationRun, MetricResult, Subject
from tunesmith_api.finetunejob import (
    AttemptRecord,
    CheckpointRecord,
    FineTuneJobStatus,
    PublishedModel,
    TrainingProgress,
)
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource, reference
from tunesmith_operator.planner import AnyPlan, Observed, ObservedWorkload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

times = st.integers(-7200, 7200).map(lambda seconds: NOW + timedelta(seconds=seconds))
models = st.sampled_from(
    [
        PublishedModel(uri="pvc://models/support-bot", digest="sha256:aa", adapter=True),
        PublishedModel(uri="pvc://models/support-bot", digest="sha256:bb"),
        PublishedModel(uri="pvc://models/other"),
    ]
)
subjects = models.map(lambda model: Subject(**dict(model)))
failures = st.builds(
    RunFailure,
    reason=st.sampled_from([c.DATA_INVALID, c.STORAGE_FULL, c.CRASHED]),
    message=st.just("it broke"),
    retryable=st.booleans(),
)
results = st.one_of(
    st.builds(TrainResult, model=models),
    st.just(PartResult()),
    st.builds(
        EvaluateResult,
        results=st.lists(
            st.builds(
                MetricResult,
                metric=st.sampled_from(["facts/f1", "facts/exactMatch", "gone/f1"]),
                value=st.floats(0, 1),
                baseline=st.none() | st.floats(0, 1),
                n=st.integers(0, 9),
            ),
            max_size=3,
        ).map(tuple),
        target=subjects,
        problems=st.sampled_from([(), ("facts: the endpoint does not answer",)]),
        report=st.just("pvc://reports/x"),
    ),
)
progress = st.builds(
    ProgressDocument,
    state=st.sampled_from(["Starting", "Running", "Succeeded", "Failed"]),
    training=st.none() | st.builds(TrainingProgress, step=st.integers(0, 100), total_steps=st.integers(0, 100)),
    checkpoint=st.none() | st.just(CheckpointRecord(step=1, uri="pvc://x/y")),
    best=st.none() | st.just(CheckpointRecord(step=1, uri="pvc://x/y")),
    ending=st.none() | st.just("stopped early at step 9"),
    samples=st.none() | st.builds(SampleProgress, done=st.integers(0, 9), total=st.integers(0, 9)),
    resumed_from_step=st.none() | st.integers(0, 9),
    failure=st.none() | failures,
    result=st.none() | results,
)
NAMES = (
    "support-bot-a1",
    "support-bot-a2",
    "support-bot-eval-e1",
    "support-bot-eval-e2",
    "support-bot-eval-p1-1",
    "support-bot-eval-p2-1",
    "support-bot-eval-p2-2",
    "support-bot-eval-p3-1",
    "support-bot-v1",
    "stray",
)
GOLDEN = {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}
APART = {
    "target": {"uri": "pvc://models/support-bot"},
    "suites": [
        {"name": "facts", "golden": GOLDEN},
        {"name": "code", "harness": {"tasks": ["sums"], "runsCode": True}},
        {"name": "more", "golden": GOLDEN},
    ],
}
workloads = st.builds(
    ObservedWorkload,
    name=st.sampled_from(NAMES),
    state=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Interrupted"]),
    message=st.sampled_from(["", "exit code 1"]),
    progress=st.none() | progress,
    ended_at=st.none() | times,
    ready=st.booleans(),
    url=st.none() | st.just("http://127.0.0.1:8000"),
)


def _labelled(job: EvalJob, labels: dict[str, str]) -> EvalJob:
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"labels": labels})})


def attempt_lists(prefix: str, letter: str) -> st.SearchStrategy[tuple[AttemptRecord, ...]]:
    record = st.builds(
        AttemptRecord,
        number=st.integers(1, 3),
        workload=st.integers(1, 3).map(lambda number: f"{prefix}-{letter}{number}"),
        started_at=times,
        ended_at=st.none() | times,
        reason=st.sampled_from([None, c.INTERRUPTED, c.CRASHED, c.COMPLETED]),
    )
    return st.lists(record, max_size=4).map(tuple)


phases = st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])
fine_tune_jobs = st.builds(
    lambda name, base, status: fine_tune_job(name=name, model={"uri": base}, status=status),
    st.sampled_from(["support-bot", "general"]),
    st.sampled_from(["hf://org/base", "finetunejob://general", "finetunejob://support-bot", "finetunejob://none"]),
    st.builds(FineTuneJobStatus, phase=phases, attempts=attempt_lists("support-bot", "a"), output=st.none() | models),
)
runs = st.lists(
    st.builds(
        EvaluationRun,
        number=st.integers(1, 4),
        name=st.integers(1, 4).map(lambda number: f"support-bot-eval-r{number}"),
        started_at=times,
        ended_at=st.none() | times,
        checkpoint=st.none() | st.integers(0, 2),
        verdict=st.sampled_from([None, "Passed", "Failed"]),
    ),
    max_size=3,
    unique_by=lambda run: run.number,
).map(lambda found: tuple(sorted(found, key=lambda run: run.number)))
parts = st.lists(
    st.sampled_from([("facts", 1), ("code", 2), ("more", 3), ("gone", 4)]).flatmap(
        lambda part: st.builds(
            EvaluationPart, suite=st.just(part[0]), attempts=attempt_lists(f"support-bot-eval-p{part[1]}", "")
        )
    ),
    max_size=4,
    unique_by=lambda part: part.suite,
).map(tuple)
eval_jobs = st.builds(
    lambda name, spec, labels, status: _labelled(eval_job(name=name, status=status, **spec), labels),
    st.sampled_from(["support-bot-eval", "support-bot-eval", "support-bot-eval-r1", "support-bot-eval-r2"]),
    st.sampled_from(
        [
            {},
            {"gates": [{"metric": "facts/f1", "min": 0.5}]},
            APART,
            {**APART, "parallelism": 2},
            {**APART, "parallelism": 8, "runPolicy": {"activeDeadlineSeconds": 60, "maxAttempts": 1}},
            {"schedule": "*/30 * * * *", "historyLimit": 1},
            {"target": {"fineTuneJob": "support-bot", "checkpoint": "each"}},
            {"target": {"fineTuneJob": "support-bot", "checkpoint": "best"}},
            {"target": {"modelServe": "support-bot"}},
            {"target": {"uri": "pvc://models/base", "adapter": "finetunejob://support-bot"}},
        ]
    ),
    st.sampled_from([{}, {RUN_OF_LABEL: "support-bot-eval"}]),
    st.builds(
        EvalJobStatus,
        phase=phases,
        verdict=st.sampled_from([None, "Passed", "Failed", "Inconclusive"]),
        attempts=attempt_lists("support-bot-eval", "e"),
        target=st.none() | subjects,
        runs=runs,
        parts=st.just(()) | parts,
    ),
)
model_serves = st.builds(
    lambda requires, status: model_serve(requires=requires, status=status),
    st.sampled_from([[], [{"evalJob": "support-bot-eval"}], [{"evalJob": "none"}]]),
    st.builds(ModelServeStatus, revision=st.integers(0, 2), serving=st.none() | models),
)
resources = st.one_of(fine_tune_jobs, eval_jobs, model_serves)


@st.composite
def worlds(draw: st.DrawFn) -> Observed:
    seen = draw(st.lists(workloads, max_size=4))
    there = draw(st.lists(resources, max_size=4))
    return Observed(workloads={each.name: each for each in seen}, resources={reference(each): each for each in there})


def planned(resource: Resource, observed: Observed) -> Resource:
    return resource.model_copy(update={"status": plan(resource, observed, NOW).status})


@given(resources, worlds())
@settings(max_examples=400)
def test_every_state_has_a_plan_that_can_be_written(resource: Resource, observed: Observed) -> None:
    result = plan(resource, observed, NOW)
    written = result.status.model_dump_json(by_alias=True, exclude_none=True)
    assert type(result.status).model_validate_json(written) == result.status
    assert result.requeue_after is None or result.requeue_after > timedelta(0)


def carried_out(result: AnyPlan, observed: Observed) -> Observed:
    started = {each.name: ObservedWorkload(each.name, "Pending") for each in result.ensure}
    kept = {name: each for name, each in observed.workloads.items() if name not in result.stop}
    created = {reference(each): each for each in result.create}
    left = {each: there for each, there in observed.resources.items() if each.name not in result.retire}
    return Observed(workloads=started | kept, resources=left | created)


@given(resources, worlds())
@settings(max_examples=400)
def test_planning_the_planned_state_changes_nothing(resource: Resource, observed: Observed) -> None:
    settled, after = resource, observed
    for _ in range(3):  # what is planned is started; an attempt that has ended already may be followed by another
        result = plan(settled, after, NOW)
        settled, after = planned(settled, after), carried_out(result, after)
    again = plan(settled, after, NOW)
    assert again.status == settled.status
    assert again.events == ()
    assert again.stop == ()
    assert all(workload.name in after.workloads for workload in again.ensure)
    assert (again.create, again.retire) == ((), ())


@given(st.one_of(fine_tune_jobs, eval_jobs), worlds(), worlds())
def test_terminal_states_latch(resource: FineTuneJob | EvalJob, observed: Observed, later: Observed) -> None:
    ended = planned(resource, observed)
    assert not isinstance(ended, ModelServe)
    if ended.status.phase in {"Succeeded", "Failed"}:
        result = plan(ended, later, NOW + timedelta(days=1))
        assert result.status == ended.status
        assert (result.ensure, result.events, result.requeue_after, result.delete) == ((), (), None, False)
        assert (result.create, result.retire) == ((), ())
        assert result.stop == tuple(sorted(name for name, each in later.workloads.items() if each.alive))


@given(eval_jobs, worlds())
@settings(max_examples=400)
def test_parts_and_the_attempt_that_joins_them_never_run_together(job: EvalJob, observed: Observed) -> None:
    result = plan(job, observed, NOW)
    assert isinstance(result.status, EvalJobStatus)
    apart = [each for each in result.ensure if "-p" in each.name]
    at_work = {name for name, each in observed.workloads.items() if each.alive} | {each.name for each in result.ensure}
    if apart:
        assert len(apart) <= job.spec.parallelism
        assert all("-p" in name for name in at_work)
        assert len(at_work) <= max(job.spec.parallelism, sum(each.alive for each in observed.workloads.values()))
    for each in result.ensure:
        assert isinstance(each.config, EvaluateRun)
        if each not in apart:
            assert at_work == {each.name}
            measured = {part.suite for part in result.status.parts if part.attempts[-1:] and part.attempts[-1].ended_at}
            assert each.config.parts.keys() <= measured
        if any(suite.runs_code for suite in each.config.suites if suite.name not in each.config.parts):
            # What is recorded may have been edited; then the runtime itself refuses.
            assert each.config.sandboxed or job.status.attempts or "support-bot-eval-e" in str(observed.workloads)
            assert (each.secrets, each.keys) == ((), ())


@given(model_serves, worlds())
def test_nothing_new_is_served_before_its_gates_have_passed(serve: ModelServe, observed: Observed) -> None:
    result = plan(serve, observed, NOW)
    assert isinstance(result.status, ModelServeStatus)
    if result.status.revision > serve.status.revision:
        for requirement in serve.spec.requires:
            job = observed.resources[reference(eval_job(name=requirement.eval_job))]
            assert isinstance(job, EvalJob)
            assert job.status.verdict == "Passed"
