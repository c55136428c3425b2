"""A round: a short run, one kill in it, and whether all is as if nothing had happened."""

import json
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.builders import manifest
from tests.cluster.chaos.schedule import Round
from tests.cluster.chaos.victims import Run, kill
from tests.cluster.cluster import Namespace, Object, Shelf, eventually

EVERY_STEPS = 10
# What a kill may cost, all in all: another start of everything on a busy machine.
DEADLINE_SECONDS = 420.0
# Of the control plane or the operator: the run itself goes on.
BESIDE_THE_RUN = {"operator", "api server", "etcd"}


@dataclass(frozen=True)
class Outcome:
    """What a kill cost."""

    number: int
    victim: str
    what: str
    step: int
    seconds: float
    repeated: int
    attempts: int

    def __str__(self) -> str:
        return (
            f"round {self.number}: {self.victim} ({self.what}) killed at step {self.step}; steps advanced again after "
            f"{self.seconds:.1f} s, {self.repeated} repeated, {self.attempts} attempts"
        )

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))


def job(name: str, workers: int, steps: int) -> Object:
    """Return a FineTuneJob on a tiny model that takes some seconds to train."""
    spec: dict[str, Any] = {
        "model": {"uri": "pvc://models/base"},
        "data": {
            "train": [{"name": "answers", "uri": "pvc://data/train.jsonl", "format": "messages"}],
            "maxLength": 128,
        },
        "method": {"adapter": {"type": "full"}},
        "training": {"maxSteps": steps, "learningRate": 1e-3, "perDeviceTrainBatchSize": 4},
        "checkpoints": {"everySteps": EVERY_STEPS},
        "output": {"uri": f"pvc://models/{name}"},
        "runPolicy": {"maxAttempts": 5},
    }
    if workers > 1:
        spec["workers"] = workers
    made = manifest("FineTuneJob", name, spec)
    del made["metadata"]["namespace"]
    return made


def play(this: Round, namespace: Namespace, shelf: Shelf) -> Outcome:
    """Run a job, kill, wait for its end and check it; return what the kill cost."""
    name = f"round-{this.number}"
    run = Run(namespace, name)
    namespace.apply(job(name, this.workers, this.steps))
    eventually(lambda: len(run.pods()) == this.workers, f"{this.workers} pods of {name}", 120)
    eventually(
        lambda: _step(namespace.status("FineTuneJob", name)) >= this.step,
        f"step {this.step} of {name}",
        DEADLINE_SECONDS,
    )
    time.sleep(this.seconds)
    before, killed_at = namespace.status("FineTuneJob", name), time.monotonic()
    what = kill(this.victim, run)
    seconds = _until_steps_advance(this, namespace, name, before, killed_at)
    eventually(
        lambda: namespace.status("FineTuneJob", name).get("phase") in {"Succeeded", "Failed"},
        f"end of {name} ({what})",
        DEADLINE_SECONDS,
    )
    status = namespace.status("FineTuneJob", name)
    outcome = Outcome(
        this.number, this.victim, what, _step(before), seconds, _repeated(status), len(status["attempts"])
    )
    _check(this, outcome, run, status, shelf)
    return outcome


def _step(status: Object) -> int:
    return int((status.get("progress") or {}).get("step", 0))


def _until_steps_advance(this: Round, namespace: Namespace, name: str, before: Object, killed_at: float) -> float:
    """Return the seconds from a kill to the first step after it that its user sees, new or repeated."""

    def advanced() -> bool:
        status = namespace.status("FineTuneJob", name)
        if status.get("phase") in {"Succeeded", "Failed"}:
            return True
        if this.victim in BESIDE_THE_RUN:
            return _step(status) not in {0, _step(before)}
        last = (status.get("recoveries") or [{}])[-1]
        again = len(status.get("recoveries") or ()) > len(before.get("recoveries") or ()) and "seconds" in last
        attempts = status.get("attempts") or [{}]
        return again or (len(attempts) > len(before.get("attempts") or ()) and "toStep" in attempts[-1])

    eventually(advanced, f"step of {name} after the kill", DEADLINE_SECONDS)
    return time.monotonic() - killed_at


def _repeated(status: Object) -> int:
    """Return the optimizer steps that were done twice, by the history that the status tells."""
    attempts = [each for each in status["attempts"] if each.get("toStep") is not None]
    between = sum(max(0, last["toStep"] - after.get("fromStep", 0)) for last, after in pairwise(attempts))
    within = sum(max(0, each["step"] - (each.get("resumedFromStep") or 0)) for each in status.get("recoveries") or ())
    return int(between + within)


def _check(this: Round, outcome: Outcome, run: Run, status: Object, shelf: Shelf) -> None:
    told = f"{outcome}\n{json.dumps(status, indent=1)}"
    assert status["phase"] == "Succeeded", told
    progress = status["progress"]
    assert (progress["step"], progress["totalSteps"]) == (this.steps, this.steps), told
    state = json.loads(
        shelf.run("sh", "-c", f"cat /volumes/models/{run.job}-checkpoints/*/checkpoint-{this.steps}/trainer_state.json")
    )
    losses = [each["step"] for each in state["log_history"] if "loss" in each]
    assert losses == list(range(1, this.steps + 1)), f"each step is once in the history of the weights\n{told}"
    published = [line for line in shelf.run("ls", "-A", "/volumes/models").split() if run.job in line]
    assert sorted(published) == [run.job, f"{run.job}-checkpoints"], f"{published}\n{told}"
    left = shelf.run("sh", "-c", f"ls -A /volumes/models/{run.job}-checkpoints/*").split()
    assert not [name for name in left if name.startswith(".data-")], f"{left}\n{told}"
    eventually(lambda: not run.pods(), f"end of all pods of {run.job}", 60)
    _check_history(this, outcome, status["attempts"], told)


def _check_history(this: Round, outcome: Outcome, attempts: list[Object], told: str) -> None:
    assert [each["number"] for each in attempts] == list(range(1, len(attempts) + 1)), told
    assert [each["reason"] == "Completed" for each in attempts] == [False] * (len(attempts) - 1) + [True], told
    for last, after in pairwise(attempts):
        assert last["startedAt"] <= last["endedAt"] <= after["startedAt"], told
    if this.victim in BESIDE_THE_RUN:
        assert len(attempts) == 1, told
    # What has been reported may be a step behind what has been done.
    assert outcome.repeated <= EVERY_STEPS + 1, told


def record(outcome: Outcome, path: Path | None) -> None:
    """Print an outcome, and add it to a file of lines of JSON if there is one."""
    print(f"\n{outcome}", flush=True)  # noqa: T201 - what the rounds are for
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(outcome.to_json() + "\n")
