"""All the datasets that a training run names, found and ready to be read; needs no model."""

from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith_api.data import TrainingData
from tunesmith_runtime.data.streams import RecordStream, open_records


@dataclass(frozen=True)
class TrainingRecords:
    """The training datasets by name, and the validation dataset if it is one of its own."""

    train: Mapping[str, RecordStream]
    validation: RecordStream | None


def read_training_data(data: TrainingData) -> TrainingRecords:
    """Return the records of every dataset. Raises DataError when one is missing; what is in them shows on reading."""
    validation = data.validation.dataset if data.validation else None
    return TrainingRecords(
        train={dataset.name: open_records(dataset) for dataset in data.train},
        validation=open_records(validation) if validation else None,
    )
