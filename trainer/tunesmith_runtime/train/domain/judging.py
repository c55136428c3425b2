"""The model of the first stage judges the pairs of the domain."""

import json
from collections.abc import Iterable

import datasets
import numpy as np
from transformers import Trainer

from tunesmith_runtime.data import confidence
from tunesmith_runtime.data.confidence import Margins
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train import group
from tunesmith_runtime.train.domain.counting import Kept
from tunesmith_runtime.train.domain.decision import Decision
from tunesmith_runtime.train.domain.rows import DomainRows

# So many pairs are in memory at once.
_CHUNK = 1024
_EXAMPLES = 1000


def decide(
    trainer: Trainer, held_out: Iterable[datasets.Dataset], domain: DomainRows, level: float
) -> tuple[Decision, str]:
    """Return which pairs of the domain are left out, and the clearest of them as lines of JSON for people.

    Every worker must call it; all get the same. `held_out` are general pairs that the model has not learnt from. Raises
    DataError when nothing is left of the domain, and as confidence does.
    """
    rows = domain.rows.dataset()
    general = np.concatenate([_margins(trainer, each) for each in held_out])
    margins = _margins(trainer, rows)
    bound, left_out = confidence.lower_bound(general, level), ~confidence.keep(general, margins, level)
    if left_out.all():
        raise DataError(
            f"method.rm.domain.train: the model of the first stage contradicts each of {len(rows)} pairs; look at "
            "their labels, train the first stage for longer, or raise method.rm.domain.level"
        )
    streams, lengths = np.asarray(rows["stream"]), np.asarray(rows["length"])
    kept = {
        name: Kept(
            records=int((~left_out & (streams == number)).sum()),
            tokens=int(lengths[~left_out & (streams == number)].sum()),
            contradicted=int((left_out & (streams == number)).sum()),
        )
        for number, name in enumerate(domain.streams)
    }
    contradicted = np.flatnonzero(left_out)
    decision = Decision(
        fingerprint=domain.fingerprint,
        step=trainer.state.global_step,
        level=level,
        bound=bound,
        contradicted=tuple(contradicted.tolist()),
        kept=kept,
    )
    clearest = contradicted[np.argsort(margins[contradicted], kind="stable")][:_EXAMPLES]
    return decision, "".join(_example(trainer, rows[int(number)], margins[number], domain) for number in clearest)


def _margins(trainer: Trainer, rows: datasets.Dataset) -> Margins:
    """Return the margins of all rows, of which each worker computes its share."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    workers = len(group.gather(0))
    own = np.arange(group.rank(), len(rows), workers)
    batch = trainer.args.per_device_eval_batch_size
    found = [
        confidence.margins(model, list(rows.select(own[first : first + _CHUNK])), batch)
        for first in range(0, len(own), _CHUNK)
    ]
    margins = np.empty(len(rows))
    for worker, each in enumerate(group.gather(np.concatenate([np.empty(0), *found]))):
        margins[worker::workers] = each
    return margins


def _example(trainer: Trainer, row: dict[str, list[int]], margin: float, domain: DomainRows) -> str:
    decode = trainer.processing_class.decode
    example = {
        "dataset": domain.streams[int(row["stream"])],  # type: ignore[call-overload]
        "margin": round(float(margin), 4),
        "chosen": decode(row["chosen_ids"]),
        "rejected": decode(row["rejected_ids"]),
    }
    return json.dumps(example, ensure_ascii=False) + "\n"
