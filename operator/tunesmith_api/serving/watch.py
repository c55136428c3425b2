"""What is watched of a ModelServe's traffic: whether people ask for something else, and how good the answers are."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, StatusModel, StorageUri, Time
from tunesmith_api.data import TextFormat
from tunesmith_api.endpoint import KeyedEndpoint

DriftMethod = Literal["psi", "mmd"]

WATCH_NEEDED = "set at least one of drift and watcher"

# From which value on the inputs have changed, where nothing else is said.
THRESHOLDS: dict[DriftMethod, float] = {"psi": 0.2, "mmd": 0.05}
# Fewer scores are no mean to go by.
FEWEST_SCORES = 5


class DriftReference(ApiModel):
    """Records whose prompts are what people are expected to ask."""

    uri: StorageUri = Field(description="File or folder of them, such as the training data.")
    format: TextFormat = Field(default="messages", description="Shape of a record, as for training data.")


class Drift(ApiModel):
    """Whether people ask for something else than they did, or than the model was made for."""

    reference: DriftReference | None = Field(
        default=None,
        description="What requests are compared with. Default: the first windowRequests requests, which are kept below "
        "capture.uri.",
    )
    window_requests: int = Field(
        default=500,
        ge=50,
        le=100_000,
        description="After so many requests at a gateway they are compared with the reference, and the next begins.",
    )
    method: DriftMethod = Field(
        default="psi",
        description="psi: the population stability index of the lengths and of the groups of characters, the larger "
        "one. mmd: the maximum mean discrepancy of the embeddings that the model itself gives them.",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="From which value on, if it is no chance (a permutation test at 0.1%), the inputs have changed. "
        "Default: 0.2 for psi, 0.05 for mmd.",
    )

    @property
    def limit(self) -> float:
        """The threshold."""
        return THRESHOLDS[self.method] if self.threshold is None else self.threshold


class Watcher(ApiModel):
    """A model that grades some of the answers."""

    endpoint: KeyedEndpoint = Field(
        description="A judge by OpenAI's chat completions; with goodLabel, a classifier by POST /classify, as vLLM "
        "serves encoders."
    )
    good_label: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None, description="Of a classifier: the label of good answers. Their score is its probability."
    )
    sample: float = Field(default=0.05, ge=0, le=1, description="Share of the answers that is graded.")
    rubric: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        default="How correct, helpful and easy to understand the answer is, and whether it is no longer than it needs "
        "to be.",
        description="What makes an answer a good one, in words for the judge.",
    )
    min_score: float = Field(
        default=0.5, ge=0, le=1, description="Smallest mean score of the window, from 0 (worst) to 1 (best)."
    )
    window_answers: int = Field(
        default=50, ge=FEWEST_SCORES, le=1000, description="The mean is over the last so many scores of a gateway."
    )


class WatchPolicy(ApiModel):
    """What a gateway watches."""

    drift: Drift | None = Field(default=None, description="Watch what people ask.")
    watcher: Watcher | None = Field(default=None, description="Watch what they are answered.")

    @model_validator(mode="after")
    def _watches(self) -> Self:
        if self.drift is None and self.watcher is None:
            raise ValueError(WATCH_NEEDED)
        return self


class DriftReport(StatusModel):
    """The last window that a gateway has compared with the reference."""

    value: float = Field(ge=0)
    # Whether it is at the threshold or above, and that is no chance.
    drifted: bool
    requests: int = Field(ge=0)


class QualityReport(StatusModel):
    """The scores of a gateway's last answers that were graded."""

    score: float = Field(ge=0, le=1)
    answers: int = Field(ge=0)


class WatchReport(StatusModel):
    """What a gateway has watched."""

    drift: DriftReport | None = None
    quality: QualityReport | None = None
    # Why it cannot watch, as long as it cannot.
    problem: str | None = Field(default=None, max_length=512)


class WatchEvaluation(StatusModel):
    """The EvalJob of an episode."""

    name: str = Field(max_length=63, description="Its name.")
    verdict: str | None = Field(default=None, max_length=32, description="Its verdict, once there is one.")
    message: str | None = Field(default=None, max_length=1024, description="What it says.")


class WatchStatus(StatusModel):
    """What has been watched. An episode lasts from when something is amiss until nothing is."""

    drift: float | None = Field(default=None, ge=0, description="Of the last windows, the largest of all gateways.")
    quality: float | None = Field(default=None, ge=0, le=1, description="Mean score of the last answers graded.")
    episode: int = Field(default=0, ge=0, description="Number of the last episode.")
    since: Time | None = Field(default=None, description="When it began, as long as it lasts.")
    evaluation: WatchEvaluation | None = Field(default=None, description="Its EvalJob.")
    earlier: tuple[Annotated[str, StringConstraints(max_length=63)], ...] = Field(
        default=(),
        max_length=8,
        description="Names of the EvalJobs of episodes before, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
