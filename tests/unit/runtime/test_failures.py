"""What several workers leave behind becomes one sentence."""

import pickle

import pytest
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

from tunesmith_runtime.errors import AcceleratorFailedError, DataError, OutOfMemoryError, RunError, as_run_error
from tunesmith_runtime.train.failures import WorkerLostError, cause

CUT_OFF = RunError("RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.7]:4711")


def raised(error: Exception) -> Exception:
    """Return an error as Ray brings it from the pod of a worker."""
    wrapped: Exception = pickle.loads(pickle.dumps(UserExceptionWithTraceback(error, "Traceback ...")))
    return wrapped


def gone(message: str = "The actor died unexpectedly before finishing this task.") -> Exception:
    return WorkerHealthCheckFailedError("A worker health check failed.", RuntimeError(message))


def test_the_sentence_of_one_worker_counts_whatever_the_others_say() -> None:
    found = cause(WorkerGroupError("text", {0: raised(CUT_OFF), 1: raised(DataError("row 7 is broken")), 2: gone()}))
    assert (type(found), found.message, found.retryable) == (DataError, "row 7 is broken", False)


NCCL = as_run_error(RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:2356, remote process exited, NCCL 2.27"))


@pytest.mark.parametrize(
    ("failures", "ranks"),
    [
        ({1: gone()}, (1,)),
        ({0: raised(CUT_OFF)}, ()),
        ({0: raised(CUT_OFF), 1: gone()}, (1,)),
        ({0: raised(NCCL), 1: raised(CUT_OFF), 2: gone()}, (2,)),
    ],
)
def test_a_worker_that_is_gone_is_lost_and_not_an_error_of_those_that_waited_for_it(
    failures: dict[int, Exception], ranks: tuple[int, ...]
) -> None:
    found = cause(WorkerGroupError("text", failures))
    assert isinstance(found, WorkerLostError)
    assert found.message.startswith("a training worker was lost: ")
    assert found.ranks == ranks
    assert (found.reason, found.retryable) == ("WorkerLost", True)


def test_a_gpu_that_fails_counts_more_than_the_workers_that_nccl_cuts_off() -> None:
    gpu = as_run_error(RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    found = cause(WorkerGroupError("text", {0: raised(NCCL), 1: raised(gpu), 2: gone()}))
    assert isinstance(found, AcceleratorFailedError)
    assert found.message == "the GPU failed: CUDA error: uncorrectable ECC error encountered"
    assert (found.reason, found.retryable) == ("AcceleratorFailed", True)


def test_nccl_that_fails_on_workers_that_are_all_there_is_an_error_of_the_accelerators() -> None:
    found = cause(WorkerGroupError("text", {0: raised(NCCL), 1: raised(NCCL)}))
    assert found.reason == "AcceleratorFailed"
    assert found.message.startswith("NCCL failed: NCCL error in: ")


def test_a_worker_that_ray_ended_for_its_memory_was_too_big() -> None:
    found = cause(WorkerGroupError("text", {0: gone("The worker was killed as the node was running low on memory.")}))
    assert isinstance(found, OutOfMemoryError)
    assert isinstance(found, WorkerLostError)
    assert "smaller batch" in found.message
    assert found.reason == "OutOfMemory"


def test_an_error_that_nobody_foresaw_is_told_as_it_is() -> None:
    found = cause(WorkerGroupError("text", {0: raised(RunError("ValueError: no"))}))
    assert (type(found), found.message) == (RunError, "ValueError: no")


def test_a_cluster_that_fails_as_a_whole_has_lost_its_workers() -> None:
    assert "no room" in cause(ControllerError(RuntimeError("no room"))).message
