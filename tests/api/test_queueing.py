"""Queues and gangs that cannot work are refused with what to do instead."""

from typing import Any

import pytest

from tests.api.test_combinations import accepted, refused


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"queue": {}}, "spec.queue.name: gang kueue needs the name of a LocalQueue of this namespace"),
        ({"queue": {"gang": "none", "name": "a"}}, "spec.queue.name: gang none knows no queues"),
        (
            {"queue": {"gang": "coscheduling", "name": "a"}, "workers": 2},
            "spec.queue.name: gang coscheduling knows no queues",
        ),
        ({"queue": {"gang": "coscheduling"}}, "spec.queue.gang: coscheduling waits for pods to start together"),
        (
            {"queue": {"name": "a"}, "workers": 2, "backend": "native"},
            "spec.queue.gang: kueue holds several workers together as one RayJob of KubeRay, and backend is native",
        ),
    ],
)
def test_what_cannot_work_is_refused(spec: dict[str, Any], sentence: str) -> None:
    (said,) = refused(**spec)
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "spec",
    [
        {"queue": {"name": "research"}},
        {"queue": {"name": "research", "gang": "kueue"}, "workers": 4},
        {"queue": {"name": "research", "gang": "kueue"}, "backend": "native"},
        {"queue": {"gang": "volcano"}},
        {"queue": {"gang": "volcano", "name": "research"}, "workers": 4, "backend": "native"},
        {"queue": {"gang": "coscheduling"}, "workers": 4, "backend": "kuberay"},
        {"queue": {"gang": "none"}},
        {"backend": "kuberay"},
    ],
)
def test_what_works_is_accepted(spec: dict[str, Any]) -> None:
    accepted(**spec)


def test_an_unknown_gang_is_refused() -> None:
    (said,) = refused(queue={"name": "a", "gang": "slurm"})
    assert said == "spec.queue.gang: 'slurm' is not allowed; use none, kueue, volcano or coscheduling"
