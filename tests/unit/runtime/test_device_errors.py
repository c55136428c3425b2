"""What CUDA and NCCL say becomes a reason and a sentence."""

import pytest
import torch

from tunesmith_runtime.errors import DataError, RunError, as_run_error

MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus"),
        torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:268, unhandled cuda error, NCCL 2.27"),
        torch.distributed.DistBackendError("[Rank 1] NCCL communicator was aborted on rank 1."),
    ],
)
def test_another_node_may_do_better(error: Exception) -> None:
    found = as_run_error(error)
    assert (found.reason, found.retryable) == ("AcceleratorFailed", True)
    assert " ".join(str(error).split()) in found.message


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(MEMORY),
        RuntimeError(MEMORY),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_is_used_up_comes_with_advice(error: Exception) -> None:
    found = as_run_error(error)
    assert found.reason == "OutOfMemory"
    assert "use a smaller perDeviceTrainBatchSize with more gradientAccumulationSteps" in found.message


def test_memory_of_the_pod_is_told_apart() -> None:
    assert as_run_error(MemoryError("no")).message == "out of memory: no; use a smaller batch size or maxLength"


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: invalid device ordinal"),
        ValueError("CUDA error is what this text is about"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_a_mistake_is_no_failure_of_the_device(error: Exception) -> None:
    assert type(as_run_error(error)) is RunError


def test_what_comes_of_an_error_of_the_device_is_told_as_that() -> None:
    error = KeyError("loss")
    error.__context__ = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    assert as_run_error(error).reason == "AcceleratorFailed"


def test_a_sentence_of_ours_stays_what_it_is() -> None:
    own = DataError("row 7 is broken")
    own.__cause__ = RuntimeError("CUDA error: unknown error")
    assert as_run_error(own) is own
