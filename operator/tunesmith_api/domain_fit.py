"""What does not go together with the second stage of a reward model: each a path below spec and a sentence."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import FineTuneJobSpec

_TRAIN = "method.rm.domain.train"
# As many as status.data.datasets holds.
_MOST_DATASETS = 64


def misfits(spec: "FineTuneJobSpec") -> Iterator[tuple[str, str]]:
    """Yield what is wrong with method.rm.domain, if it is set."""
    domain = spec.method.rm.domain if spec.method.rm else None
    if domain is None:
        return
    if spec.data.validation is None:
        yield (
            "data.validation",
            "how surely the first stage judges the pairs of method.rm.domain shows on general pairs that it has not "
            "learnt from; set fraction or dataset",
        )
    names = [*(source.name for source in spec.data.train), *(source.name for source in domain.train)]
    if twice := sorted({source.name for source in domain.train if names.count(source.name) > 1}):
        yield _TRAIN, f"more than one dataset has the name {', '.join(twice)}; give each a name of its own"
    if len(names) > _MOST_DATASETS:
        yield _TRAIN, f"with data.train there are {len(names)} datasets, and a job has at most {_MOST_DATASETS}"
    if spec.evaluation and spec.evaluation.early_stopping:
        yield (
            "evaluation.earlyStopping",
            "cannot tell the two stages of method.rm.domain apart; leave it out, and set maxSteps for each stage",
        )
    if spec.deepspeed and spec.deepspeed.zero_stage == 3:
        yield (
            "deepspeed.zeroStage",
            "by stage 3 no worker has all of the weights that judge the pairs of method.rm.domain; use 2",
        )
