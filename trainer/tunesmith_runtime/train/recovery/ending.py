"""Training ends before its time: because a pod is told to end, or because the attempt has used up its seconds."""

import time
from dataclasses import dataclass

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_runtime.train import group
from tunesmith_runtime.train.measuring import NothingLeftError
from tunesmith_runtime.train.recovery.agreeing import Agreement
from tunesmith_runtime.train.recovery.attempt import NothingLearntError, PodEndingError, RegroupingError
from tunesmith_runtime.train.recovery.pod import PodFiles, pod_name

# What a worker says at the end of a step.
_NOTHING, _REGROUPING, _OVER, _ENDING = range(4)


@dataclass(frozen=True)
class Bounds:
    """What ends the training of an attempt besides its last step.

    `ends_at` is when its seconds are used up, by the monotonic clock of the driver's machine, where the first worker
    runs; None when they are not counted. `pod` tells whether this worker's pod is to end.
    """

    pod: PodFiles
    ends_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether the seconds are used up, as the first worker's clock says."""
        return self.ends_at is not None and group.is_first() and time.monotonic() >= self.ends_at

    def word(self) -> int:
        """Return what this worker says at the end of a step."""
        if self.pod.is_ending():
            return _ENDING
        if self.over:
            return _OVER
        return _REGROUPING if group.is_first() and self.pod.wants_regrouping() else _NOTHING


class Ending(TrainerCallback):
    """Ends a training between two steps, with a checkpoint; every worker has one, and all end at the same step.

    That checkpoint comes as fast as it can: nothing is measured before, and the attempt that goes on from it makes up
    for what was due. `told` says that a pod is to end, `over` that the time is, and `regroups` that the workers begin
    anew as another number of them. `has_weights` says that there is a checkpoint to publish without another step.
    """

    def __init__(self, bounds: Bounds, *, has_weights: bool) -> None:
        self.told = False
        self.over = False
        self.regroups = False
        self._bounds = bounds
        self._has_weights = has_weights
        self._agreement = Agreement()

    @property
    def hurries(self) -> bool:
        """Whether training ends with this step, before it is done."""
        return self.told or self.over or self.regroups

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Look whether there is time for a step. Raises NothingLearntError when there is none and no checkpoint."""
        self._agreement.open()
        self._bounds.pod.begin_training()
        self.over = self._agreement.ask_now(_OVER if self._bounds.over else _NOTHING) == _OVER
        if self.over and not self._has_weights:
            raise NothingLearntError

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Raise NothingLeftError when there is no time left: the Trainer would do a step nevertheless."""
        if self.over:
            raise NothingLeftError

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End with a checkpoint when any worker has said so."""
        said = self._agreement.ask(self._bounds.word())
        if said == _NOTHING or (said == _REGROUPING and state.global_step >= state.max_steps):
            return
        self.told, self.over, self.regroups = said == _ENDING, said == _OVER, said == _REGROUPING
        control.should_save = control.should_training_stop = True
        control.should_evaluate = False

    def finish(self, step: int) -> None:
        """Leave no worker waiting. Raises PodEndingError when a pod was told to end, and RegroupingError."""
        self._agreement.close()
        if self.regroups:
            raise RegroupingError(step)
        if self.told:
            own = (pod_name(), _node_id()) if self._bounds.pod.is_ending() else None
            ending = dict(each for each in group.gather(own) if each is not None)
            raise PodEndingError(tuple(ending), step, frozenset(ending.values()))

    def close(self) -> None:
        """Say that there is nothing to wait for any more."""
        self._bounds.pod.end_training()


def _node_id() -> str:
    """Return Ray's id of the node that this worker runs on, nothing where Ray has not started it."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
