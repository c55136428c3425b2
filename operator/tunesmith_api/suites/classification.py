"""Texts that a language model puts into classes."""

import re
import unicodedata
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import StorageUri
from tunesmith_api.metrics import ClassificationMetric, ClassMetric
from tunesmith_api.suites.checks import Template
from tunesmith_api.suites.kind import SuiteKind
from tunesmith_api.suites.parts import is_part

# Japanese, Chinese and Thai have no spaces between words: there each character counts as one.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)

Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a label or an answer: letters and digits, whatever their case, width and punctuation."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


class ClassificationSuite(SuiteKind):
    """Texts that the model puts into classes."""

    uri: StorageUri = Field(
        description="JSON or JSONL file in the format textClassification: text, optionally text_pair, and label, one "
        "of labels."
    )
    labels: tuple[Label, ...] = Field(
        min_length=2,
        max_length=64,
        description="The classes. For auc there are two, and the last one is the positive class.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    template: Template | None = Field(
        default=None,
        description="What is asked: a Jinja template over the record's fields, text, textPair and labels. Default: the "
        "text, and which of the labels it belongs to. An answer counts as the label that it is, or else as the only "
        "one that it contains, whatever their case and punctuation; any other is none.",
    )
    metrics: tuple[ClassificationMetric, ...] = Field(
        default=("accuracy", "f1Macro"),
        min_length=1,
        max_length=16,
        description="What to compute. auc needs the target's own probabilities, which an endpoint does not give.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    class_metrics: tuple[ClassMetric, ...] = Field(
        default=(),
        max_length=4,
        description="What to compute of each class, as SUITE/CLASS/METRIC; of those with other than ASCII letters, "
        "digits, dots, dashes and underscores in their names, nothing.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_new_tokens: int = Field(default=16, ge=1, le=8192, description="Longest answer in tokens.")

    @property
    def needs_weights(self) -> bool:
        """Whether it asks for probabilities."""
        return "auc" in self.metrics

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        classes = [label for label in self.labels if is_part(label)]
        return (*self.metrics, *(f"{label}/{metric}" for label in classes for metric in self.class_metrics))

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in ("metrics", "class_metrics"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{type(self).model_fields[name].alias} names a metric twice")
        return self

    @model_validator(mode="after")
    def _labels_can_be_told_apart(self) -> Self:
        if "auc" in self.metrics and len(self.labels) != 2:
            raise ValueError(f"metric auc is for two labels, and labels has {len(self.labels)}; drop the metric")
        known: dict[tuple[str, ...], str] = {}
        for label in self.labels:
            words = words_of(label)
            if not words:
                raise ValueError(f"labels has {label!r}, in which there is no letter and no digit; write it in words")
            if words in known:
                raise ValueError(
                    f"labels has {known[words]!r} and {label!r}, which differ in case, spaces or punctuation at most; "
                    "an answer could not tell them apart"
                )
            known[words] = label
        return self
