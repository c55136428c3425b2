"""Answers compared with reference answers, and with what is asked of their form."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tunesmith_api import uris
from tunesmith_api.base import ApiModel, StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.metrics import GoldenMetric
from tunesmith_api.suites.checks import JsonSchema, Pattern, Template
from tunesmith_api.suites.kind import SuiteKind

# What a model of sentences is read from; none of ours publishes one.
EncoderUri = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^(hf|pvc|s3|file)://[A-Za-z0-9._~@%+=,/-]+$"),
    AfterValidator(uris.checked),
]


class Tolerance(ApiModel):
    """How far a number may be off: by `absolute` + `relative` x the size of the reference's number."""

    absolute: float = Field(default=0.0, ge=0, description="In the number's own unit.")
    relative: float = Field(default=0.0, ge=0, description="As a share of the reference's number: 0.01 is 1%.")


# The metric that each of these fields is for; those without a default are needed by it.
_FIELDS = {
    "json_schema": "jsonSchema",
    "regex": "regex",
    "numeric_tolerance": "numeric",
    "embedding_model": "similarity",
}
_OPTIONAL = {"numeric_tolerance"}


class GoldenSuite(SuiteKind):
    """Answers compared with reference answers, and with what is asked of their form."""

    uri: StorageUri = Field(description="JSON or JSONL file of questions with reference answers.")
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record, as for training data; the completion is the reference. text has none and is "
        "refused.",
    )
    template: Template | None = Field(
        default=None,
        description="What is asked instead of the record's own prompt: a Jinja template over the record's fields, with "
        "the prompt itself as {{ prompt }}. Raw text stays raw text; of a conversation all turns but the system's "
        "become one of the user. A name that a record does not have is refused.",
    )
    metrics: tuple[GoldenMetric, ...] = Field(
        default=("exactMatch", "f1"),
        min_length=1,
        max_length=16,
        description="What to compute.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    json_schema: JsonSchema | None = Field(
        default=None,
        description="For the metric jsonSchema: the schema that answers are to fit, of draft 2020-12 unless its "
        "$schema says otherwise. format is not looked at.",
    )
    regex: Pattern | None = Field(
        default=None,
        description="For the metric regex: what is to be found anywhere in an answer, in Python's syntax; \\A and \\Z "
        "around it ask for the whole answer.",
    )
    numeric_tolerance: Tolerance | None = Field(
        default=None, description="For the metric numeric: how far off a number may be. Default: not at all."
    )
    embedding_model: EncoderUri | None = Field(
        default=None,
        description="For the metric similarity: hf://, pvc://, s3:// or file:// URI of an encoder, such as a sentence "
        "transformer.",
    )
    max_new_tokens: int = Field(default=64, ge=1, le=8192, description="Longest answer in tokens.")

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        return self.metrics

    @model_validator(mode="after")
    def _has_references(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names a metric twice")
        if self.format == "text":
            raise ValueError("format text has no reference answers; use a format with a completion")
        return self

    @model_validator(mode="after")
    def _fields_fit_metrics(self) -> Self:
        for field, metric in _FIELDS.items():
            name = type(self).model_fields[field].alias
            given, wanted = getattr(self, field) is not None, metric in self.metrics
            if wanted and not given and field not in _OPTIONAL:
                raise ValueError(f"metric {metric} needs {name}; set it, or drop the metric")
            if given and not wanted:
                raise ValueError(
                    f"{name} is for the metric {metric}, which metrics does not name; add it or drop {name}"
                )
        return self
