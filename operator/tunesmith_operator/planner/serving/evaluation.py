"""The EvalJobs of a rollout: created from a template for the new revision's own endpoint, and what they say."""

from typing import Any

from tunesmith_api import conditions as c
from tunesmith_api.evaljob import EvalJobSpec, Verdict
from tunesmith_api.meta import ObjectMeta, Reference
from tunesmith_api.resources import EvalJob, ModelServe
from tunesmith_api.serving.revision import RolloutEvaluation, RolloutStatus
from tunesmith_api.serving.rollout import EvalJobTemplate
from tunesmith_api.uris import join
from tunesmith_operator.planner.finished import phase_of
from tunesmith_operator.planner.situation import Situation, find
from tunesmith_operator.planner.types import Observed

# So that NAME-v999-s20-9, with an attempt's ending, is a name.
LONGEST_NAME = 38


def name_of(serve: ModelServe, rollout: RolloutStatus, number: int) -> str:
    """Return the name of evaluation `number` (from 1) of the present step."""
    name = f"{serve.metadata.name}-v{rollout.revision}-s{rollout.step}"
    return name if number == 1 else f"{name}-{number}"


def of_step(rollout: RolloutStatus) -> list[RolloutEvaluation]:
    """Return the evaluations of the present step, oldest first."""
    return [each for each in rollout.evaluations if each.step == rollout.step]


def begun(serve: ModelServe, rollout: RolloutStatus) -> RolloutStatus:
    """Return the rollout with one more evaluation of the present step."""
    name = name_of(serve, rollout, len(of_step(rollout)) + 1)
    another = RolloutEvaluation(name=name, step=rollout.step)
    return rollout.model_copy(update={"evaluations": (*rollout.evaluations, another)})


def heard(rollout: RolloutStatus, observed: Observed) -> RolloutStatus:
    """Return the rollout with the verdicts that have come. An EvalJob that has failed has none that would do."""
    return rollout.model_copy(update={"evaluations": tuple(_heard(each, observed) for each in rollout.evaluations)})


def _heard(evaluation: RolloutEvaluation, observed: Observed) -> RolloutEvaluation:
    found = verdict_of(evaluation.name, observed) if evaluation.verdict is None else None
    return evaluation.model_copy(update={"verdict": found[0], "message": found[1]}) if found else evaluation


def verdict_of(name: str, observed: Observed) -> tuple[Verdict, str] | None:
    """Return the verdict of an EvalJob and a sentence about it, None before it has ended."""
    job = observed.resources.get(Reference(kind="EvalJob", name=name))
    if not isinstance(job, EvalJob) or phase_of(job.status) is None:
        return None
    status = job.status
    if status.verdict is None:
        failed = find(status.conditions, c.FAILED)
        message = f"EvalJob {name} has failed: {failed.message if failed else 'see its conditions'}"
        return "Inconclusive", message[:1024]
    missed = "; ".join([*(each.message for each in status.gates if not each.passed), *status.problems])
    message = f"EvalJob {name} gave the verdict {status.verdict}" + (f": {missed}" if missed else "")
    return status.verdict, message[:1024]


def refusal(rollout: RolloutStatus, max_inconclusive: int) -> Situation | None:
    """Return the situation of a rollout whose evaluations at the present step will not do, or None."""
    told = of_step(rollout)
    if failed := next((each for each in told if each.verdict == "Failed"), None):
        return Situation("blocked", c.GATE_FAILED, failed.message or "an evaluation failed")
    unclear = [each for each in told if each.verdict == "Inconclusive"]
    if len(unclear) > max_inconclusive:
        return Situation("blocked", c.INCONCLUSIVE, unclear[-1].message or "an evaluation gave no verdict")
    return None


def passed(rollout: RolloutStatus) -> bool:
    """Return whether an evaluation of the present step has passed."""
    return any(each.verdict == "Passed" for each in of_step(rollout))


def underway(rollout: RolloutStatus) -> str | None:
    """Return the name of the evaluation whose verdict has not come yet."""
    return next((each.name for each in of_step(rollout) if each.verdict is None), None)


def missing(
    serve: ModelServe,
    rollout: RolloutStatus,
    template: EvalJobTemplate,
    urls: tuple[str, str | None],
    observed: Observed,
) -> tuple[EvalJob, ...]:
    """Return the evaluation that is under way, unless it is there. `urls` are those of the new and the old revision."""
    name = underway(rollout)
    if name is None or Reference(kind="EvalJob", name=name) in observed.resources:
        return ()
    return (made(serve, name, template, *urls),)


def made(serve: ModelServe, name: str, template: EvalJobTemplate, ours: str, theirs: str | None) -> EvalJob:
    """Return the EvalJob of the revision at `ours`, compared with the one at `theirs` where there is one."""
    spec = template.evaluation(_endpoint(serve, ours), _endpoint(serve, theirs) if theirs else None)
    report = spec.report.model_copy(update={"uri": join(spec.report.uri, name)})
    return _job(serve, name, spec.model_copy(update={"report": report}))


def _endpoint(serve: ModelServe, url: str) -> dict[str, Any]:
    return {"endpoint": {"url": f"{url.rstrip('/')}/v1", "model": serve.metadata.name}}


def _job(serve: ModelServe, name: str, spec: EvalJobSpec) -> EvalJob:
    return EvalJob(metadata=ObjectMeta(name=name, namespace=serve.metadata.namespace), spec=spec)
