"""A run with several workers: on one machine, or in pods, here processes with names and addresses of their own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.local.home import until
from tests.local.pods import Pods
from tests.tiny import make_tiny_model
from tunesmith_api.contract import ProgressDocument
from tunesmith_runtime.models.loading import load_causal_lm

DEADLINE_SECONDS = 900
STEPS = 6
# Two workers add up the same tokens as one, in another order: the last of the 24 bits of fp32 sums differ, and six
# steps of AdamW leave 2e-7 of that in loss and weights. Had each worker taken the mean over its own tokens, the answers
# of very different lengths would make the loss differ by 8e-4 and the weights by 6e-3 (both measured).
TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that every pod sees, with a base model and data of very different lengths."""
    folder = tmp_path_factory.mktemp("volumes")
    rows = [
        (f"What is item {number}?", f"Item {number}. " + "It is a part. " * (number % 6) ** 2) for number in range(48)
    ]
    make_tiny_model(folder / "models" / "base", [f"{question} {answer} user assistant" for question, answer in rows])
    (folder / "data").mkdir()
    with (folder / "data" / "train.jsonl").open("w") as file:
        for question, answer in rows:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}) + "\n")
    return folder


def run_config(name: str, workers: int, batch: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": f"uid-{name}", "attempt": 1},
        "model": "pvc://models/base",
        "data": {
            "train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": "messages"}],
            "maxLength": 256,
        },
        "method": {"adapter": {"type": "full"}},
        "training": {"learningRate": 0.001, "maxSteps": STEPS, "perDeviceTrainBatchSize": batch},
        "checkpoints": {"uri": f"pvc://models/{name}-checkpoints", "everySteps": 4, "keep": 2},
        "output": {"uri": f"pvc://models/{name}"},
        "workers": workers,
        **changes,
    }


def train(pods: Pods) -> ProgressDocument:
    """Run the head, which starts all workers on this machine, to the end of the run."""
    with pods.head() as head:
        assert head.wait(DEADLINE_SECONDS) == 0, pods.logs()
    return pods.progress()


@pytest.fixture(scope="session")
def alone(volumes: Path) -> ProgressDocument:
    """Return the outcome of one worker that sees in a step what two see together."""
    return train(Pods(volumes, run_config("alone", workers=1, batch=4), apart=False))


@pytest.fixture(scope="session")
def together(volumes: Path) -> ProgressDocument:
    """Return the outcome of two workers by ZeRO-3, which takes the model apart."""
    return train(Pods(volumes, run_config("zero-3", workers=2, batch=2, deepspeed={"zeroStage": 3}), apart=False))


def assert_equal(document: ProgressDocument, model: Path, alone: ProgressDocument) -> None:
    """Fail unless a run ended with the loss, and left the weights, of the one that trained alone."""
    assert document.training is not None
    assert alone.training is not None
    assert document.training.step == alone.training.step == STEPS
    assert document.training.loss == pytest.approx(alone.training.loss, rel=TOLERANCE)
    expected, found = load_causal_lm(model.parent / "alone").state_dict(), load_causal_lm(model).state_dict()
    assert found.keys() == expected.keys()
    for weight, tensor in expected.items():
        torch.testing.assert_close(found[weight], tensor, atol=TOLERANCE, rtol=0)


def test_two_workers_of_one_machine_learn_what_one_learns_with_twice_the_batch(
    volumes: Path, alone: ProgressDocument, together: ProgressDocument
) -> None:
    """Weight for weight; tests/cluster compares losses over two pods."""
    assert_equal(together, volumes / "models" / "zero-3", alone)


def test_one_worker_goes_on_from_the_checkpoint_of_two(
    volumes: Path, alone: ProgressDocument, together: ProgressDocument
) -> None:
    """What ZeRO-3 spread over two workers is put together, and the last two of six steps are the same."""
    shutil.rmtree(volumes / "models" / "zero-3-checkpoints" / f"checkpoint-{STEPS}")
    config = run_config("zero-3", workers=1, batch=4, deepspeed={"zeroStage": 3})
    config["run"]["attempt"] = 2
    config["output"] = {"uri": "pvc://models/zero-3-alone"}
    resumed = train(Pods(volumes, config, apart=False))

    assert resumed.resumed_from_step == 4
    assert_equal(resumed, volumes / "models" / "zero-3-alone", alone)
    left = {path.name for path in (volumes / "models" / "zero-3-checkpoints").iterdir()}
    assert not any(name.startswith(".") for name in left), "nothing of the conversion is left"


