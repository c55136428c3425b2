"""All the datasets that a training run names, read and parsed; needs no model."""

from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith_api.finetunejob import TrainingData
from tunesmith_runtime.data.formats import ParsedDataset, read_records


@dataclass(frozen=True)
class TrainingRecords:
    """The training datasets by name, and the validation dataset if it is one of its own."""

    train: Mapping[str, ParsedDataset]
    validation: ParsedDataset | None


def read_training_data(data: TrainingData) -> TrainingRecords:
    """Return the records of every dataset. Raises DataError when one is missing or bad."""
    validation = data.validation.dataset if data.validation else None
    return TrainingRecords(
        train={dataset.name: read_records(dataset) for dataset in data.train},
        validation=read_records(validation) if validation else None,
    )
