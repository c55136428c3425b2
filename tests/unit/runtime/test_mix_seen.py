"""What the workers really see of datasets mixed 3:6:1, in an epoch of records of unequal lengths."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.home import free_port
from tests.tiny import make_tiny_model

SHARES = (0.3, 0.6, 0.1)
# The last step of an epoch may have a few records twice, so that all workers have as many.
TOLERANCE = 0.005


def read(folder: Path, workers: int) -> dict[str, list[int]]:
    """Return what all workers together see of each dataset, by packing and by what the shares are counted in."""
    model = make_tiny_model(folder / "base", ["5 5 5"])
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.unit.runtime.mix_reader", model, folder / str(rank), folder / f"{rank}.json"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                **({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if workers > 1 else {}),
                **({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)} if workers > 1 else {}),
            },
        )
        for rank in range(workers)
    ]
    assert [process.wait(120) for process in processes] == [0] * workers
    each = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(workers)]
    return {
        case: [sum(counts) for counts in zip(*(seen[case][case.split()[1]] for seen in each), strict=True)]
        for case in each[0]
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mix_of_3_6_1_is_seen_as_such(tmp_path: Path, workers: int) -> None:
    for case, amounts in read(tmp_path, workers).items():
        shares = [amount / sum(amounts) for amount in amounts]
        assert shares == pytest.approx(SHARES, abs=TOLERANCE), f"{case}: {amounts}"
