"""What the datasets of a run hold, in numbers for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunesmith_api.finetunejob import DatasetSummary, DataSummary, DroppedRecords
from tunesmith_runtime.data.encoding import EncodedDataset
from tunesmith_runtime.data.mixing import Lengths

if TYPE_CHECKING:
    from tunesmith_runtime.data.quality import QualityCounts


@dataclass(frozen=True)
class Share:
    """What is trained on of a dataset: its records, the lengths of its rows, and those that an epoch sees."""

    name: str
    records: int
    lengths: Lengths
    seen: Lengths


def summarise(
    shares: Sequence[Share],
    encoded: Sequence[EncodedDataset],
    *,
    by_tokens: bool,
    validation_records: int,
    empty: int,
    quality: "QualityCounts | None",
) -> DataSummary:
    """Return the counts of all datasets; `empty` are the records that were passed over when they were read."""
    amounts = [_total(share.seen) if by_tokens else len(share.seen) for share in shares]
    return DataSummary(
        records=sum(share.records for share in shares),
        validation_records=validation_records,
        tokens=sum(_total(share.lengths) for share in shares),
        truncated=sum(each.overlong.truncated for each in encoded),
        split=sum(each.overlong.split for each in encoded),
        redactions=quality.redactions if quality else 0,
        redacted_records=quality.redacted_records if quality else 0,
        dropped=DroppedRecords(
            overlong=sum(each.overlong.dropped for each in encoded),
            empty=empty + sum(each.empty for each in encoded),
            unlabelled=sum(each.overlong.unlabelled for each in encoded),
            duplicates=quality.duplicates if quality else 0,
            near_duplicates=quality.near_duplicates if quality else 0,
            language=quality.language if quality else 0,
            too_short=quality.too_short if quality else 0,
            too_long=quality.too_long if quality else 0,
            contaminated=quality.contaminated if quality else 0,
        ),
        datasets=tuple(
            DatasetSummary(
                name=share.name,
                records=share.records,
                tokens=_total(share.lengths),
                share=round(amount / sum(amounts), 6),
                passes=round(len(share.seen) / len(share.lengths), 6),
            )
            for share, amount in zip(shares, amounts, strict=True)
        ),
    )


def _total(lengths: Lengths) -> int:
    return int(lengths.sum(dtype=np.int64))
