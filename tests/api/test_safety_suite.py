"""A safety suite's fields: what its parts need, which metrics they give, and what an endpoint cannot answer."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from tunesmith_api.errors import explain
from tunesmith_api.evaljob import EvalJobSpec
from tunesmith_api.metrics import METRICS
from tunesmith_api.resources import EvalJob, parse
from tunesmith_api.suites import EvalSuite
from tunesmith_api.suites.safety import Level

FILE = "pvc://data/x.jsonl"
WORDS = {"prompts": ("Say it.",), "wordLists": (FILE,)}
ENDPOINT = {"endpoint": {"url": "http://bot/v1", "model": "bot"}}


def suite(**parts: Any) -> EvalSuite:
    return EvalSuite.model_validate({"name": "safe", "safety": parts})


def refused(**parts: Any) -> str:
    with pytest.raises(ValidationError) as error:
        suite(**parts)
    (sentence,) = explain(error.value)
    return sentence


def test_each_part_gives_its_metrics_and_all_of_them_have_a_direction() -> None:
    levels = get_args(Level)
    whole = suite(
        refusal={"harmful": FILE, "harmless": FILE, "judge": {**ENDPOINT, "maxTokens": 8}},
        personalData={"uri": FILE},
        toxicity={**WORDS, "samples": 4, "temperature": 0.5},
        robustness={"uri": FILE, "levels": levels},
        bias={"uri": FILE},
        memorisation={"uri": FILE, "canaries": FILE},
    )
    names = [name.removeprefix("safe/") for name in whole.metric_names()]
    assert names == [
        *("refusalRate", "overRefusalRate", "piiRate", "toxicity", "maxToxicity", "robustness"),
        *(f"{level}/robustness" for level in levels),
        *("stereotypeScore", "biasDistance", "extractionRate", "exposure"),
    ]
    better = {name for name in names if METRICS[name.rpartition("/")[2]].higher_is_better}
    assert better == {"refusalRate", "robustness", *(f"{level}/robustness" for level in levels)}


def test_a_part_that_is_not_asked_for_gives_nothing() -> None:
    assert suite(refusal={"harmless": FILE}).metric_names() == ("safe/overRefusalRate",)
    assert suite(toxicity=WORDS).metric_names() == ("safe/toxicity",)
    assert suite(memorisation={"canaries": FILE}).metric_names() == ("safe/exposure",)


def test_groups_of_the_data_may_have_gates() -> None:
    assert suite(bias={"uri": FILE}).may_give("safe/religion/biasDistance")
    assert not suite(bias={"uri": FILE}).may_give("safe/religion/toxicity")
    assert not suite(toxicity=WORDS).may_give("safe/religion/biasDistance")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "set at least one of refusal, personalData, toxicity, robustness, bias and memorisation"),
        ({"refusal": {}}, "set at least one of harmful and harmless"),
        ({"memorisation": {}}, "set at least one of uri and canaries"),
        ({"toxicity": {"wordLists": (FILE,)}}, "set exactly one of uri and prompts"),
        ({"toxicity": {**WORDS, "uri": FILE}}, "set exactly one of uri and prompts"),
        ({"toxicity": {"uri": FILE}}, "set exactly one of classifier and wordLists"),
        (
            {"toxicity": {**WORDS, "classifier": "hf://org/toxic", "toxicLabels": ("toxic",)}},
            "set exactly one of classifier and wordLists",
        ),
        (
            {"toxicity": {"uri": FILE, "classifier": "hf://org/toxic"}},
            "toxicLabels are the classifier's labels that mean toxic; set both or neither",
        ),
        (
            {"toxicity": {**WORDS, "toxicLabels": ("toxic",)}},
            "toxicLabels are the classifier's labels that mean toxic; set both or neither",
        ),
        (
            {"toxicity": {**WORDS, "samples": 2}},
            "samples is 2, and at temperature 0 all answers are the same; set a temperature",
        ),
        (
            {"robustness": {"uri": FILE, "format": "text"}},
            "format text has no reference answers; use a format with a completion",
        ),
        ({"robustness": {"uri": FILE, "levels": ("words", "words")}}, "levels names a level twice"),
    ],
)
def test_what_does_not_go_together_is_refused(parts: dict[str, Any], words: str) -> None:
    assert refused(**parts).endswith(words)


@pytest.mark.parametrize("part", ["bias", "memorisation"])
def test_an_endpoint_is_not_asked_for_probabilities(part: str) -> None:
    def job(**parts: Any) -> EvalJobSpec:
        return EvalJobSpec.model_validate(
            {"target": ENDPOINT, "suites": (suite(**parts),), "report": {"uri": "pvc://reports/bot"}}
        )

    assert job(toxicity=WORDS).suites[0].safety
    with pytest.raises(ValidationError, match="needs a model's own probabilities, which an endpoint does not give"):
        job(toxicity=WORDS, **{part: {"uri": FILE}})


def test_the_manifest_of_the_page_is_valid_and_its_table_has_all_metrics() -> None:
    text = (Path(__file__).parents[2] / "docs/how-to/evaluate-safety.md").read_text(encoding="utf-8")
    (manifest,) = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: EvalJob" in each]
    job = parse(yaml.safe_load(manifest))
    assert isinstance(job, EvalJob)
    table = "".join(line for line in text.splitlines() if line.startswith("| `"))
    assert {name.rpartition("/")[2] for name in job.spec.suites[0].metric_names()} <= set(re.findall(r"\w+", table))
