"""Which settings a search can change, and what is wrong with a search: each a path below spec and a sentence."""

import difflib
import json
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tunesmith_api.evaluation import EVAL_LOSS
from tunesmith_api.training import Adapter, Method, Training
from tunesmith_api.tuning import Scalar, Tuning

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import FineTuneJobSpec

# A field's path below spec, and what is wrong with it.
Misfit = tuple[str, str]


def tunable(method: str) -> tuple[str, ...]:
    """Return the paths of the settings that a job of a method can tune: numbers, words of a list, true or false."""
    own = [field.annotation for field in Method.model_fields.values() if field.alias == method]
    models: list[tuple[str, type[BaseModel]]] = [("training", Training), ("method.adapter", Adapter)]
    models += [(f"method.{method}", model) for annotation in own for model in _models_in(annotation)]
    return tuple(path for above, model in models for path in _leaves(model, above))


def placed(document: Mapping[str, Any], values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return a spec, or what has its fields, with values at their paths; the other parts are those of `document`."""
    changed = dict(document)
    for path, value in values.items():
        *parents, name = path.split(".")
        inner = changed
        for parent in parents:
            inner[parent] = dict(inner.get(parent) or {})
            inner = inner[parent]
        inner[name] = value
    return changed


def misfits(spec: "FineTuneJobSpec", known: set[str]) -> Iterator[Misfit]:
    """Yield what is wrong with a spec's search; `known` are the sentences about the spec without it."""
    tuning = spec.tuning
    if tuning is None:
        return
    yield from _places(spec, tuning)
    yield from _metric(spec, tuning)
    yield from _scheduler(spec, tuning)
    yield from _size(spec, tuning)
    yield from _parameters(spec, tuning, known)


def _places(spec: "FineTuneJobSpec", tuning: Tuning) -> Iterator[Misfit]:
    wanted, devices = tuning.max_concurrent_trials, spec.workers * max(spec.resources.gpu, 1)
    if wanted and spec.resources.gpu and wanted > devices:
        yield (
            "tuning.maxConcurrentTrials",
            f"each trial has a GPU of its own, and the workers have {devices} together; use at most {devices}",
        )
    if wanted and wanted < spec.workers:
        yield (
            "workers",
            f"with maxConcurrentTrials {wanted} no more than {wanted} workers have something to do: each trial trains "
            "on one; use as many workers, or fewer",
        )
    if spec.deepspeed is not None:
        yield "deepspeed", "spreads one training over several workers, and each trial trains on one; leave it out"
    if spec.method.rm and spec.method.rm.domain:
        yield "tuning", "cannot compare trials of the two stages of method.rm.domain; leave one of them out"


def _metric(spec: "FineTuneJobSpec", tuning: Tuning) -> Iterator[Misfit]:
    field, metric = "tuning.metric", tuning.metric
    names = spec.evaluation.metric_names() if spec.evaluation else ()
    stopping = spec.evaluation.early_stopping if spec.evaluation else None
    if metric == EVAL_LOSS and spec.data.validation is None:
        yield field, f"{EVAL_LOSS} is measured on validation records; set data.validation"
    elif metric == EVAL_LOSS and spec.method.type == "grpo":
        yield field, f"{EVAL_LOSS} of method grpo is near 0 however good the answers are; name a metric of a suite"
    elif metric not in (EVAL_LOSS, *names):
        fitting = f"; there is {', '.join(names)}" if names else "; set evaluation.suites"
        yield field, f"no suite gives {metric}{fitting}"
    if stopping and stopping.metric != metric:
        yield (
            field,
            f"{metric} is not what evaluation.earlyStopping looks at ({stopping.metric}), and a trial has one best "
            "checkpoint; name the same metric in both",
        )


def _scheduler(spec: "FineTuneJobSpec", tuning: Tuning) -> Iterator[Misfit]:
    scheduler = tuning.scheduler
    if scheduler.type == "none":
        for name in sorted(scheduler.model_dump(by_alias=True, exclude_defaults=True).keys() - {"type"}):
            yield f"tuning.scheduler.{name}", "is for type asha, and type is none; leave it out"
    tuned = any(each.name == "training.maxSteps" for each in tuning.parameters)
    steps, grace = spec.training.max_steps, scheduler.grace_steps
    if grace and steps and grace > steps and not tuned:
        yield (
            "tuning.scheduler.graceSteps",
            f"{grace} is more than the {steps} steps of a trial, so that none would end early; lower it, or use type "
            "none",
        )


def _size(spec: "FineTuneJobSpec", tuning: Tuning) -> Iterator[Misfit]:
    if tuning.trials > tuning.combinations():
        yield (
            "tuning.trials",
            f"{tuning.trials} trials, and there are only {tuning.combinations():.0f} different ones; use at most as "
            "many",
        )


def _parameters(spec: "FineTuneJobSpec", tuning: Tuning, known: set[str]) -> Iterator[Misfit]:
    paths = tunable(spec.method.type)
    for index, parameter in enumerate(tuning.parameters):
        if parameter.name not in paths:
            hint = _hint(parameter.name, paths, spec.method.type)
            yield f"tuning.parameters[{index}].name", f"{parameter.name} cannot be tuned; {hint}"
            continue
        for value in parameter.extremes():
            said = [each for each in _faults(spec, parameter.name, value) if each not in known]
            for sentence in said:
                better = "; use intUniform" if parameter.choice is None and sentence.endswith("whole number") else ""
                yield f"tuning.parameters[{index}]", sentence + better
            if said:
                break


def _hint(name: str, paths: tuple[str, ...], method: str) -> str:
    folded = {path.lower().replace("_", ""): path for path in paths}
    close = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=3, cutoff=0.8)
    if close:
        return f"did you mean {' or '.join(folded[each] for each in close)}?"
    if beside := [path for path in paths if path.startswith(name.rpartition(".")[0] + ".")]:
        return f"there is {', '.join(beside)}"
    return f"numbers, words of a list and switches of training, method.adapter and method.{method} can be"


def _faults(spec: "FineTuneJobSpec", name: str, value: Scalar) -> list[str]:
    """Return what is wrong with the spec of a trial that has a value, alone on its worker."""
    from tunesmith_api.errors import explain  # which knows all kinds

    document = {key: part for key, part in spec.to_json().items() if key != "tuning"}
    document |= {"workers": 1, "resources": {**document["resources"], "gpu": min(spec.resources.gpu, 1)}}
    try:
        type(spec).model_validate_json(json.dumps(placed(document, {name: value})))
    except ValidationError as error:
        return explain(error)
    return []


def _leaves(model: type[BaseModel], above: str) -> Iterator[str]:
    for field in model.model_fields.values():
        path = f"{above}.{field.alias}"
        if _is_scalar(field.annotation):
            yield path
        for inner in _models_in(field.annotation):
            yield from _leaves(inner, path)


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types that an optional one stands for."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(each for each in get_args(annotation) if each is not type(None))
    return (annotation,)


def _is_scalar(annotation: Any) -> bool:
    members = _members(annotation)
    return all(each in (int, float, bool) or get_origin(each) is Literal for each in members)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for each in _members(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each