def test_two_workers_agree_on_what_the_second_stage_of_a_reward_model_learns_from(volumes: Path) -> None:
    general = [{"prompt": f"What is item {n}?", "chosen": " A part.", "rejected": " No."} for n in range(48)]
    domain = [{"prompt": f"Where is item {n}?", "chosen": " A part.", "rejected": " No."} for n in range(7)]
    # What they contradict is nothing that the first stage can be unsure of.
    domain += [{"prompt": f"Where is item {n}?", "chosen": " No.", "rejected": " A part."} for n in range(7, 10)]
    for name, rows in (("general", general), ("domain", domain)):
        (volumes / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = {
        name: {"name": name, "uri": f"pvc://data/{name}.jsonl", "format": "preference"}
        for name in ("general", "domain")
    }
    config = run_config(
        "stages", workers=2, batch=4, data={"train": [pairs["general"]], "validation": {"fraction": 0.4}}
    )
    second = {"domain": {"train": [pairs["domain"]], "numTrainEpochs": 1}}
    config["method"] = {"type": "rm", "adapter": {"type": "full"}, "rm": second}
    config["training"]["learningRate"] = 0.01
    document = train(Pods(volumes, config, apart=False))
    assert document.data is not None
    assert document.data.dropped.contradicted == 3
    assert document.training is not None
    # Seven pairs by two workers, four at a time, are one step.
    assert (document.training.step, document.training.total_steps) == (STEPS + 1, STEPS + 1)
    model = AutoModelForSequenceClassification.from_pretrained(volumes / "models" / "stages", local_files_only=True)
    assert model.config.num_labels == 1


def test_a_worker_that_does_not_come_is_named(volumes: Path) -> None:
    pods = Pods(volumes, run_config("waiting", workers=3, batch=2), {"TUNESMITH_WORKERS_TIMEOUT": "2"})
    with pods.head() as head:
        assert head.wait(DEADLINE_SECONDS) == 1, pods.logs()

    document = pods.progress()
    assert document.stage == "waiting for workers: waiting-a1-workers-0, waiting-a1-workers-1 are missing"
    assert document.failure is not None
    assert document.failure.retryable
    assert document.failure.message.startswith(
        "not all workers joined the run within 2 s: waiting-a1-workers-0, waiting-a1-workers-1 are missing; look at"
    )
    assert pods.last_words() == document.failure.message


def test_a_lost_worker_is_replaced_within_the_attempt_and_sigterm_loses_nothing(volumes: Path) -> None:
    config = run_config(
        "lost", workers=2, batch=1, checkpoints={"uri": "pvc://models/lost", "everySteps": 50, "keep": 1}
    )
    config["training"]["maxSteps"] = 1_000_000
    config["limits"] = {"maxFailures": 2, "graceSeconds": 300}
    pods = Pods(volumes, config)

    def recovered(times: int) -> bool:
        found = pods.progress().recoveries
        return len(found) == times and found[-1].seconds is not None

    with pods.head() as head:
        with pods.worker() as worker:
            until(lambda: pods.progress().checkpoint is not None or head.poll() is not None, DEADLINE_SECONDS)
            pods.kill_all_of(worker)
        assert head.poll() is None, pods.logs()
        with pods.worker() as worker:
            until(lambda: recovered(1) or head.poll() is not None, DEADLINE_SECONDS)
            assert head.poll() is None, pods.logs()
            worker.terminate()
            assert worker.wait(DEADLINE_SECONDS) == 143, pods.logs()
        with pods.worker() as worker:
            until(lambda: recovered(2) or head.poll() is not None, DEADLINE_SECONDS)
            assert head.poll() is None, pods.logs()
            assert pods.progress().state == "Running"

            head.terminate()
            assert head.wait(DEADLINE_SECONDS) == 143, pods.logs()
            worker.terminate()
            assert worker.wait(10) in (0, 143), pods.logs()
    until(lambda: not pods.processes(), 10)

    document = pods.progress()
    assert document.failure is None
    killed, told = document.recoveries
    assert (killed.worker, killed.reason) == (told.worker, told.reason) == ("lost-a1-workers-0", "WorkerLost")
    assert (killed.message or "").startswith("lost-a1-workers-0 does not answer any more"), pods.logs()
    assert killed.resumed_from_step is not None
    assert killed.resumed_from_step % 50 == 0
    ending = told.message or ""
    assert "was told to end (SIGTERM)" in ending
    assert ending.endswith(f"checkpoint {told.resumed_from_step} was taken"), "and nothing is done twice"
    assert document.checkpoint is not None
    last = volumes / "models" / "lost" / f"checkpoint-{document.checkpoint.step}"
    assert told.resumed_from_step is not None
    assert document.checkpoint.step > told.resumed_from_step
    assert (last / "tunesmith.json").is_file()
