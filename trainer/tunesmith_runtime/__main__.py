"""`python -m tunesmith_runtime`: carry out the run config in $TUNESMITH_CONFIG, report to $TUNESMITH_PROGRESS.

Exits 0 when the run reached its goal, 1 when it failed (the progress document says why), 2 when there is no config, and
143 on SIGTERM. `python -m tunesmith_runtime worker` joins the run of the pod that $TUNESMITH_RAY_ADDRESS names;
`python -m tunesmith_runtime leave` has training in this pod save a checkpoint and end;
`python -m tunesmith_runtime fetch` has the models of a serving run there before it starts, and links to them;
`python -m tunesmith_runtime page FILE` writes the page of a training run that may not have ended.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tunesmith_api.contract import (
    CONFIG_VARIABLE,
    EvaluateResult,
    EvaluateRun,
    GatewayRun,
    PartResult,
    ProgressDocument,
    RunConfig,
    RunFailure,
    ServeRun,
    TrainResult,
    TrainRun,
    run_config,
)
from tunesmith_runtime import process, sandbox
from tunesmith_runtime.errors import RunError, as_run_error
from tunesmith_runtime.kubernetes_progress import ConfigMapMirror
from tunesmith_runtime.progress import ProgressReporter

# Of a message, so that the document around it is whole where Kubernetes keeps 4 KiB of it, in any script.
_LONGEST_IN_SANDBOX = 900


def main(arguments: Sequence[str] = ()) -> int:
    """Carry out the run, or what `arguments` ask for instead (see above); return the exit code."""
    try:
        config = run_config.validate_json(Path(os.environ[CONFIG_VARIABLE]).read_bytes())
        if list(arguments) == ["worker"]:
            from tunesmith_runtime.train import worker

            return worker.join(config)
        if list(arguments) == ["leave"]:
            from tunesmith_runtime.train import leaving

            return leaving.leave(config)
        if list(arguments[:1]) == ["page"]:
            from tunesmith_runtime.train import report

            return report.write_so_far(config, Path(*arguments[1:]))
        reporter = ProgressReporter.from_environment()
    except KeyError as missing:
        print(f"tunesmith_runtime: ${missing.args[0]} is not set", file=sys.stderr)  # noqa: T201
        return 2
    except (OSError, ValidationError) as error:
        print(f"tunesmith_runtime: the run config cannot be used: {error}", file=sys.stderr)  # noqa: T201
        return 2
    with ConfigMapMirror.from_environment() as mirror:
        if mirror is not None:
            process.before_end(mirror.flush)
        try:
            if list(arguments) == ["fetch"]:
                from tunesmith_runtime.serve.fetching import fetch

                fetch(config, reporter)
                return 0
            result = _carry_out(config, reporter, mirror)
        except Exception as error:
            if process.is_ending():  # what failed was cut off
                return process.TERMINATED
            return _fail(error, config, reporter)
        reporter.update(state="Succeeded", stage="", result=result)
        return 0


def _carry_out(
    config: RunConfig, reporter: ProgressReporter, mirror: ConfigMapMirror | None
) -> TrainResult | EvaluateResult | PartResult | None:
    if isinstance(config, EvaluateRun) and config.sandboxed:
        sandbox.enter()  # before anything else: no code of others may have run
    os.environ.setdefault("TQDM_DISABLE", "1")  # a log file is no place for progress bars
    # Threads that spin for long while they wait slow down whoever shares the cores, a second run above all. This short
    # a spin costs a single run nothing; none at all (OMP_WAIT_POLICY=PASSIVE) halves its speed.
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    # Imported here because they bring torch, and a run needs only its own.
    match config:
        case TrainRun():
            from tunesmith_runtime.train.running import run

            return run(config, reporter)
        case EvaluateRun():
            from tunesmith_runtime.evaluate.evaluating import evaluate, evaluate_part

            return evaluate_part(config, config.part, reporter) if config.part else evaluate(config, reporter)
        case ServeRun():
            from tunesmith_runtime.serve.engine.serving import serve

            serve(config, reporter)
            return None
        case GatewayRun():
            from tunesmith_runtime.serve.gateway import running

            running.run(config, reporter, mirror.hurry if mirror else None)
            return None


def _fail(error: Exception, config: RunConfig, reporter: ProgressReporter) -> int:
    failure = as_run_error(error)
    if type(failure) is RunError:
        traceback.print_exception(error)
    print(f"error: {failure.message}", file=sys.stderr)  # noqa: T201 - the run's log
    process.leave_last_words(_last_words(failure.failure(), config))
    reporter.update(state="Failed", failure=failure.failure())
    return 1


def _last_words(failure: RunFailure, config: RunConfig) -> str:
    """Return what a failing run leaves beside its log: a sentence; from a sandbox, where nothing else gets out, all."""
    if not (isinstance(config, EvaluateRun) and config.sandboxed):
        return failure.message
    short = failure.model_copy(update={"message": failure.message[:_LONGEST_IN_SANDBOX]})
    return ProgressDocument(state="Failed", failure=short).model_dump_json(by_alias=True, exclude_none=True)


if __name__ == "__main__":
    process.run(lambda: main(sys.argv[1:]))
