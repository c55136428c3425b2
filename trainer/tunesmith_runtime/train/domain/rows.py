"""The pairs of a domain: read, cleaned and encoded as the general ones are."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith_api.contract import TrainRun
from tunesmith_api.data import Dataset, Mixing, TrainingData
from tunesmith_api.domain import DomainStage
from tunesmith_runtime.data.sources import TrainingRecords, read_training_data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_runtime.data.encoded import EncodedRows
    from tunesmith_runtime.data.judging import Judging
    from tunesmith_runtime.data.preparing import Prepared
    from tunesmith_runtime.train.inputs import TokenisedData
    from tunesmith_runtime.train.recipes.recipe import Recipe

# The folder of the second stage, below that of the checkpoints and below that of the prepared data.
DOMAIN = "domain"
_PLACE = "method.rm.domain.train"


@dataclass(frozen=True)
class DomainRows:
    """The rows of the second stage before any is left out.

    `fingerprint` names what they, and the choice between them, depend on: the general data as well.
    """

    rows: "EncodedRows"
    streams: tuple[str, ...]
    fingerprint: str

    def inside(self, folder: Path) -> "DomainRows":
        """Return the same rows where the prepared data is in another folder."""
        return replace(self, rows=self.rows.inside(folder / DOMAIN))


def stage_of(config: TrainRun) -> DomainStage | None:
    """Return the settings of the second stage, None when there is none."""
    return config.method.rm.domain if config.method.rm else None


def read_domain(config: TrainRun, judging: "Judging | None") -> TrainingRecords | None:
    """Return the records of the domain, None when there is no second stage. Raises DataError when one is missing."""
    domain = stage_of(config)
    return read_training_data(_data(config, domain), judging) if domain else None


def add_domain(
    config: TrainRun,
    recipe: "Recipe",
    tokenizer: "PreTrainedTokenizerBase",
    records: TrainingRecords,
    prepared: "Prepared",
    saved: "TokenisedData",
    folder: Path,
) -> tuple["Prepared", "TokenisedData"]:
    """Return the prepared data and its rows with those of the domain, which are written below `folder`.

    Raises DataError as `prepare` does, and when too few general pairs are held out for the confidence level.
    """
    from tunesmith_runtime.data.confidence import lower_bound  # these bring torch
    from tunesmith_runtime.data.preparing import prepare
    from tunesmith_runtime.train.domain.counting import together
    from tunesmith_runtime.train.inputs import fingerprint

    domain = stage_of(config)
    assert domain is not None  # noqa: S101 - asked by the caller, who has its records
    lower_bound([0.0] * sum(len(rows) for rows in prepared.validation.values()), domain.level)
    data = _data(config, domain)
    own = prepare(data, recipe, tokenizer, records, folder / DOMAIN, place=_PLACE)
    parts = [saved.fingerprint, fingerprint(data, recipe, own.digests), str(domain.level)]
    rows = DomainRows(own.train_rows, own.streams, hashlib.sha256("\n".join(parts).encode()).hexdigest())
    both = replace(
        prepared, summary=together(prepared.summary, own.summary), digests={**prepared.digests, **own.digests}
    )
    return both, replace(saved, domain=rows)


def _data(config: TrainRun, domain: DomainStage) -> TrainingData:
    """Return the domain as training data that is treated as the general one is, and seen once in a pass."""
    train = tuple(Dataset(**source.model_dump()) for source in domain.train)
    return config.data.model_copy(update={"train": train, "validation": None, "mixing": Mixing()})
