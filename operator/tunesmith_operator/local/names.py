"""KIND/NAME, as people type it, becomes a resource."""

from pathlib import Path

from tunesmith_api.base import Kind
from tunesmith_api.contract import EvaluateRun, GatewayRun, RunConfig
from tunesmith_api.resources import PLURALS, SHORT_NAMES, EvalJob, FineTuneJob, Resource
from tunesmith_operator.local.runs import Run, belongs_to
from tunesmith_operator.local.state import State


class UnknownNameError(Exception):
    """No such kind, resource or attempt; the message says which there are."""


def kind_of(word: str) -> Kind:
    """Return the kind that a word names: its name, plural or short name, in any case."""
    for kind, plural in PLURALS.items():
        if word.lower() in {kind.lower(), plural, SHORT_NAMES[kind]}:
            return kind
    known = ", ".join(f"{kind} ({SHORT_NAMES[kind]})" for kind in PLURALS)
    raise UnknownNameError(f"{word!r} is not a kind; use {known}")


def select(state: State, what: str | None, namespace: str) -> tuple[Resource, ...]:
    """Return the resources of a namespace: all, those of a KIND, or the one that KIND/NAME names."""
    if what and "/" in what:
        return (find(state, what, namespace),)
    kind = kind_of(what) if what else None
    return tuple(
        resource
        for resource in state.resources()
        if resource.metadata.namespace == namespace and kind in {None, resource.kind}
    )


def split(what: str) -> tuple[Kind, str]:
    """Return the kind and the name of KIND/NAME. Raises UnknownNameError."""
    word, separator, name = what.partition("/")
    if not separator or not name:
        raise UnknownNameError(f"{what!r} is not KIND/NAME, such as ftj/my-bot")
    return kind_of(word), name


def find(state: State, what: str, namespace: str) -> Resource:
    """Return the resource that KIND/NAME names. Raises UnknownNameError."""
    kind, name = split(what)
    if resource := state.find(kind, namespace, name):
        return resource
    there = [each.metadata.name for each in select(state, kind, namespace)]
    hint = f"there is {', '.join(there)}" if there else f"there is none in {state.folder}"
    raise UnknownNameError(f"no {kind} {name} in namespace {namespace}; {hint}")


def log_of(state: State, resource: Resource, attempt: int | None, suite: str | None = None) -> Path:
    """Return the log of an attempt or revision, by default the last; of a suite that is measured apart, if named.

    Raises UnknownNameError.
    """
    logs: dict[str | None, dict[int, Path]] = {}
    for run in (Run(folder) for folder in state.run_folders()):
        config = run.config()
        if config is None or isinstance(config, GatewayRun):
            continue
        if belongs_to(config, resource) and run.log_file.exists():
            logs.setdefault(_apart(config), {})[config.run.attempt] = run.log_file
    called = f"{resource.kind} {resource.metadata.name}"
    if not logs:
        raise UnknownNameError(f"{called} has not started anything yet")
    if suite not in logs:
        suites = ", ".join(sorted(each for each in logs if each is not None)) or "none"
        asked = f"no log of suite {suite}" if suite else "only measured suites apart so far; use --suite"
        raise UnknownNameError(f"{called} has {asked}; there are {suites}")
    found = logs[suite]
    if attempt is not None and attempt not in found:
        raise UnknownNameError(
            f"{called} has no log of attempt {attempt}; there is {', '.join(map(str, sorted(found)))}"
        )
    return found[attempt if attempt is not None else max(found)]


def _apart(config: RunConfig) -> str | None:
    """Return the suite that a run measures apart."""
    return config.suites[0].name if isinstance(config, EvaluateRun) and config.part else None


def written_by(resource: Resource) -> tuple[str, ...]:
    """Return the URIs that a resource's runs may have written to."""
    match resource:
        case FineTuneJob(spec=spec):
            return spec.output.uri, spec.checkpoints.uri or f"{spec.output.uri}-checkpoints"
        case EvalJob(spec=spec):
            return (spec.report.uri,)
        case _:
            return ()
