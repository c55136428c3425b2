"""The signs of life of a training."""

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_runtime.train.recovery import life


class LivingCallback(TrainerCallback):
    """Gives a sign of life with each step, each micro-batch of one, and each batch of an evaluation."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Go by steps from now on: what the checkpoint held is loaded."""
        life.go_by_steps(steps=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Go by work again."""
        life.go_by_steps(steps=False)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Have done a step."""
        life.beat()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Have done a micro-batch of a step."""
        life.beat()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Have evaluated a batch."""
        life.beat()
