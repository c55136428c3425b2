"""Training speed, padding, loss, memory and start-up of this trainer and of others, in one run: `make bench`.

The model is a random Llama made on the spot, and so are the records: nothing is downloaded but LLaMA-Factory, into an
environment of its own. All begin with the same model, see the same records once, take steps of about as many real
tokens, and are measured by the same meter and judged by the same judge. Each runs in a process of its own, one after
another. Nothing is asserted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench import contestants
from tests.bench.contestants import LLAMA_FACTORY, Contestant, Start
from tests.bench.workload import Workload

# Of a contestant that fails.
LAST_LINES = 20
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    # Ours sets it for itself: threads that wait give way to what else runs on the machine, which then disturbs less.
    "GOMP_SPINCOUNT": "30000",
}


@dataclass(frozen=True)
class Figures:
    """What one contestant did, in one run or in the middle of several."""

    real_per_second: float
    calm_per_second: float
    real_ratio: float
    loss: float
    peak_memory: float
    first_step: float


def main() -> None:
    """Run the contestants and print the table; exit with 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-factory", type=Path, help="Python of an environment with LLaMA-Factory")
    parser.add_argument("--rounds", type=int, default=1, help="how often each runs; the table shows medians")
    given = parser.parse_args()
    entered: tuple[Contestant, ...] = contestants.OF_THIS_ENVIRONMENT
    if given.llama_factory is not None:
        entered = (*entered, *contestants.llama_factory(given.llama_factory))
    done: dict[str, list[Figures]] = {}
    failed = False
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, figures in one_round(entered, Path(folder)).items():
                done.setdefault(name, []).append(figures)
        failed = failed or any(len(done.get(each.name, ())) <= number for each in entered)
    show({name: middle(figures) for name, figures in done.items()}, given.rounds)
    sys.exit(1 if failed else 0)


def one_round(entered: Sequence[Contestant], folder: Path) -> dict[str, Figures]:
    """Run each contestant once; return the figures of those that got to the end."""
    work = Workload(folder / "volumes")
    if run([sys.executable, "-m", "tests.bench.workload", str(work.volumes)], {}) is None:
        sys.exit(1)
    runs: dict[str, tuple[Start, float, float]] = {}
    for number, each in enumerate(entered):
        own = folder / f"run-{number}"
        own.mkdir()
        start = each.prepare(work, own)
        print(f"{each.name} …", file=sys.stderr, flush=True)
        measured = run(start.command, start.environment)
        if measured is not None:
            runs[each.name] = (start, *measured)
    models = [str(start.model) for start, _, _ in runs.values()]
    judge = [sys.executable, "-m", "tests.bench.held_out", str(work.held_out), str(work.model), *models]
    judged = subprocess.run(judge, env=_environment({}), stdout=subprocess.PIPE, check=True)
    losses: list[float] = json.loads(judged.stdout)
    return {
        name: read(start, began, peak, loss)
        for (name, (start, began, peak)), loss in zip(runs.items(), losses, strict=True)
    }


def read(start: Start, began: float, peak: float, loss: float) -> Figures:
    """Return what the meter, the clock and the judge say of a run."""
    metered = json.loads(start.figures.read_text())
    return Figures(
        real_per_second=metered["real_per_second"],
        calm_per_second=metered["calm_per_second"],
        real_ratio=metered["real"] / metered["computed"],
        loss=loss,
        peak_memory=peak,
        first_step=metered["first_step_at"] - began,
    )


def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float] | None:
    """Run a command to its end; return when it started, in seconds, and its peak memory, in MB; None when it fails."""
    started = time.time()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, env=_environment(environment), stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            printed.seek(0)
            last = "\n".join(printed.read().decode(errors="replace").splitlines()[-LAST_LINES:])
            code = os.waitstatus_to_exitcode(status)
            print(f"{' '.join(command)} failed with exit code {code}:\n{last}", file=sys.stderr)
            return None
    return started, usage.ru_maxrss / 1024


def middle(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(**{field.name: median(getattr(each, field.name) for each in runs) for field in fields(Figures)})


def show(figures: Mapping[str, Figures], rounds: int) -> None:
    """Print the table, and what our loop costs."""
    often = "one run" if rounds == 1 else f"medians of {rounds} runs"
    table = Table(title=f"Training on this machine, {often}", caption=f"{os.cpu_count()} cores")
    table.add_column("", no_wrap=True)
    for column in (
        "real tokens/s",
        "x LLaMA-F.",
        "x TRL padded",
        "real tokens of all",
        "held-out loss",
        "peak MB",
        "s to step 1",
    ):
        table.add_column(column, justify="right")
    for name, each in figures.items():
        table.add_row(
            name,
            f"{each.real_per_second:,.0f}",
            *(_ratio(each, figures.get(rival)) for rival in (LLAMA_FACTORY, contestants.TRL_PADDED.name)),
            f"{each.real_ratio:.3f}",
            f"{each.loss:.3f}",
            f"{each.peak_memory:,.0f}",
            f"{each.first_step:.1f}",
        )
    console = Console(width=120)
    console.print(table)
    for ours, bare in (
        (contestants.PACKED.name, contestants.BARE_PACKED.name),
        (contestants.PADDED.name, contestants.BARE_PADDED.name),
    ):
        if ours in figures and bare in figures:
            more = figures[bare].calm_per_second / figures[ours].calm_per_second - 1
            console.print(
                f"{ours}: {more:+.1%} time for a token beside the {bare}, in their calm steps", highlight=False
            )


def _ratio(figures: Figures, rival: Figures | None) -> str:
    return f"{figures.real_per_second / rival.real_per_second:.2f}" if rival else "-"


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **_ENVIRONMENT, "PYTHONPATH": str(Path.cwd()), **more}


if __name__ == "__main__":
    main()
