"""References between resources, resolved or waited for."""

from tunesmith_api import conditions as c
from tunesmith_api import uris
from tunesmith_api.data import DatasetSource, TrainingData, ValidationData
from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_api.evaljob import RUN_OF_LABEL, Subject
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.meta import Reference
from tunesmith_api.references import ModelReference
from tunesmith_api.reinforcement import Reward
from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource
from tunesmith_api.targets import EvalTarget
from tunesmith_api.training import Method
from tunesmith_operator.planner.situation import Situation, find
from tunesmith_operator.planner.types import Observed

FINE_TUNE_JOB_SCHEME = "finetunejob"
MODEL_SERVE_SCHEME = "modelserve"


def resolve(reference: ModelReference, observed: Observed) -> PublishedModel | Situation:
    """Return the model that a reference names, or the situation of whoever waits for it."""
    if reference.fine_tune_job is not None:
        return _published_by(reference.fine_tune_job, observed)
    assert reference.uri is not None  # noqa: S101 - the model's own validator
    return resolve_uri(reference.uri, observed)


def resolve_target(job: EvalJob, target: EvalTarget, observed: Observed) -> Subject | Situation:
    """Return what an EvalJob's target or baseline names, or the situation of the EvalJob that waits for it."""
    if target.endpoint is not None:
        return Subject(uri=target.endpoint.url, endpoint=target.endpoint)
    if target.model_serve is not None:
        return _served_by(target.model_serve, job, observed)
    if target.checkpoint is not None:
        assert target.fine_tune_job is not None  # noqa: S101 - the target's own validator
        return _checkpoint_of(target.fine_tune_job, target.checkpoint, observed)
    model = resolve(ModelReference(fine_tune_job=target.fine_tune_job, uri=target.uri), observed)
    if isinstance(model, Situation):
        return model
    if target.adapter is None:
        return Subject(**dict(model))
    adapter = resolve_uri(target.adapter, observed)
    return adapter if isinstance(adapter, Situation) else Subject(uri=adapter.uri, base=model.uri)


def resolve_uri(uri: str, observed: Observed) -> PublishedModel | Situation:
    """Return the model behind a URI; finetunejob://NAME is what that job publishes."""
    name = named_job(uri)
    return _published_by(name, observed) if name else PublishedModel(uri=uri)


def named_job(uri: str) -> str | None:
    """Return NAME of finetunejob://NAME, and None for any other URI."""
    parts = uris.split(uri)
    return parts.authority if parts.scheme == FINE_TUNE_JOB_SCHEME else None


def whole_of(job: EvalJob, observed: Observed) -> EvalJob | None:
    """Return the EvalJob that this one is a run of."""
    name = job.metadata.labels.get(RUN_OF_LABEL)
    whole = observed.resources.get(Reference(kind="EvalJob", name=name)) if name else None
    return whole if isinstance(whole, EvalJob) else None


def run_of(job: EvalJob, number: int) -> Reference:
    """Return the EvalJob that is run `number` of one that repeats."""
    return Reference(kind="EvalJob", name=f"{job.metadata.name}-r{number}")


def _published_by(name: str, observed: Observed) -> PublishedModel | Situation:
    job = _job(name, observed)
    if isinstance(job, Situation):
        return job
    if job.status.phase == "Succeeded" and job.status.output:
        return job.status.output
    if job.status.phase == "Failed":
        return _failed(job)
    suspended = ", which is suspended" if job.status.phase == "Suspended" else ""
    return Situation("working", c.WAITING_FOR_FINE_TUNE_JOB, f"waits for FineTuneJob {name} to succeed{suspended}")


def _checkpoint_of(name: str, wanted: str, observed: Observed) -> Subject | Situation:
    job = _job(name, observed)
    if isinstance(job, Situation):
        return job
    base = resolve_uri(job.spec.model.uri, observed)
    if isinstance(base, Situation):
        return base
    kept = job.status.checkpoints
    latest, best = (kept.latest, kept.best) if kept else (None, None)
    found = {"best": best, "last": latest}.get(wanted)
    if found is None and wanted.isdigit() and latest and latest.step >= int(wanted):
        # Checkpoints lie side by side; whether this one was kept is seen when it is read.
        return Subject(uri=f"{latest.uri.rpartition('/')[0]}/checkpoint-{int(wanted)}", base=base.uri)
    if found is not None:
        return Subject(uri=found.uri, base=base.uri)
    if job.status.phase == "Failed":
        return _failed(job)
    if job.status.phase == "Succeeded":
        hint = "; best is of a job with evaluation.earlyStopping" if wanted == "best" else ""
        return Situation(
            "blocked", c.REFERENCE_FAILED, f"FineTuneJob {name} has ended without a checkpoint {wanted}{hint}"
        )
    return Situation("working", c.WAITING_FOR_FINE_TUNE_JOB, f"waits for checkpoint {wanted} of FineTuneJob {name}")


