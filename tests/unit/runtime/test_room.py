"""Whether there is room to measure beside training."""

import os
from pathlib import Path

import pytest

from tunesmith_runtime.train import environment, room


def machine(folder: Path, available_kib: int) -> Path:
    file = folder / "meminfo"
    file.write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_kib} kB\n")
    return file


def test_memory_is_what_the_container_leaves_or_the_machine(tmp_path: Path) -> None:
    meminfo = machine(tmp_path, 1000)
    assert room.memory_left(tmp_path / "none", meminfo) == 1000 * 1024
    version2 = tmp_path / "v2"
    version2.mkdir()
    (version2 / "memory.max").write_text("500000\n")
    (version2 / "memory.current").write_text("300000\n")
    (version2 / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert room.memory_left(version2, meminfo) == 300_000  # what is only cached can go
    (version2 / "memory.max").write_text("max\n")
    assert room.memory_left(version2, meminfo) == 1000 * 1024
    version1 = tmp_path / "v1" / "memory"
    version1.mkdir(parents=True)
    (version1 / "memory.limit_in_bytes").write_text("400000\n")
    (version1 / "memory.usage_in_bytes").write_text("500000\n")
    (version1 / "memory.stat").write_text("total_inactive_file 0\n")
    assert room.memory_left(tmp_path / "v1", meminfo) == 0


@pytest.mark.parametrize(("shown", "spare"), [("2,5,7", "5"), ("3", None)])
def test_one_worker_uses_one_gpu_and_leaves_the_next(
    monkeypatch: pytest.MonkeyPatch, shown: str, spare: str | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.delenv(environment.SPARE_GPU_VARIABLE, raising=False)
    environment._use_one_gpu(alone=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == shown[0]
    assert room.spare_gpu() == spare
    monkeypatch.delenv(environment.SPARE_GPU_VARIABLE, raising=False)
