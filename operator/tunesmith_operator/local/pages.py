"""Where the page of a resource is: what a training run, or an evaluation, shows of itself."""

import os
import subprocess
from pathlib import Path

from tunesmith_api import uris
from tunesmith_api.contract import CONFIG_VARIABLE, VOLUMES_VARIABLE
from tunesmith_api.resources import EvalJob, FineTuneJob, Resource
from tunesmith_operator.local.names import UnknownNameError
from tunesmith_operator.local.processes import runtime_command
from tunesmith_operator.local.runs import Run, belongs_to
from tunesmith_operator.local.state import State

TRAINING = "training.html"


def page_of(state: State, resource: Resource) -> Path | str:
    """Return the page of a resource: a file, or the URI of one that no path leads to.

    That of a training run which has published no model is made on the spot, of what it has done so far.
    Raises UnknownNameError when there is none.
    """
    match resource:
        case FineTuneJob(status=status) if status.output:
            return _place(state, resource, f"{status.output.uri.rstrip('/')}/{TRAINING}")
        case FineTuneJob():
            return _so_far(state, resource)
        case EvalJob(status=status) if status.report:
            return _place(state, resource, status.report)
        case EvalJob():
            raise UnknownNameError(f"EvalJob {resource.metadata.name} has no report yet; it is written at the end")
        case _:
            raise UnknownNameError(f"a {resource.kind} has no page; there is one of each FineTuneJob and EvalJob")


def _place(state: State, resource: Resource, uri: str) -> Path | str:
    scheme, authority, path = uris.split(uri)
    if scheme not in ("pvc", "file"):
        return uri
    place = state.volumes / authority / path if scheme == "pvc" else Path(path)
    if not place.is_file():
        raise UnknownNameError(f"{resource.kind} {resource.metadata.name}: its page {place} is gone")
    return place


def _so_far(state: State, resource: FineTuneJob) -> Path:
    runs = [Run(folder) for folder in state.run_folders()]
    own = [
        (config.run.attempt, run)
        for run in runs
        if (config := run.config()) is not None and belongs_to(config, resource)
    ]
    name = resource.metadata.name
    if not own:
        raise UnknownNameError(f"FineTuneJob {name} has not started anything yet")
    _, last = max(own, key=lambda each: each[0])
    page = (last.folder / TRAINING).absolute()
    environment = {
        **os.environ,
        CONFIG_VARIABLE: str(last.config_file.absolute()),
        VOLUMES_VARIABLE: str(state.volumes),
    }
    done = subprocess.run(
        [*runtime_command(os.environ), "page", str(page)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        *_, reason = done.stderr.strip().splitlines() or [f"the runtime ended with exit code {done.returncode}"]
        raise UnknownNameError(f"FineTuneJob {name} has no page yet: {reason.removeprefix('error: ')}")
    return page
