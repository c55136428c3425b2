"""Answers that a judge behind an endpoint scores or compares."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_api.suites.kind import SuiteKind

CriterionName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
]


class Criterion(ApiModel):
    """What makes an answer a good one."""

    name: CriterionName = Field(description="Name; with several criteria the metric of each is SUITE/NAME/score.")
    description: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="In words for the judge: what to look at, and what deserves which score."
    )


class Scale(ApiModel):
    """The scores that a judge may give, whole numbers."""

    min: int = Field(default=1, ge=0, le=1, description="Score of the worst answer.")
    max: int = Field(default=10, ge=2, le=100, description="Score of the best answer.")


QUALITY = Criterion(
    name="quality",
    description="How correct, helpful and easy to understand the answer is, and whether it is no longer than it needs "
    "to be.",
)


class JudgeSuite(SuiteKind):
    """Answers that a judge behind an endpoint scores or compares."""

    uri: StorageUri = Field(description="JSON or JSONL file of questions, with or without reference answers.")
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record, as for training data; the judge is shown the completion as a reference. text: "
        "each text is a question without a reference, put to a chat.",
    )
    endpoint: KeyedEndpoint = Field(description="The judge. It is asked at temperature 0.")
    criteria: tuple[Criterion, ...] = Field(
        default=(QUALITY,),
        min_length=1,
        max_length=8,
        description="What makes an answer a good one. Each is scored by a question of its own; pairs are compared by "
        "all of them together.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    scale: Scale | None = Field(default=None, description="The scores to choose from. Default: 1 to 10.")
    pairwise: bool = Field(
        default=False,
        description="true: the judge says which answer is better, the target's or the baseline's, and is asked in both "
        "orders. false: it scores each answer on its own.",
    )
    max_new_tokens: int = Field(default=512, ge=1, le=8192, description="Longest answer to a question in tokens.")
    max_tokens: int = Field(
        default=16,
        ge=1,
        le=131_072,
        description="Tokens of the judge's reply at most. It is one word or number; a judge that thinks first needs "
        "more.",
    )
    human_labels: StorageUri | None = Field(
        default=None,
        description="JSON or JSONL file of what people say of the same answers, to compare the judge with: records of "
        "label (a score, or of pairs A for the target's answer, B for the baseline's, or tie), index (from 0) or "
        "prompt, and optionally the answer that was labelled.",
    )

    @property
    def scores(self) -> Scale:
        """The scores to choose from."""
        return self.scale or Scale()

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        if self.pairwise:
            human = ("humanAgreement", "humanKappa") if self.human_labels else ()
            return ("winRate", "tieRate", "positionConsistency", *human)
        human = ("humanAgreement", "humanSpearman") if self.human_labels else ()
        parts = tuple(f"{each.name}/score" for each in self.criteria) if len(self.criteria) > 1 else ()
        return ("score", *parts, *human)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [each.name for each in self.criteria]
        if len(set(names)) < len(names):
            raise ValueError("criteria has two of one name")
        if self.pairwise and self.scale:
            raise ValueError("scale is for scores, and pairwise compares answers; drop one of them")
        return self
