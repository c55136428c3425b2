"""A suite that people vote in: what it gives, and what it cannot do without."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import eval_job
from tunesmith_api.errors import explain

BASELINE = {"uri": "pvc://models/base"}


def job(baseline: dict[str, str] | None = BASELINE, gates: list[dict[str, Any]] | None = None, **human: Any) -> Any:
    suites = [{"name": "people", "human": {"uri": "pvc://data/questions.jsonl", **human}}]
    return eval_job(suites=suites, gates=gates or [], baseline=baseline)


def refused(**changes: Any) -> str:
    with pytest.raises(ValidationError) as error:
        job(**changes)
    (sentence,) = explain(error.value)
    return sentence


def test_agreement_is_measured_where_several_people_vote() -> None:
    (alone,) = job().spec.suites
    (several,) = job(votes=2).spec.suites
    assert alone.metric_names() == ("people/winRate", "people/tieRate")
    assert several.metric_names() == (*alone.metric_names(), "people/raterAgreement", "people/raterKappa")
    job(votes=2, gates=[{"metric": "people/raterKappa", "min": 0.4}])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baseline": None}, "people lets people compare the target's answers with the baseline's; set spec.baseline"),
        ({"gates": [{"metric": "people/raterKappa", "min": 0.4}]}, "people/raterKappa is not among people/winRate"),
        ({"votes": 0}, "votes"),
        ({"votes": 101}, "votes"),
        ({"instructions": ""}, "instructions"),
        ({"instructions": "x" * 4097}, "instructions"),
        ({"maxNewTokens": 0}, "maxNewTokens"),
        ({"format": "preference"}, "format"),
        ({"raters": 2}, "raters"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refused(**changes)
