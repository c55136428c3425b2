"""What was lost, why, and what is taken down of it."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tunesmith_api.contract import RunIdentity
from tunesmith_api.finetunejob import TrainingProgress
from tunesmith_runtime.errors import DataError, RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.cluster import Cluster, Node
from tunesmith_runtime.train.failures import WorkerLostError, WorkerMemoryError
from tunesmith_runtime.train.recovery.attempt import PodEndingError
from tunesmith_runtime.train.recovery.losses import Loss, Witnesses, find
from tunesmith_runtime.train.recovery.pod import PodFiles
from tunesmith_runtime.train.recovery.recovered import Recovered
from tunesmith_runtime.train.recovery.recovering import Recoveries
from tunesmith_runtime.train.recovery.traces import Traces, traces

RUN = RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="u", attempt=1)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Give three pods of two workers each, of which the last one is gone."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in listening]
    listening[-1].close()
    nodes = tuple(Node(f"id-{number}", f"pod-{number}", "127.0.0.1", port) for number, port in enumerate(ports))
    yield Cluster(nodes, workers=6, per_pod=2, pods=True)
    for each in listening:
        each.close()


def test_the_workers_of_a_pod_follow_each_other(cluster: Cluster) -> None:
    ids = [each["ray.io/node-id"] for each in cluster.label_selector() or ()]
    assert ids == ["id-0", "id-0", "id-1", "id-1", "id-2", "id-2"]
    assert [cluster.node_of(rank).name for rank in range(6)] == [f"pod-{rank // 2}" for rank in range(6)]


def test_a_pod_that_does_not_answer_is_what_was_lost(cluster: Cluster) -> None:
    assert find(WorkerLostError("Connection closed by peer"), cluster, Witnesses(RUN)) == Loss(
        "pod-2",
        "WorkerLost",
        "pod-2 does not answer any more: its pod was killed, or the node that it ran on is gone",
        frozenset({"id-2"}),
    )


def test_a_pod_that_was_told_to_end_is_lost_with_nothing_lost(cluster: Cluster) -> None:
    found = find(PodEndingError(("pod-1",), 120, frozenset({"id-1"})), cluster, Witnesses(RUN))
    assert found is not None
    assert (found.worker, found.gone) == ("pod-1", frozenset({"id-1"}))
    assert found.message == (
        "pod-1 was told to end (SIGTERM), as by an eviction or a deletion; checkpoint 120 was taken"
    )


def test_a_worker_that_used_up_its_memory_is_named(cluster: Cluster) -> None:
    found = find(WorkerMemoryError("used up its memory", (3,)), cluster, Witnesses(RUN))
    assert found == Loss("pod-1", "OutOfMemory", "used up its memory")


def test_other_errors_are_no_losses(cluster: Cluster) -> None:
    for error in (DataError("row 7 is broken"), RunError("ValueError: no")):
        assert find(error, cluster, Witnesses(RUN)) is None


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"}, 2),
        ({"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"}, 1),
        ({}, 0),
    ],
)
def test_a_pod_counts_what_the_kernel_has_ended_for_memory(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert traces(RUN.model_dump_json(by_alias=True), tmp_path) == Traces(kills)


def test_a_worker_that_crashes_leaves_its_last_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import os, signal
from tunesmith_api.contract import RunIdentity
from tunesmith_runtime.train.recovery.pod import PodFiles
from tunesmith_runtime.train.recovery.stacks import answering
pod = PodFiles.of(RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="crash", attempt=1))
with answering(pod, None, first=True):
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGSEGV
    pod = PodFiles.of(RUN.model_copy(update={"uid": "crash"}))
    (crash,) = pod.take_crashes()
    assert crash.startswith("Fatal Python error: Segmentation fault\n")
    assert "in answering" not in crash
    assert pod.take_crashes() == ()
    assert pod.last_beat() is not None


def test_a_loss_and_its_recovery_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ProgressReporter(tmp_path / "progress.json")
    reporter.update(training=TrainingProgress(step=17, total_steps=100))
    loss = Loss("pod-1", "WorkerLost", "pod-1 does not answer any more")
    lost_at = time.monotonic() - 20
    Recoveries(reporter, 1).note(loss, RunError("x"), lost_at)
    (before,) = reporter.read().recoveries
    assert (before.worker, before.reason, before.step, before.seconds) == ("pod-1", "WorkerLost", 17, None)

    first = Recovered(reporter, lost_at, 15, before=100)
    state = TrainerState(is_world_process_zero=True)
    for _ in range(2):
        first.on_step_end(TrainingArguments(output_dir=str(tmp_path), report_to="none"), state, TrainerControl())
    (after,) = reporter.read().recoveries
    assert after.resumed_from_step == 115
    assert after.seconds is not None
    assert 20 <= after.seconds < 30
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "lost at step 17: pod-1: WorkerLost: pod-1 does not answer any more; starting the workers again (1 of 1)"
    )
    assert said[1] == f"recovered from the loss of pod-1 in {after.seconds} s: training goes on from step 115"
    assert len(said) == 2


def test_one_loss_too_many_ends_the_attempt_and_says_what_it_was(tmp_path: Path) -> None:
    reporter = ProgressReporter(tmp_path / "progress.json")
    recoveries = Recoveries(reporter, 1)
    loss = Loss("pod-1", "OutOfMemory", "pod-1 has used up its memory")
    recoveries.note(loss, RunError("x"), time.monotonic())
    with pytest.raises(RunError, match="pod-1 has used up its memory") as raised:
        recoveries.note(loss, RunError("x"), time.monotonic())
    assert (raised.value.reason, raised.value.retryable) == ("OutOfMemory", True)
    assert len(reporter.read().recoveries) == 2


def test_the_progress_has_the_last_sixteen(tmp_path: Path) -> None:
    reporter = ProgressReporter(tmp_path / "progress.json")
    recoveries = Recoveries(reporter, 20)
    for number in range(20):
        recoveries.note(Loss(f"pod-{number}", "WorkerLost", ""), RunError("x"), time.monotonic())
    assert [each.worker for each in reporter.read().recoveries] == [f"pod-{number}" for number in range(4, 20)]
