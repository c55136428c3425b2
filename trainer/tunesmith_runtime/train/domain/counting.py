"""What the two stages of a reward model learn from, in numbers for people."""

from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith_api.finetunejob import DataSummary, DroppedRecords


@dataclass(frozen=True)
class Kept:
    """What is kept of a dataset of the domain: records, their tokens, and how many are left out."""

    records: int
    tokens: int
    contradicted: int


def together(general: DataSummary, domain: DataSummary) -> DataSummary:
    """Return the sums over both stages; the shares of datasets are those in their own stage."""
    numbers = {
        name: getattr(general, name) + getattr(domain, name)
        for name in ("records", "validation_records", "tokens", "truncated", "split", "redactions", "redacted_records")
    }
    dropped = {
        name: getattr(general.dropped, name) + getattr(domain.dropped, name) for name in DroppedRecords.model_fields
    }
    return general.model_copy(
        update={**numbers, "dropped": DroppedRecords(**dropped), "datasets": (*general.datasets, *domain.datasets)}
    )


def chosen(summary: DataSummary, kept: Mapping[str, Kept]) -> DataSummary:
    """Return the summary with what is kept of each dataset of the domain; doing it twice changes nothing."""
    total = sum(each.records for each in kept.values())
    datasets = tuple(
        each.model_copy(
            update={
                "records": kept[each.name].records,
                "tokens": kept[each.name].tokens,
                "share": round(kept[each.name].records / total, 6),
            }
        )
        if each.name in kept
        else each
        for each in summary.datasets
    )
    contradicted = sum(each.contradicted for each in kept.values())
    return summary.model_copy(
        update={
            "records": sum(each.records for each in datasets),
            "tokens": sum(each.tokens for each in datasets),
            "dropped": summary.dropped.model_copy(update={"contradicted": contradicted}),
            "datasets": datasets,
        }
    )
