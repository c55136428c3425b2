"""All there is to know about one resource, as text."""

from collections.abc import Mapping, Sequence

import yaml

from tunesmith_api.finetunejob import AttemptRecord
from tunesmith_api.meta import Condition
from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource
from tunesmith_operator.local import tables
from tunesmith_operator.local.runs import Run, belongs_to
from tunesmith_operator.local.state import State


def describe(state: State, resource: Resource) -> str:
    """Return spec, progress, attempts, results, conditions and folders of a resource."""
    meta = resource.metadata
    parts = [
        f"{resource.kind} {meta.namespace}/{meta.name}, generation {meta.generation}, uid {meta.uid}",
        _block("Spec", resource.spec.to_json()),
    ]
    status = resource.status.to_json()
    conditions = resource.status.conditions
    for hidden in ("conditions", "attempts", "parts", "results", "gates", "tuning"):
        status.pop(hidden, None)
    parts.append(_block("Status", status))
    if not isinstance(resource, ModelServe) and resource.status.attempts:
        parts.append("Attempts\n" + _indented(_attempts({"": resource.status.attempts})))
    if isinstance(resource, EvalJob) and resource.status.parts:
        suites = {each.suite: each.attempts for each in resource.status.parts}
        parts.append("Suites measured apart\n" + _indented(_attempts(suites)))
    if isinstance(resource, FineTuneJob) and resource.status.tuning:
        parts.append("Trials\n" + _indented(tables.trial_table(resource.status.tuning)))
    if isinstance(resource, EvalJob) and (metrics := tables.metric_table(resource)):
        parts.append("Results\n" + _indented(metrics))
    if conditions:
        parts.append("Conditions\n" + _indented(_conditions(conditions)))
    if folders := _folders(state, resource):
        parts.append("Files\n" + _indented("\n".join(folders)))
    return "\n\n".join(parts)


def _block(title: str, value: object) -> str:
    return f"{title}\n{_indented(yaml.safe_dump(value, sort_keys=False).rstrip())}"


def _attempts(by_suite: Mapping[str, Sequence[AttemptRecord]]) -> str:
    """Return a table of attempts, those of the resource itself without a suite."""
    rows = [("NUMBER", "STARTED", "ENDED", "STEPS", "REASON", "MESSAGE")]
    for suite, records in by_suite.items():
        for each in records:
            steps = "" if each.to_step is None else f"{each.from_step or 0} to {each.to_step}"
            ended = "" if each.ended_at is None else f"{each.ended_at:%Y-%m-%d %H:%M:%S}"
            started = f"{each.started_at:%Y-%m-%d %H:%M:%S}"
            number = f"{suite} {each.number}".strip()
            rows.append((number, started, ended, steps, each.reason or "Running", each.message or ""))
    return tables.aligned(rows)


def _conditions(conditions: tuple[Condition, ...]) -> str:
    rows = [("TYPE", "STATUS", "SINCE", "REASON", "MESSAGE")]
    for each in conditions:
        since = f"{each.last_transition_time:%Y-%m-%d %H:%M:%S}"
        rows.append((each.type, each.status, since, each.reason, each.message))
    return tables.aligned(rows)


def _folders(state: State, resource: Resource) -> list[str]:
    folders = []
    for folder in state.run_folders():
        config = Run(folder).config()
        if config is not None and belongs_to(config, resource):
            folders.append(str(folder))
    return folders


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
