"""What is compiled when a run starts, and what the image must have for it: looked for before anything slow."""

import ctypes.util
import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tunesmith_api.contract import TrainRun
from tunesmith_runtime.errors import ConfigError


def check(config: TrainRun) -> None:
    """Raise ConfigError when the run needs something compiled that cannot be compiled here."""
    if config.training.torch_compile and not (_has_c() if config.gpus else _has_cxx()):
        compiler = "a C compiler (Debian: gcc)" if config.gpus else "a C++ compiler (Debian: g++)"
        raise ConfigError(
            f"spec.training.torchCompile: compiling a model {_needs([compiler])}, or leave torchCompile out"
        )
    if config.deepspeed is None:
        return
    offload = config.deepspeed.offload
    if "nvme" in (offload.optimizer, offload.parameters) and (missing := _missing("async_io", libaio=True)):
        raise ConfigError(f"spec.deepspeed.offload: nvme {_needs(missing)}, or use cpu")
    if config.deepspeed.config.get("zero_force_ds_cpu_optimizer") and (missing := _missing("cpu_adam")):
        raise ConfigError(
            f"spec.deepspeed.config.zero_force_ds_cpu_optimizer: DeepSpeed's own optimizer {_needs(missing)}, or leave "
            "it out to update weights with PyTorch's"
        )


def _missing(operation: str, *, libaio: bool = False) -> list[str]:
    """Return what one of DeepSpeed's operations lacks, such as libaio; nothing when it was built beforehand."""
    if _is_built(operation):
        return []
    missing = [] if _has_cxx() else ["a C++ compiler (Debian: g++)"]
    if importlib.util.find_spec("ninja") is None and not _has("ninja"):
        missing.append("ninja (ninja-build)")
    headers = [*filter(None, os.environ.get("CPATH", "").split(os.pathsep)), "/usr/local/include", "/usr/include"]
    if libaio and not (ctypes.util.find_library("aio") and any(Path(each, "libaio.h").is_file() for each in headers)):
        missing.append("libaio with its header (libaio-dev)")
    return missing


def _is_built(operation: str) -> bool:
    spec = importlib.util.find_spec("deepspeed")  # without importing it
    folders: Sequence[str] = (spec and spec.submodule_search_locations) or ()
    return any(path for folder in folders for path in Path(folder).glob(f"ops/*/{operation}_op*.so"))


def _needs(missing: Sequence[str]) -> str:
    return f"needs {' and '.join(missing)}, which the image lacks; name one that has it in spec.podTemplate.image"


def _has_cxx() -> bool:
    return _has(os.environ.get("CXX", "g++"), "c++")


def _has_c() -> bool:
    return _has(os.environ.get("CC", "gcc"), "clang")


def _has(*programs: str) -> bool:
    return any(shutil.which(program) for program in programs)
