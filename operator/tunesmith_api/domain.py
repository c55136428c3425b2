"""The second stage of a reward model: pairs of a domain, without those that the first stage contradicts."""

from pydantic import Field

from tunesmith_api.base import ApiModel, ItemName
from tunesmith_api.data import DatasetSource


class DomainDataset(DatasetSource):
    """A named dataset of the domain."""

    name: ItemName = Field(description="Name in status, progress and lineage, none of those of data.train.")


class DomainStage(ApiModel):
    """What a reward model learns once it has learnt from data.train."""

    train: tuple[DomainDataset, ...] = Field(
        min_length=1,
        max_length=16,
        description="Pairs of the domain, formats preference and pairs. Each is seen once in a pass.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    level: float = Field(
        default=0.95,
        ge=0.5,
        le=0.999,
        description="Confidence level. A pair of the domain is left out when the model of the first stage contradicts "
        "it more strongly than this share of the general pairs that were held out by data.validation.",
    )
    num_train_epochs: float = Field(
        default=1.0, gt=0, le=10_000, description="Passes over the pairs of the domain that are kept."
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=100_000_000, description="Optimizer steps of this stage; overrides numTrainEpochs."
    )
    learning_rate: float | None = Field(
        default=None, ge=0, le=10, description="Peak learning rate of this stage. Default: that of the first."
    )
