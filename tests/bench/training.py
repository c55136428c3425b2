"""Training speed, padding, memory and start-up, beside TRL alone on the same data and model, in one run.

`make bench`. The model is a random Llama made on the spot and the records vary in length as answers do, so that
nothing is downloaded. Each contestant runs in a process of its own, one after another.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.tiny import make_tiny_model
from tunesmith_api.contract import ProgressDocument, RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import Dataset, TrainingData
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Adapter, Method, Training

STEPS = {"none": 40, "bfd": 20}
WORDS = ("the", "valve", "pump", "sensor", "garden", "timer", "opens", "closes", "when", "rain", "frost", "light")


@dataclass(frozen=True)
class Figures:
    """What one contestant did."""

    name: str
    tokens_per_second: float
    real_ratio: float
    peak_memory: float
    first_step: float


def main() -> None:
    """Run the contestants and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = write_data(work / "volumes" / "data")
        texts = data.read_text().splitlines()
        make_tiny_model(work / "volumes" / "models" / "base", texts, hidden_size=128, layers=4, vocab_size=1024)
        trl = trl_alone(work, data)
        ours = [tunesmith(work, packing) for packing in ("none", "bfd")]
    table = Table(title="Training, one run on this machine", caption=f"{os.cpu_count()} cores; ratios to TRL alone")
    for column in (
        "",
        "real tokens/s",
        "ratio",
        "real/computed tokens",
        "peak memory MB",
        "ratio",
        "s to step 1",
        "ratio",
    ):
        table.add_column(column, justify="left" if not column else "right")
    for each in (trl, *ours):
        table.add_row(
            each.name,
            f"{each.tokens_per_second:.0f}",
            f"{each.tokens_per_second / trl.tokens_per_second:.2f}",
            f"{each.real_ratio:.3f}",
            f"{each.peak_memory:.0f}",
            f"{each.peak_memory / trl.peak_memory:.2f}",
            f"{each.first_step:.1f}",
            f"{each.first_step / trl.first_step:.2f}",
        )
    Console(width=120).print(table)


def write_data(folder: Path) -> Path:
    """Write 480 conversations whose answers have 4 to 120 words."""
    folder.mkdir(parents=True)
    generator = random.Random(17)
    lines = []
    for _ in range(480):
        answer = " ".join(generator.choices(WORDS, k=int(4 + 116 * generator.random() ** 2)))
        turns = [{"role": "user", "content": "what now"}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns}))
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def trl_alone(work: Path, data: Path) -> Figures:
    """Measure TRL's trainer with its own data preparation."""
    out = work / "trl.json"
    arguments = [str(work / "volumes/models/base"), str(data), str(STEPS["none"]), str(out)]
    started, peak = run(["-m", "tests.bench.trl_alone", *arguments], {})
    figures = json.loads(out.read_text())
    first_step = figures["first_step_at"] - started
    return Figures("TRL alone", figures["tokens_per_second"], figures["real_ratio"], peak, first_step)


def tunesmith(work: Path, packing: str) -> Figures:
    """Measure a training run as the local shell starts it."""
    source = Dataset(name="garden", uri="pvc://data/train.jsonl", format="messages")
    config = TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="bench", name=packing, uid=packing, attempt=1),
        model="pvc://models/base",
        data=TrainingData.model_validate(
            {"train": (source,), "maxLength": 256, "packing": packing}, by_alias=True, strict=False
        ),
        method=Method(adapter=Adapter(type="full")),
        training=Training(max_steps=STEPS[packing], learning_rate=1e-3),
        checkpoints=RunCheckpoints(uri=f"pvc://models/{packing}-checkpoints", every_steps=1000, keep=1),
        output=Output(uri=f"pvc://models/{packing}"),
    )
    (work / "config.json").write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    progress = work / f"progress-{packing}.json"
    seen: list[float] = []

    def watch() -> None:
        if not seen and progress.exists():
            document = ProgressDocument.model_validate_json(progress.read_bytes())
            if document.training and document.training.step:
                seen.append(time.time())

    environment = {
        "TUNESMITH_CONFIG": str(work / "config.json"),
        "TUNESMITH_PROGRESS": str(progress),
        "TUNESMITH_VOLUMES": str(work / "volumes"),
    }
    started, peak = run(["-m", "tunesmith_runtime"], environment, watch)
    training = ProgressDocument.model_validate_json(progress.read_bytes()).training
    assert training is not None
    assert training.tokens_per_second is not None
    assert training.real_token_ratio is not None
    return Figures(
        f"Tunesmith, packing {packing}",
        training.tokens_per_second,
        training.real_token_ratio,
        peak,
        seen[0] - started,
    )


def run(arguments: list[str], environment: dict[str, str], watch: object = None) -> tuple[float, float]:
    """Run Python to its end; return when it started, in seconds, and its peak memory, in MB."""
    started = time.time()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": str(Path.cwd()), **environment},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if callable(watch):
                watch()
            time.sleep(0.02)
        if status:
            printed.seek(0)
            last = "\n".join(printed.read().decode(errors="replace").splitlines()[-20:])
            sys.exit(f"{' '.join(arguments)} failed with exit code {os.waitstatus_to_exitcode(status)}:\n{last}")
    return started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
