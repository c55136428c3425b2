"""FineTuneJob, EvalJob, ModelServe: who waits for whom, and what each says."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api import conditions as c
from tunesmith_api.contract import (
    EvaluateResult,
    EvaluateRun,
    ProgressDocument,
    RunFailure,
    ServeRun,
    TrainResult,
    TrainRun,
)
from tunesmith_api.evaljob import EvalJobStatus, MetricResult, Subject
from tunesmith_api.finetunejob import (
    AttemptRecord,
    CheckpointRecord,
    CheckpointStatus,
    FineTuneJobStatus,
    MetricValue,
    PublishedModel,
    TrainingProgress,
)
from tunesmith_api.meta import Condition
from tunesmith_api.resources import EvalJob, FineTuneJob, Resource, reference
from tunesmith_operator.planner import AnyPlan, Observed, ObservedWorkload, plan
from tunesmith_operator.storage import claims_of

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MODEL = PublishedModel(uri="pvc://models/support-bot", digest="sha256:aa", adapter=True)


def conditions(result: AnyPlan) -> dict[str, Condition]:
    return {each.type: each for each in result.status.conditions}


def observing(*workloads: ObservedWorkload, resources: tuple[Resource, ...] = ()) -> Observed:
    return Observed(
        workloads={each.name: each for each in workloads}, resources={reference(each): each for each in resources}
    )


def running_job(*, attempts: int = 1, **spec: Any) -> FineTuneJob:
    records = tuple(
        AttemptRecord(
            number=number,
            workload=f"support-bot-a{number}",
            started_at=NOW,
            ended_at=NOW if number < attempts else None,
            reason=c.CRASHED if number < attempts else None,
        )
        for number in range(1, attempts + 1)
    )
    return fine_tune_job(status=FineTuneJobStatus(phase="Running", attempts=records), **spec)


def training(**progress: Any) -> ObservedWorkload:
    return ObservedWorkload("support-bot-a1", "Running", progress=ProgressDocument(state="Running", **progress))


def succeeded_job() -> FineTuneJob:
    return fine_tune_job(status=FineTuneJobStatus(phase="Succeeded", output=MODEL))


def judged(verdict: str, target: PublishedModel = MODEL, parts: int = 0) -> EvalJob:
    results = (
        MetricResult(metric="facts/f1", value=0.2, baseline=0.2, delta=0.0, n=20),
        *(MetricResult(metric=f"facts/part-{number}/f1", value=0.2, n=20) for number in range(parts)),
    )
    observed = observing(
        ObservedWorkload(
            "support-bot-eval-a1",
            "Succeeded",
            progress=ProgressDocument(
                state="Succeeded",
                result=EvaluateResult(results=results, target=Subject(**dict(target)), report="pvc://reports/x"),
            ),
        )
    )
    gates = [{"metric": "facts/f1", "min": 0.0 if verdict == "Passed" else 0.9}]
    record = AttemptRecord(number=1, workload="support-bot-eval-a1", started_at=NOW)
    job = eval_job(gates=gates, status=EvalJobStatus(phase="Running", attempts=(record,)))
    return job.model_copy(update={"status": plan(job, observed, NOW).status})


def test_a_new_job_starts_its_first_attempt() -> None:
    result = plan(fine_tune_job(), Observed(), NOW)

    (workload,) = result.ensure
    assert workload.name == "support-bot-a1"
    assert isinstance(workload.config, TrainRun)
    assert workload.config.checkpoints.uri == "pvc://models/support-bot-checkpoints/uid-support-bot"
    assert result.status.phase == "Running"
    assert conditions(result)[c.RECONCILING].reason == c.STARTING


def test_progress_reaches_the_status() -> None:
    progress = ProgressDocument(
        state="Running",
        training=TrainingProgress(step=40, total_steps=100, percent=40, loss=1.5),
        checkpoint=CheckpointRecord(step=20, uri="pvc://models/x/checkpoint-20"),
        resumed_from_step=20,
    )
    result = plan(running_job(), observing(ObservedWorkload("support-bot-a1", "Running", progress=progress)), NOW)

    assert isinstance(result.status, FineTuneJobStatus)
    assert result.status.progress == progress.training
    assert result.status.checkpoints is not None
    assert result.status.checkpoints.latest == progress.checkpoint
    assert result.status.checkpoints.best is None
    assert (result.status.attempts[0].from_step, result.status.attempts[0].to_step) == (20, 40)
    assert result.ensure == ()


def test_the_best_checkpoint_stays_known() -> None:
    best = CheckpointRecord(
        step=20, uri="pvc://models/x/checkpoint-20", metrics=(MetricValue(metric="evalLoss", value=1.5),)
    )
    job = running_job(evaluation={"suites": [{"name": "fresh", "perplexity": {"uri": "pvc://news/fresh.jsonl"}}]})
    first = plan(job, observing(training(best=best)), NOW)
    later = CheckpointRecord(step=30, uri="pvc://models/x/checkpoint-30")
    second = plan(job.model_copy(update={"status": first.status}), observing(training(checkpoint=later)), NOW)

    assert isinstance(second.status, FineTuneJobStatus)
    assert second.status.checkpoints == CheckpointStatus(latest=later, best=best)


def test_a_runs_suites_are_on_its_volumes() -> None:
    suites = [{"name": "fresh", "perplexity": {"uri": "pvc://news/fresh.jsonl"}}]
    (workload,) = plan(fine_tune_job(evaluation={"suites": suites}), Observed(), NOW).ensure
    assert "news" in claims_of(workload)


def test_an_encoder_is_on_a_volume_and_what_only_looks_like_a_uri_is_not() -> None:
    golden = {
        "uri": "pvc://data/x.jsonl",
        "metrics": ["similarity", "regex", "jsonSchema"],
        "embeddingModel": "pvc://encoders/small",
        "regex": "pvc://[a-z]+/.*",
        "template": "pvc://template/{{ prompt }}",
        "jsonSchema": {"enum": ["pvc://schema/a"]},
    }
    classification = {"uri": "pvc://mail/x.jsonl", "labels": ["pvc://label", "b"]}
    suites = [{"name": "facts", "golden": golden}, {"name": "mail", "classification": classification}]
    job = eval_job(suites=suites, gates=[], target={"uri": "pvc://models/bot"}, report={"uri": "pvc://reports/x"})
    (workload,) = plan(job, Observed(), NOW).ensure
    assert claims_of(workload) == ("data", "encoders", "mail", "models", "reports")


def test_the_condition_says_why_a_run_ended_early() -> None:
    ending = "stopped early at step 300: evalLoss has not improved for 3 evaluations"
    progress = ProgressDocument(state="Succeeded", result=TrainResult(model=MODEL), ending=ending)
    result = plan(running_job(), observing(ObservedWorkload("support-bot-a1", "Succeeded", progress=progress)), NOW)
    assert conditions(result)[c.SUCCEEDED].message == f"the model is published at {MODEL.uri}; {ending}"


def test_a_published_model_ends_the_job() -> None:
    progress = ProgressDocument(state="Succeeded", result=TrainResult(model=MODEL))
    result = plan(running_job(), observing(ObservedWorkload("support-bot-a1", "Succeeded", progress=progress)), NOW)

    assert result.status.phase == "Succeeded"
    assert isinstance(result.status, FineTuneJobStatus)
    assert result.status.output == MODEL
    assert conditions(result)[c.SUCCEEDED].status == "True"
    assert conditions(result)[c.RECONCILING].status == "False"


def test_a_crash_is_tried_again_after_a_delay() -> None:
    crashed = ObservedWorkload("support-bot-a1", "Failed", message="killed by SIGKILL", ended_at=NOW)
    first = plan(running_job(), observing(crashed), NOW)

    assert first.ensure == ()
    assert first.requeue_after == timedelta(seconds=10)
    assert conditions(first)[c.RECONCILING].reason == c.RETRYING
    assert "killed by SIGKILL" in conditions(first)[c.RECONCILING].message
    assert [event.type for event in first.events] == ["Warning"]

    job = running_job().model_copy(update={"status": first.status})
    second = plan(job, observing(crashed), NOW + timedelta(seconds=10))
    assert [workload.name for workload in second.ensure] == ["support-bot-a2"]


def test_the_last_attempt_that_fails_ends_the_job() -> None:
    job = running_job(attempts=3)
    result = plan(job, observing(ObservedWorkload("support-bot-a3", "Failed", message="exit code 1")), NOW)

    assert result.status.phase == "Failed"
    assert conditions(result)[c.FAILED].message == "exit code 1 (attempt 3 of 3)"


def test_bad_input_is_not_tried_again() -> None:
    failure = RunFailure(reason=c.DATA_INVALID, message="pvc://data/x.jsonl: line 3 is not JSON", retryable=False)
    progress = ProgressDocument(state="Failed", failure=failure)
    result = plan(running_job(), observing(ObservedWorkload("support-bot-a1", "Failed", progress=progress)), NOW)

    assert result.status.phase == "Failed"
    assert conditions(result)[c.STALLED].status == "True"
    assert conditions(result)[c.FAILED].reason == c.DATA_INVALID
    assert conditions(result)[c.FAILED].message == failure.message


def test_an_interruption_does_not_count_and_does_not_wait() -> None:
    job = running_job(attempts=3)
    result = plan(job, observing(ObservedWorkload("support-bot-a3", "Interrupted", ended_at=NOW)), NOW)

    assert [workload.name for workload in result.ensure] == ["support-bot-a4"]
    assert result.status.phase == "Running"


def test_a_base_model_of_another_job_is_waited_for() -> None:
    job = fine_tune_job(model={"uri": "finetunejob://general"})
    missing = plan(job, Observed(), NOW)
    assert missing.status.phase == "Pending"
    assert conditions(missing)[c.RECONCILING].reason == c.REFERENCE_NOT_FOUND
    assert "FineTuneJob general, which does not exist" in conditions(missing)[c.RECONCILING].message

    general = fine_tune_job(name="general", status=FineTuneJobStatus(phase="Succeeded", output=MODEL))
    there = plan(job, observing(resources=(general,)), NOW)
    config = there.ensure[0].config
    assert isinstance(config, TrainRun)
    assert config.model == MODEL.uri


def test_a_cycle_of_base_models_is_refused() -> None:
    one = fine_tune_job(name="one", model={"uri": "finetunejob://two"})
    two = fine_tune_job(name="two", model={"uri": "finetunejob://one"})
    result = plan(one, observing(resources=(one, two)), NOW)

    assert result.ensure == ()
    assert conditions(result)[c.STALLED].reason == c.REFERENCE_CYCLE
    assert "one -> two -> one" in conditions(result)[c.STALLED].message


def test_an_evaluation_waits_for_the_job_it_names() -> None:
    waiting = plan(eval_job(), observing(resources=(running_job(),)), NOW)
    assert waiting.status.phase == "Pending"
    assert conditions(waiting)[c.RECONCILING].message == "waits for FineTuneJob support-bot to succeed"

    started = plan(eval_job(), observing(resources=(succeeded_job(),)), NOW)
    config = started.ensure[0].config
    assert isinstance(config, EvaluateRun)
    assert config.target == Subject(**dict(MODEL))


def test_the_keys_and_labels_of_a_judge_come_into_the_pod() -> None:
    endpoint = {"url": "http://judge/v1", "model": "wise", "apiKeySecretRef": {"name": "judge", "key": "token"}}
    judge = {"uri": "pvc://data/q.jsonl", "endpoint": endpoint, "humanLabels": "pvc://labels/said.jsonl"}
    suites = [{"name": "good", "judge": judge}, {"name": "kind", "judge": judge}]
    (workload,) = plan(eval_job(target={"uri": "pvc://models/bot"}, suites=suites), Observed(), NOW).ensure
    assert [(each.name, each.key) for each in workload.keys] == [("judge", "token")]
    assert {"data", "labels"} <= set(claims_of(workload))


def test_the_key_classifier_and_lists_of_a_safety_suite_come_into_the_pod() -> None:
    endpoint = {"url": "http://judge/v1", "model": "wise", "apiKeySecretRef": {"name": "judge", "key": "token"}}
    judged = {"refusal": {"harmful": "pvc://harmful/q.jsonl", "judge": {"endpoint": endpoint}}}
    by_words = {"toxicity": {"prompts": ["pvc://prompt/a"], "wordLists": ["pvc://words/bad.txt"]}}
    labels = {"classifier": "pvc://classifiers/toxic", "toxicLabels": ["pvc://label"]}
    by_classifier = {"toxicity": {"uri": "pvc://asked/q.jsonl", **labels}}
    suites = [{"name": f"s{number}", "safety": each} for number, each in enumerate((judged, by_words, by_classifier))]
    job = eval_job(suites=suites, gates=[], target={"uri": "pvc://models/bot"}, report={"uri": "pvc://reports/x"})
    (workload,) = plan(job, Observed(), NOW).ensure
    assert [(each.name, each.key) for each in workload.keys] == [("judge", "token")]
    assert claims_of(workload) == ("asked", "classifiers", "harmful", "models", "reports", "words")


def test_an_evaluation_of_a_failed_job_says_why() -> None:
    failed = plan(running_job(attempts=3), observing(ObservedWorkload("support-bot-a3", "Failed", message="boom")), NOW)
    job = running_job().model_copy(update={"status": failed.status})
    result = plan(eval_job(), observing(resources=(job,)), NOW)

    assert conditions(result)[c.STALLED].reason == c.REFERENCE_FAILED
    assert "boom" in conditions(result)[c.STALLED].message


def test_a_status_holds_as_many_results_as_it_has_room_for() -> None:
    job = judged("Passed", parts=300)
    assert job.status.verdict == "Passed"
    assert len(job.status.results) == 256
    assert job.status.results[0].metric == "facts/f1"


def test_a_missed_gate_names_the_metric_and_by_how_much() -> None:
    job = judged("Failed")

    assert job.status.verdict == "Failed"
    passed = next(each for each in job.status.conditions if each.type == c.PASSED)
    assert (passed.status, passed.reason) == ("False", c.GATE_FAILED)
    assert passed.message == "facts/f1 is 0.2 and misses min 0.9, short by 0.7"


def test_a_server_waits_for_the_verdict() -> None:
    serve = model_serve(requires=[{"evalJob": "support-bot-eval"}])
    waiting = plan(serve, observing(resources=(succeeded_job(), eval_job())), NOW)

    assert waiting.ensure == ()
    assert conditions(waiting)[c.RECONCILING].message == "waits for the verdict of EvalJob support-bot-eval"


def test_a_server_stays_down_behind_a_failed_gate() -> None:
    serve = model_serve(requires=[{"evalJob": "support-bot-eval"}])
    result = plan(serve, observing(resources=(succeeded_job(), judged("Failed"))), NOW)

    assert result.ensure == ()
    assert conditions(result)[c.STALLED].reason == c.GATE_FAILED
    assert "facts/f1 is 0.2 and misses min 0.9, short by 0.7" in conditions(result)[c.READY].message


def test_a_server_starts_behind_a_passed_gate_and_is_ready_when_it_answers() -> None:
    serve = model_serve(requires=[{"evalJob": "support-bot-eval"}])
    resources = (succeeded_job(), judged("Passed"))
    started = plan(serve, observing(resources=resources), NOW)
    assert [workload.name for workload in started.ensure] == ["support-bot-v1"]
    assert isinstance(started.ensure[0].config, ServeRun)

    serve = serve.model_copy(update={"status": started.status})
    server = ObservedWorkload("support-bot-v1", "Running", ready=True, ready_replicas=1, url="http://127.0.0.1:8000")
    ready = plan(serve, observing(server, resources=resources), NOW)
    assert ready.status.phase == "Ready"
    assert conditions(ready)[c.READY].message == "revision 1 answers at http://127.0.0.1:8000"


def test_a_verdict_on_another_model_does_not_count() -> None:
    serve = model_serve(requires=[{"evalJob": "support-bot-eval"}])
    other = judged("Passed", target=MODEL.model_copy(update={"digest": "sha256:bb"}))
    result = plan(serve, observing(resources=(succeeded_job(), other)), NOW)

    assert result.ensure == ()
    assert conditions(result)[c.STALLED].reason == c.EVALUATED_OTHER_MODEL


def test_what_is_served_goes_on_while_the_next_model_is_not_ready() -> None:
    server = ObservedWorkload("support-bot-v1", "Running", ready=True, ready_replicas=1, url="http://127.0.0.1:8000")
    serve = model_serve()
    served = plan(serve, observing(server, resources=(succeeded_job(),)), NOW)
    serve = serve.model_copy(update={"status": served.status})
    result = plan(serve, observing(server, resources=(running_job(),)), NOW)

    assert [workload.name for workload in result.ensure] == ["support-bot-v1"]
    assert conditions(result)[c.READY].status == "True"
    assert conditions(result)[c.RECONCILING].reason == c.WAITING_FOR_FINE_TUNE_JOB


def test_on_one_port_another_revision_starts_when_the_old_one_has_stopped() -> None:
    old = ObservedWorkload("support-bot-v1", "Running", ready=True, ready_replicas=1, url="http://127.0.0.1:8000")
    serve = model_serve()
    serve = serve.model_copy(update={"status": plan(serve, observing(old, resources=(succeeded_job(),)), NOW).status})
    newer = fine_tune_job(
        status=FineTuneJobStatus(phase="Succeeded", output=MODEL.model_copy(update={"digest": "sha256:cc"}))
    )
    stopping = plan(serve, observing(old, resources=(newer,)), NOW)
    assert ([workload.name for workload in stopping.ensure], stopping.stop) == ([], ("support-bot-v1",))

    serve = serve.model_copy(update={"status": stopping.status})
    starting = plan(serve, observing(resources=(newer,)), NOW)
    assert [workload.name for workload in starting.ensure] == ["support-bot-v2"]


def test_a_taken_port_is_said_and_not_tried_again() -> None:
    serve = model_serve()
    serve = serve.model_copy(update={"status": plan(serve, observing(resources=(succeeded_job(),)), NOW).status})
    failure = RunFailure(reason=c.PORT_TAKEN, message="port 8000 on 127.0.0.1 is taken", retryable=False)
    server = ObservedWorkload("support-bot-v1", "Failed", progress=ProgressDocument(state="Failed", failure=failure))
    result = plan(serve, observing(server, resources=(succeeded_job(),)), NOW)

    assert result.status.phase == "Failed"
    assert conditions(result)[c.STALLED].reason == c.PORT_TAKEN
