"""A training run as the local shell and the pods start it, with a meter: `python -m tests.bench.ours MODEL FIGURES`.

The run's config is where `python -m tunesmith_runtime` looks for it.
"""

import sys
from pathlib import Path

from tests.bench.meter import Meter
from tunesmith_api.contract import TrainRun
from tunesmith_runtime import __main__ as runtime
from tunesmith_runtime.train import environment


def main(model: str, figures: str) -> int:
    """Carry out the run and write the figures; return its exit code."""
    meter = Meter(model)
    prepare = environment.prepare

    def prepare_and_watch(config: TrainRun) -> None:
        prepare(config)
        meter.start()  # not earlier: torch reads settings when it is imported

    environment.prepare = prepare_and_watch
    code = runtime.main()
    if code == 0:
        meter.write(Path(figures))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
