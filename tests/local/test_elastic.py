"""Elastic runs: fewer workers when some are gone, more when they are back, the same steps throughout."""

import shutil
from pathlib import Path

from tests.local.home import until
from tests.local.pods import Pods
from tests.local.test_multinode import DEADLINE_SECONDS, alone, assert_equal, run_config, volumes
from tunesmith_api.contract import ELASTIC_SECONDS_VARIABLE, ProgressDocument

__all__ = ["alone", "volumes"]


def test_one_worker_goes_on_from_two_and_learns_the_same(volumes: Path, alone: ProgressDocument) -> None:
    config = run_config("shrunk", workers=2, batch=2, minWorkers=1)
    pods = Pods(volumes, config, apart=False)
    with pods.head() as head:
        assert head.wait(DEADLINE_SECONDS) == 0, pods.logs()
    assert pods.progress().workers == 2
    assert_equal(pods.progress(), volumes / "models" / "shrunk", alone)
    shutil.rmtree(volumes / "models" / "shrunk-checkpoints" / "checkpoint-6")
    shutil.rmtree(volumes / "models" / "shrunk")

    config["run"]["attempt"] = 2
    pods = Pods(volumes, config, {ELASTIC_SECONDS_VARIABLE: "1"})
    with pods.head() as head:
        assert head.wait(DEADLINE_SECONDS) == 0, pods.logs()
    document = pods.progress()
    assert (document.workers, document.resumed_from_step) == (1, 4)
    assert_equal(document, volumes / "models" / "shrunk", alone)


def test_it_goes_on_without_a_lost_worker_and_takes_another_in(volumes: Path) -> None:
    config = run_config(
        "elastic", workers=2, batch=1, minWorkers=1, checkpoints={"uri": "pvc://models/e", "everySteps": 50, "keep": 1}
    )
    config["training"]["maxSteps"] = 1_000_000
    config["limits"] = {"graceSeconds": 300}
    pods = Pods(volumes, config, {ELASTIC_SECONDS_VARIABLE: "5"})

    def trains_with(workers: int) -> bool:
        found = pods.progress()
        return found.workers == workers and found.stage == "training" and found.checkpoint is not None

    with pods.head() as head:
        with pods.worker() as worker:
            until(lambda: trains_with(2) or head.poll() is not None, DEADLINE_SECONDS)
            pods.kill_all_of(worker)
        until(lambda: trains_with(1) or head.poll() is not None, DEADLINE_SECONDS)
        assert head.poll() is None, pods.logs()
        with pods.worker():
            until(lambda: trains_with(2) or head.poll() is not None, DEADLINE_SECONDS)
            assert head.poll() is None, pods.logs()
            head.terminate()
            assert head.wait(DEADLINE_SECONDS) == 143, pods.logs()

    document = pods.progress()
    assert document.failure is None
    (lost,) = document.recoveries
    assert lost.worker == "elastic-a1-workers-0"
    assert lost.resumed_from_step is not None
    log = pods.logs()
    assert "elastic-a1-workers-0 is missing: going on with 1 of 2" in log
    assert "more workers have joined: training goes on with them" in log
    assert document.resumed_from_step is not None
    assert document.resumed_from_step > lost.resumed_from_step
    assert document.resumed_from_step % 50, "the checkpoint was taken for it, so that no step is done twice"
