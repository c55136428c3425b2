"""What a job was started with stays: the server refuses to change it, and where it cannot, the operator does."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.crds.fields import ABSENT
from tests.crds.server import Complaint, Server
from tests.crds.whole import whole
from tunesmith_api.base import Kind
from tunesmith_api.immutability import IMMUTABLE_ONCE_STARTED, fingerprints
from tunesmith_api.resources import EvalJob, FineTuneJob, parse
from tunesmith_operator.planner import Observed, plan

Object = dict[str, Any]

# A field of the spec is put in, taken out or replaced by another value.
OTHER: dict[str, Any] = {
    "model": {"uri": "pvc://models/other"},
    "data": {"train": [{"name": "other", "uri": "pvc://data/other.jsonl", "format": "text"}]},
    "method": {"type": "sft", "adapter": {"type": "full"}},
    "training": {"learningRate": 0.5},
    "deepspeed": {"zeroStage": 1},
    "evaluation": {"suites": [{"name": "other", "perplexity": {"uri": "pvc://data/other.jsonl"}}]},
    "tuning": {"parameters": [{"name": "training.weightDecay", "uniform": {"min": 0.1, "max": 0.5}}]},
    "checkpoints": {"everySteps": 7},
    "output": {"uri": "pvc://models/elsewhere"},
    "target": {"fineTuneJob": "other"},
    "baseline": {"fineTuneJob": "other"},
    "suites": [{"name": "other", "golden": {"uri": "pvc://data/other.jsonl"}}],
    "gates": [{"metric": "facts/f1", "min": 0.5}],
    "batchSize": 1,
    "parallelism": 2,
    "limits": {"maxRequests": 7},
    "report": {"uri": "pvc://reports/elsewhere"},
    "workers": 7,
    "backend": "native",
    "queue": {"gang": "volcano"},
    "resources": {"gpu": 2},
    "podTemplate": {"labels": {"team": "other"}},
    "secretRefs": [{"name": "other"}],
    "runPolicy": {"maxAttempts": 9},
}
FIXED = [(kind, name) for kind, names in IMMUTABLE_ONCE_STARTED.items() for name in names]
FREE = [
    (kind, name)
    for kind, names in IMMUTABLE_ONCE_STARTED.items()
    for name in whole(kind)[0]["spec"]
    if name not in names
]
OPTIONAL = [("FineTuneJob", "deepspeed"), ("EvalJob", "baseline")]
STARTED = ["Running", "Recovering", "Succeeded", "Failed"]


def message(kind: Kind, name: str) -> str:
    return f"spec.{name} cannot change once the {kind} has started; delete it and create it again"


class Jobs:
    """Jobs on the server, by kind and phase."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: dict[tuple[Kind, str], Object] = {}

    def job(self, kind: Kind, phase: str) -> Object:
        """Return the job of that phase as the server holds it; without a phase, it has no status yet."""
        if (kind, phase) not in self._made:
            name = f"in-phase-{phase.lower() or 'none'}"
            job = {**whole(kind)[0], "metadata": {"name": name, "namespace": "default"}}
            self._server.delete(job)
            answer = self._server.create(job, dry=False)
            assert answer.accepted, answer.message
            if phase:
                answer = self._server.update_status(answer.body | {"status": {"phase": phase}}, dry=False)
                assert answer.accepted, answer.message
            self._made[kind, phase] = answer.body
        return copy.deepcopy(self._made[kind, phase])

    def delete(self) -> None:
        for job in self._made.values():
            self._server.delete(job)


@pytest.fixture(scope="module")
def jobs(server: Server) -> Iterator[Jobs]:
    """Jobs that have and have not started."""
    made = Jobs(server)
    yield made
    made.delete()


def changed(job: Object, name: str, value: Any) -> Object:
    """Return a job with another value in a field of its spec."""
    spec = {key: each for key, each in job["spec"].items() if key != name}
    return job | {"spec": spec if value is ABSENT else spec | {name: value}}