def _job(name: str, observed: Observed) -> FineTuneJob | Situation:
    job = observed.resources.get(Reference(kind="FineTuneJob", name=name))
    if isinstance(job, FineTuneJob):
        return job
    return Situation("working", c.REFERENCE_NOT_FOUND, f"waits for FineTuneJob {name}, which does not exist; create it")


def _failed(job: FineTuneJob) -> Situation:
    failed = find(job.status.conditions, c.FAILED)
    why = failed.message if failed else "see its conditions"
    return Situation("blocked", c.REFERENCE_FAILED, f"FineTuneJob {job.metadata.name} has failed: {why}")


def _served_by(name: str, job: EvalJob, observed: Observed) -> Subject | Situation:
    serve = observed.resources.get(Reference(kind="ModelServe", name=name))
    if not isinstance(serve, ModelServe):
        return Situation(
            "working", c.REFERENCE_NOT_FOUND, f"waits for ModelServe {name}, which does not exist; create it"
        )
    if job.metadata.name in serve.spec.gates:
        return Situation(
            "blocked",
            c.REFERENCE_CYCLE,
            f"ModelServe {name} waits for this EvalJob, and this EvalJob for it; let the EvalJob name the model, or "
            f"drop it from the ModelServe's requires",
        )
    status = serve.status
    if status.url is None or status.serving is None:
        return Situation("working", c.WAITING_FOR_MODEL_SERVE, f"waits for ModelServe {name} to answer")
    endpoint = KeyedEndpoint(url=f"{status.url.rstrip('/')}/v1", model=name)
    return Subject(**dict(status.serving), endpoint=endpoint)


def gate(name: str, model: PublishedModel, observed: Observed) -> Situation | None:
    """Return None when the EvalJob `name` has passed `model`, else the situation of the server behind that gate."""
    job = observed.resources.get(Reference(kind="EvalJob", name=name))
    if not isinstance(job, EvalJob):
        return Situation("working", c.REFERENCE_NOT_FOUND, f"waits for EvalJob {name}, which does not exist; create it")
    status = job.status
    if status.phase == "Failed":
        failed = find(status.conditions, c.FAILED)
        why = failed.message if failed else "see its conditions"
        return Situation("blocked", c.REFERENCE_FAILED, f"EvalJob {name} has failed: {why}")
    if status.verdict is None:
        return Situation("working", c.WAITING_FOR_EVAL_JOB, f"waits for the verdict of EvalJob {name}")
    if status.target is not None and _differ(status.target, model):
        return Situation(
            "blocked",
            c.EVALUATED_OTHER_MODEL,
            f"EvalJob {name} judged {_shown(status.target)}, not {_shown(model)}; "
            "delete it and create it again to judge this model",
        )
    if status.verdict != "Passed":
        missed = "; ".join(outcome.message for outcome in status.gates if not outcome.passed)
        return Situation("blocked", c.GATE_FAILED, f"EvalJob {name} gave the verdict {status.verdict}: {missed}")
    return None


def _differ(judged: PublishedModel, wanted: PublishedModel) -> bool:
    if judged.digest and wanted.digest:
        return judged.digest != wanted.digest
    return judged.uri != wanted.uri


def _shown(model: PublishedModel) -> str:
    return f"{model.uri} ({model.digest[:19]})" if model.digest else model.uri


def find_cycle(job: FineTuneJob, observed: Observed) -> tuple[str, ...] | None:
    """Return the names of the FineTuneJobs that wait for each other in a ring that `job` is part of or waits on.

    The first name is also the last. None when there is no such ring.
    """
    seen: set[str] = set()
    paths: list[tuple[tuple[str, ...], FineTuneJob]] = [((job.metadata.name,), job)]
    while paths:
        path, current = paths.pop()
        if path[-1] in seen:
            continue
        seen.add(path[-1])
        for name in reversed(_jobs_before(current)):
            if name in path:
                return (*path[path.index(name) :], name)
            following = observed.resources.get(Reference(kind="FineTuneJob", name=name))
            if isinstance(following, FineTuneJob) and following.status.phase != "Succeeded":
                paths.append(((*path, name), following))
    return None


def models_of(job: FineTuneJob) -> tuple[str, ...]:
    """Return the URIs of all models that a job begins with: its base model, reward models and teacher."""
    method = job.spec.method
    rewards = [reward.model for reward in method.rewards if reward.model]
    return (job.spec.model.uri, *rewards, *((method.distill.teacher,) if method.distill else ()))


def resolve_method(method: Method, observed: Observed) -> Method | Situation:
    """Return the method with the URIs of its reward models and its teacher resolved."""
    rewards: list[Reward] = []
    for reward in method.rewards:
        model = resolve_uri(reward.model, observed) if reward.model else None
        if isinstance(model, Situation):
            return model
        rewards.append(reward.model_copy(update={"model": model.uri}) if model else reward)
    if method.distill is None:
        return method.model_copy(update={"rewards": tuple(rewards)})
    teacher = resolve_uri(method.distill.teacher, observed)
    if isinstance(teacher, Situation):
        return teacher
    return method.model_copy(update={"distill": method.distill.model_copy(update={"teacher": teacher.uri})})


