"""What people read of resources: tables, and how to try a server."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tunesmith_api import conditions as c
from tunesmith_api import uris
from tunesmith_api.gates import number
from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource
from tunesmith_api.tuning import TuningStatus
from tunesmith_operator.local.activity import duration
from tunesmith_operator.planner.situation import find

Row = tuple[str, ...]

_LIVE_PHASES = {"Running", "Recovering", "Progressing", "Ready"}


@dataclass(frozen=True)
class Standing:
    """Where a resource stands: a word and a sentence."""

    phase: str
    message: str


def standing(resource: Resource, shell_runs: bool = True) -> Standing:
    """Return where a resource stands.

    Without a shell nothing moves, whatever the status said when the last one ended.
    """
    status = resource.status
    if not shell_runs and status.phase in _LIVE_PHASES:
        return Standing("Stopped", "no tunesmith runs; run the same command to go on")
    said = find(status.conditions, c.RECONCILING)
    return Standing(status.phase, said.message if said else "")


def key_figure(resource: Resource) -> str:
    """Return the figure that people look for: a loss, a verdict with its metrics, an address."""
    match resource:
        case FineTuneJob(status=status):
            if status.progress is None:
                return ""
            loss = "" if status.progress.loss is None else f"loss {status.progress.loss:.3f}"
            held_out = "" if status.progress.eval_loss is None else f"evaluation loss {status.progress.eval_loss:.3f}"
            return ", ".join(text for text in (loss, held_out) if text)
        case EvalJob(status=status):
            if status.verdict is None:
                return "" if status.percent is None else f"{status.percent}%"
            main = [
                f"{item.metric} {number(item.value)}"
                + ("" if item.baseline is None else f" (baseline {number(item.baseline)})")
                for item in status.results[:1]
            ]
            return ", ".join([status.verdict, *main])
        case ModelServe(status=status):
            return status.url or ""


def trial_table(tuning: TuningStatus) -> str:
    """Return a table of the trials of a search; a star marks the best."""
    names = tuple(dict.fromkeys(name for trial in tuning.trials for name in trial.parameters))
    rows: list[Row] = [("", "NUMBER", *names, "STATE", "STEPS", "BEST", "AT STEP", "MESSAGE")]
    rows += [
        (
            "*" if trial.number == tuning.best else "",
            str(trial.number),
            *(trial.parameters.get(name, "") for name in names),
            trial.state,
            str(trial.steps),
            "" if trial.value is None else number(trial.value),
            "" if trial.step is None else str(trial.step),
            trial.message or "",
        )
        for trial in tuning.trials
    ]
    return aligned(rows)


def resource_table(resources: Sequence[Resource], shell_runs: bool = True) -> str:
    """Return a table of resources: name, phase, key figure and the conditions' sentence."""
    rows: list[Row] = [("NAME", "PHASE", "RESULT", "MESSAGE")]
    for resource in resources:
        stands = standing(resource, shell_runs)
        figure = "" if isinstance(resource, ModelServe) and stands.phase != "Ready" else key_figure(resource)
        rows.append((label(resource), stands.phase, figure, stands.message))
    return aligned(rows)


def wide_table(resources: Sequence[Resource], now: datetime, shell_runs: bool = True) -> str:
    """Return a table of resources with namespace, attempts or revision, generation and age besides."""
    rows: list[Row] = [("NAMESPACE", "NAME", "PHASE", "PROGRESS", "ATTEMPT", "GENERATION", "AGE", "RESULT", "MESSAGE")]
    for resource in resources:
        meta, stands = resource.metadata, standing(resource, shell_runs)
        created = meta.creation_timestamp
        age = duration((now - created).total_seconds()) if created else ""
        attempt = _attempt(resource)
        rows.append(
            (
                meta.namespace,
                label(resource),
                stands.phase,
                _progress(resource),
                str(attempt) if attempt else "",
                str(meta.generation),
                age,
                key_figure(resource),
                stands.message,
            )
        )
    return aligned(rows)


def _attempt(resource: Resource) -> int:
    if isinstance(resource, ModelServe):
        return resource.status.revision
    return resource.status.attempts[-1].number if resource.status.attempts else 0


def _progress(resource: Resource) -> str:
    match resource:
        case FineTuneJob(status=status) if status.progress is not None:
            return f"{status.progress.step}/{status.progress.total_steps}"
        case EvalJob(status=status) if status.percent is not None:
            return f"{status.percent}%"
        case _:
            return ""


def metric_table(job: EvalJob) -> str:
    """Return the metrics of an EvalJob beside its baseline's, with what each gate says; empty without results."""
    if not job.status.results:
        return ""
    gates = {outcome.metric: outcome for outcome in job.status.gates}
    judged = "FINE-TUNED" if job.spec.target.fine_tune_job else "TARGET"
    rows: list[Row] = [("METRIC", "BASELINE", judged, "DELTA", "GATE")]
    for result in job.status.results:
        gate = gates.get(result.metric)
        baseline = "-" if result.baseline is None else number(result.baseline)
        delta = "-" if result.delta is None else f"{'+' if result.delta >= 0 else ''}{number(result.delta)}"
        told = f"{'passed' if gate.passed else 'FAILED'}: {gate.message}" if gate else "-"
        rows.append((result.metric, baseline, number(result.value), delta, told))
    return aligned(rows)


def summary(resources: Sequence[Resource], volumes: Path, shell_runs: bool = True) -> str:
    """Return the whole of what a run came to: resources, metrics, and the reports as files below `volumes`."""
    parts = [resource_table(resources, shell_runs)]
    for resource in resources:
        if isinstance(resource, EvalJob) and (table := metric_table(resource)):
            report = f"\nreport: {_file(resource.status.report, volumes)}" if resource.status.report else ""
            parts.append(f"{label(resource)}: {resource.status.verdict}\n{table}{report}")
    return "\n\n".join(parts)


def _file(uri: str, volumes: Path) -> str:
    scheme, claim, path = uris.split(uri)
    return str(volumes / claim / path) if scheme == "pvc" else path


def how_to_try(serve: ModelServe) -> str:
    """Return a ready server's address and a command line that asks it something; clients use the server's name."""
    body = {
        "model": serve.metadata.name,
        "messages": [{"role": "user", "content": "What can you help me with?"}],
        "max_tokens": 64,
    }
    url = f"{serve.status.url}/v1/chat/completions"
    return (
        f"{label(serve)} answers at {serve.status.url}/v1\n"
        f"  curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


def label(resource: Resource) -> str:
    """Return how a resource is named on the command line, as `finetunejob/support-bot`."""
    return f"{resource.kind.lower()}/{resource.metadata.name}"


def aligned(rows: Iterable[Row]) -> str:
    """Return rows as text with aligned columns, two spaces apart; the last column is as long as it is."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    return "\n".join(lines)