@pytest.mark.parametrize(("kind", "name"), FIXED)
@pytest.mark.parametrize("phase", STARTED)
def test_a_started_job_keeps_what_it_was_started_with(
    server: Server, jobs: Jobs, kind: Kind, name: str, phase: str
) -> None:
    answer = server.update(changed(jobs.job(kind, phase), name, OTHER[name]))
    assert answer.code == 422
    assert Complaint(f"spec.{name}", f"Invalid value: {message(kind, name)}") in answer.complaints


@pytest.mark.parametrize(("kind", "name"), OPTIONAL)
def test_a_started_job_keeps_what_it_has_and_gets_nothing_new(
    server: Server, jobs: Jobs, kind: Kind, name: str
) -> None:
    refused = Complaint(f"spec.{name}", f"Invalid value: {message(kind, name)}")
    assert refused in server.update(changed(jobs.job(kind, "Running"), name, ABSENT)).complaints

    bare = changed(whole(kind)[0], name, ABSENT) | {"metadata": {"name": "without", "namespace": "default"}}
    server.delete(bare)
    stored = server.create(bare, dry=False).body
    running = server.update_status(stored | {"status": {"phase": "Running"}}, dry=False).body
    assert refused in server.update(changed(running, name, OTHER[name])).complaints
    server.delete(bare)


@pytest.mark.parametrize(("kind", "name"), FIXED)
@pytest.mark.parametrize("phase", ["", "Pending", "Suspended"])  # without an attempt it was suspended from the start
def test_a_job_that_has_not_started_may_change(server: Server, jobs: Jobs, kind: Kind, name: str, phase: str) -> None:
    job = jobs.job(kind, phase)
    if name == "suites":
        job = changed(job, "gates", [])
    answer = server.update(changed(job, name, OTHER[name]))
    assert answer.accepted, answer.message


@pytest.mark.parametrize(("kind", "name"), FREE)
def test_the_rest_of_a_started_job_may_change(server: Server, jobs: Jobs, kind: Kind, name: str) -> None:
    answer = server.update(changed(jobs.job(kind, "Running"), name, OTHER[name]))
    assert answer.accepted, answer.message


def test_one_with_a_schedule_may_change_between_its_runs_and_during_them(server: Server) -> None:
    nightly = next(each for each in whole("EvalJob") if "schedule" in each["spec"])
    nightly = nightly | {"metadata": {"name": "nightly", "namespace": "default"}}
    server.delete(nightly)
    stored = server.create(nightly, dry=False).body
    running = server.update_status(stored | {"status": {"phase": "Running"}}, dry=False).body
    answer = server.update(changed(running, "batchSize", 7))
    assert answer.accepted, answer.message
    server.delete(nightly)


@pytest.mark.parametrize("kind", list(IMMUTABLE_ONCE_STARTED))
def test_a_started_job_as_it_is_and_its_status_may_be_written(server: Server, jobs: Jobs, kind: Kind) -> None:
    job = jobs.job(kind, "Running")
    assert server.update(job).accepted
    assert server.update(job | {"metadata": job["metadata"] | {"labels": {"team": "support"}}}).accepted
    assert server.update_status(job | {"status": {"phase": "Succeeded"}}).accepted


@pytest.mark.parametrize(("kind", "name"), FIXED)
def test_where_the_server_takes_the_change_the_operator_refuses_it_in_the_same_words(kind: Kind, name: str) -> None:
    manifest = changed(whole(kind)[0], "runPolicy", ABSENT)  # which would suspend or end it
    if name == "tuning":  # trials train by themselves
        manifest = changed(manifest, "deepspeed", ABSENT)
    started, other = parse(manifest), parse(changed(manifest, name, OTHER[name]))
    assert isinstance(started, FineTuneJob | EvalJob)
    running = {"phase": "Running", "started_with": fingerprints(started)}
    told = plan(
        other.model_copy(update={"status": started.status.model_copy(update=running)}), Observed(), datetime.now(UTC)
    )
    (stalled,) = (each for each in told.status.conditions if each.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "SpecChanged")
    assert stalled.message.startswith(message(kind, name))
