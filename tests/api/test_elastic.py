"""Elastic runs that could not keep what a step sees are refused, with the numbers that can."""

from typing import Any

import pytest

from tests.api.test_combinations import accepted, refused, source
from tunesmith_api import elastic


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"workers": 2, "minWorkers": 2}, "spec.minWorkers: is 2, and workers is 2; set it below that"),
        ({"minWorkers": 1}, "spec.minWorkers: is 1, and workers is 1; set it below that"),
        (
            {"workers": 4, "minWorkers": 3},
            "spec.minWorkers: 3 workers cannot share the 4 micro-batches of a step (workers x "
            "gradientAccumulationSteps) evenly; use 2 or 1, or change",
        ),
        ({"workers": 2, "minWorkers": 1, "deepspeed": {"zeroStage": 2}}, "spec.minWorkers: DeepSpeed spreads"),
        (
            {
                "workers": 2,
                "minWorkers": 1,
                "train": [source()],
                "data": {"lengthBuckets": [64, 128], "maxLength": 128},
            },
            "spec.minWorkers: data.lengthBuckets make batches for all workers together",
        ),
    ],
)
def test_what_cannot_work_is_refused(spec: dict[str, Any], sentence: str) -> None:
    (said,) = refused(**spec)
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "spec",
    [
        {"workers": 4, "minWorkers": 1},
        {"workers": 4, "minWorkers": 3, "training": {"gradientAccumulationSteps": 3}},
        {"workers": 2, "minWorkers": 1, "queue": {"gang": "volcano"}},
    ],
)
def test_what_can_work_is_accepted(spec: dict[str, Any]) -> None:
    accepted(**spec)


def test_workers_share_the_micro_batches_of_a_step_evenly() -> None:
    assert elastic.sizes(4, 1, 1) == (4, 2, 1)
    assert elastic.sizes(4, 2, 3) == (4, 3, 2)
    assert [elastic.accumulation(4, 3, joined) for joined in (4, 3, 2)] == [3, 4, 6]
