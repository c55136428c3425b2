"""What a classification suite's fields may be."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import EVAL_JOB_SPEC, manifest
from tunesmith_api.errors import explain
from tunesmith_api.resources import parse
from tunesmith_api.suites import Suite


def suite(**fields: Any) -> Suite:
    fields = {"uri": "pvc://data/x.jsonl", "labels": ("no", "yes"), **fields}
    return Suite.model_validate({"name": "mail", "classification": fields})


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as error:
        suite(**fields)
    (sentence,) = explain(error.value)
    return sentence


def test_each_class_with_a_fitting_name_has_its_metrics() -> None:
    one = suite(labels=("no", "yes.2", "не знаю"), metrics=("mcc",), classMetrics=("f1", "recall"))
    assert one.metric_names() == (
        "mail/mcc", "mail/no/f1", "mail/no/recall", "mail/yes.2/f1", "mail/yes.2/recall",
    )  # fmt: skip
    assert not one.may_give("mail/maybe/f1")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": ("No!", "no")}, "labels has 'No!' and 'no', which differ in case, spaces or punctuation at most"),
        ({"labels": ("no", "+")}, "labels has '+', in which there is no letter and no digit; write it in words"),
        ({"labels": ("a", "b", "c"), "metrics": ("auc",)}, "metric auc is for two labels, and labels has 3"),
        ({"metrics": ("mcc", "mcc")}, "metrics names a metric twice"),
        ({"classMetrics": ("f1", "f1")}, "classMetrics names a metric twice"),
        ({"labels": ("no",)}, "has 1 items; it needs at least 2"),
        ({"template": "{{ text"}, "is not a Jinja template"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], words: str) -> None:
    assert words in refused(**fields)


def test_only_auc_needs_probabilities() -> None:
    endpoint = {"endpoint": {"url": "http://bot/v1", "model": "bot"}}
    for metrics, taken in ((["accuracy"], True), (["accuracy", "auc"], False)):
        suites = [{"name": "mail", "classification": {"uri": "pvc://d/x", "labels": ["a", "b"], "metrics": metrics}}]
        job = manifest("EvalJob", "mail-eval", EVAL_JOB_SPEC | {"target": endpoint, "suites": suites, "gates": []})
        if taken:
            assert parse(job)
            continue
        with pytest.raises(ValidationError) as error:
            parse(job)
        (sentence,) = explain(error.value)
        assert "suite mail needs a model's own probabilities, which an endpoint does not give" in sentence
