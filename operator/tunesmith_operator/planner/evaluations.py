"""The workloads of an EvalJob: the attempt that writes the report, and those that measure a suite apart."""

from collections.abc import Sequence
from dataclasses import replace

from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateRun, RunIdentity
from tunesmith_api.endpoint import SecretKey
from tunesmith_api.evaljob import Subject
from tunesmith_api.resources import EvalJob
from tunesmith_api.sandbox import not_on_volumes
from tunesmith_api.suites import EvalSuite
from tunesmith_api.uris import join
from tunesmith_operator.planner.parts import Due, measured
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Workload


def attempt(job: EvalJob, target: Subject, baseline: Subject | None, number: int, whole: EvalJob | None) -> Workload:
    """Return attempt `number`, which joins the parts; `whole` is the EvalJob that this one is a run of."""
    own = [suite for suite in job.spec.suites if suite.name not in measured(job.status)]
    made = _workload(job, _config(job, target, baseline, number, whole))
    return replace(made, name=f"{job.metadata.name}-e{number}", keys=_keys(own, target, baseline))


def part(job: EvalJob, due: Due, target: Subject, baseline: Subject | None, whole: EvalJob | None) -> Workload:
    """Return an attempt to measure one suite apart. What runs code gets no secrets, and answers of its own."""
    suite = due.part.suite
    folder = _folder(job, suite.name)
    changes: dict[str, object] = {"suites": (suite,), "gates": (), "earlier": (), "limits": None, "parts": {}}
    changes["part"] = join(folder, "result")
    if suite.runs_code:
        changes["answers"] = join(folder, "answers")
    config = _config(job, target, baseline, due.attempt, whole).model_copy(update=changes)
    made = replace(_workload(job, config), name=f"{due.part.prefix(job.metadata.name)}{due.attempt}")
    return replace(made, secrets=()) if suite.runs_code else replace(made, keys=_keys((suite,), target, baseline))


def beyond_reach(job: EvalJob, target: Subject, baseline: Subject | None) -> Situation | None:
    """Return the situation of a job with a model that a suite with code cannot reach, for want of a network."""
    named = {"target": target.uri, "the target's base": target.base}
    if baseline:
        named |= {"baseline": baseline.uri, "the baseline's base": baseline.base}
    given = {what: uri for what, uri in named.items() if uri is not None}
    problems = [each for suite in job.spec.suites if suite.runs_code for each in not_on_volumes(suite, given)]
    return Situation("blocked", c.SPEC_INVALID, "; ".join(problems)) if problems else None


def _workload(job: EvalJob, config: EvaluateRun) -> Workload:
    spec = job.spec
    return Workload(
        name="",
        namespace=job.metadata.namespace,
        resources=spec.resources,
        pod_template=spec.pod_template,
        secrets=tuple(secret.name for secret in spec.secret_refs),
        config=config,
    )


def _config(job: EvalJob, target: Subject, baseline: Subject | None, number: int, whole: EvalJob | None) -> EvaluateRun:
    spec, meta = job.spec, job.metadata
    return EvaluateRun(
        run=RunIdentity(kind="EvalJob", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=number),
        target=target,
        baseline=baseline,
        suites=spec.suites,
        gates=spec.gates,
        batch_size=spec.batch_size,
        report=spec.report,
        answers=f"{(whole or job).spec.report.uri.rstrip('/')}-answers",
        earlier=tuple(run for run in whole.status.runs if run.ended_at) if whole else (),
        limits=spec.limits,
        parts={each: join(_folder(job, each), "result") for each in measured(job.status)},
    )


def _folder(job: EvalJob, suite: str) -> str:
    """Return the folder of a part, which is this very EvalJob's."""
    return join(f"{job.spec.report.uri.rstrip('/')}-parts", job.metadata.uid or "run", suite)


def _keys(suites: Sequence[EvalSuite], *subjects: Subject | None) -> tuple[SecretKey, ...]:
    """Return the keys of the endpoints that are asked, those of judges among them."""
    endpoints = [each.endpoint for each in subjects if each and each.endpoint]
    endpoints += [judge for each in suites for judge in each.judges]
    return tuple(dict.fromkeys(each.api_key_secret_ref for each in endpoints if each.api_key_secret_ref))