def resolve_data(data: TrainingData, observed: Observed) -> TrainingData | Situation:
    """Return the data with the feedback of ModelServes resolved to the folders that it is kept in."""
    folders: dict[str, str] = {}
    for source in _datasets(data):
        name = _served_name(source.uri)
        folder = _captured_by(name, observed) if name else None
        if isinstance(folder, Situation):
            return folder
        if folder is not None:
            folders[source.uri] = folder
    if not folders:
        return data
    train = tuple(each.model_copy(update={"uri": folders.get(each.uri, each.uri)}) for each in data.train)
    validation = data.validation
    if validation and (own := validation.dataset):
        validation = ValidationData(dataset=own.model_copy(update={"uri": folders.get(own.uri, own.uri)}))
    return data.model_copy(update={"train": train, "validation": validation})


def _datasets(data: TrainingData) -> tuple[DatasetSource, ...]:
    own = data.validation.dataset if data.validation else None
    return (*data.train, *((own,) if own else ()))


def _served_name(uri: str) -> str | None:
    """Return NAME of modelserve://NAME/feedback, and None for any other URI."""
    parts = uris.split(uri)
    return parts.authority if parts.scheme == MODEL_SERVE_SCHEME else None


def _captured_by(name: str, observed: Observed) -> str | Situation:
    serve = observed.resources.get(Reference(kind="ModelServe", name=name))
    if not isinstance(serve, ModelServe):
        return Situation(
            "working",
            c.REFERENCE_NOT_FOUND,
            f"waits for ModelServe {name}, whose feedback it is to learn from and which does not exist; create it",
        )
    if serve.spec.capture is None:
        return Situation(
            "blocked",
            c.CAPTURES_NOTHING,
            f"ModelServe {name} keeps neither answers nor feedback; set its spec.capture, and let people use it",
        )
    return serve.spec.capture.uri


def _jobs_before(job: FineTuneJob) -> list[str]:
    return [name for uri in models_of(job) if (name := named_job(uri))]


def named_by(resource: Resource) -> tuple[Reference, ...]:
    """Return the resources of the same namespace that a spec names, in the order of the spec."""
    match resource:
        case FineTuneJob():
            served = (_served_name(source.uri) for source in _datasets(resource.spec.data))
            jobs = (Reference(kind="FineTuneJob", name=name) for name in _jobs_before(resource))
            return tuple(dict.fromkeys((*jobs, *(Reference(kind="ModelServe", name=name) for name in served if name))))
        case EvalJob(spec=spec) if spec.repeats:
            runs = resource.status.runs
            # Those that go on, and those that are to go.
            named = [run for run in runs if run.name and (run.ended_at is None or run in runs[: -spec.history_limit])]
            watched = _of_target(spec.target) if spec.schedule is None else ()
            return (*watched, *(run_of(resource, run.number) for run in named))
        case EvalJob(spec=spec):
            whole = resource.metadata.labels.get(RUN_OF_LABEL)
            over = (Reference(kind="EvalJob", name=whole),) if whole else ()
            targets = (spec.target, spec.baseline) if spec.baseline else (spec.target,)
            return (*(each for target in targets for each in _of_target(target)), *over)
        case ModelServe(spec=spec):
            gates = tuple(Reference(kind="EvalJob", name=name) for name in spec.gates)
            rollout = resource.status.rollout
            evaluations = rollout.evaluations if rollout else ()
            asked = tuple(Reference(kind="EvalJob", name=each.name) for each in evaluations if each.verdict is None)
            adapters = (each for adapter in spec.adapters for each in _jobs_of(adapter))
            watch = resource.status.watch.evaluation if resource.status.watch else None
            if watch and watch.verdict is None:
                asked = (*asked, Reference(kind="EvalJob", name=watch.name))
            return (*_jobs_of(spec.model), *adapters, *gates, *asked)


def _jobs_of(model: ModelReference) -> tuple[Reference, ...]:
    if model.fine_tune_job is not None:
        return (Reference(kind="FineTuneJob", name=model.fine_tune_job),)
    return _jobs(model.uri) if model.uri else ()


def _of_target(target: EvalTarget) -> tuple[Reference, ...]:
    if target.model_serve is not None:
        return (Reference(kind="ModelServe", name=target.model_serve),)
    if target.fine_tune_job is not None:
        return (Reference(kind="FineTuneJob", name=target.fine_tune_job),)
    return tuple(reference for uri in (target.uri, target.adapter) if uri for reference in _jobs(uri))


def _jobs(uri: str) -> tuple[Reference, ...]:
    name = named_job(uri)
    return (Reference(kind="FineTuneJob", name=name),) if name else ()
