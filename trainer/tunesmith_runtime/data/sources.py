"""All the datasets that a training run names, found and ready to be read; needs no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.data import DatasetSource, TrainingData
from tunesmith_runtime.data.streams import open_records

if TYPE_CHECKING:
    from tunesmith_runtime.data.feedback import Feedback
    from tunesmith_runtime.data.judging import Judging
    from tunesmith_runtime.data.kinds import RecordSource


# No dataset has a name with a dot.
_VALIDATION = "data.validation"


@dataclass(frozen=True)
class TrainingRecords:
    """The training datasets by name, and the validation dataset if it is one of its own."""

    train: Mapping[str, "RecordSource"]
    validation: "RecordSource | None"


def read_training_data(
    data: TrainingData, judging: "Judging | None" = None, feedback: "Feedback | None" = None
) -> TrainingRecords:
    """Return the records of every dataset; those of pairs as the preferences that a judge makes of them.

    `feedback` says what is made of feedback. Raises DataError when one is missing; what is in them shows on reading.
    """
    validation = data.validation.dataset if data.validation else None
    return TrainingRecords(
        train={dataset.name: _opened(dataset.name, dataset, judging, feedback) for dataset in data.train},
        validation=_opened(_VALIDATION, validation, judging, feedback) if validation else None,
    )


def _opened(name: str, source: DatasetSource, judging: "Judging | None", feedback: "Feedback | None") -> "RecordSource":
    if feedback is not None and source.format == "feedback":
        return feedback.records(source, name)
    records = open_records(source)
    return records if judging is None or source.format != "pairs" else judging.records(records, source.uri)
