"""Causal language models: supervised fine-tuning and incremental pre-training."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from tunesmith_runtime.data.records import Completion, Conversation, PlainText, Question, Record, as_conversation
from tunesmith_runtime.data.tokenizing import tokenize
from tunesmith_runtime.train.packing import PackedCollator, PaddedCollator
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup, StreamLosses


def encode(record: Record, encoder: Encoder, *, completion_only: bool) -> Iterator[Row]:
    """Yield the tokens of a conversation, a prompt and its completion, or a text, and what loss counts of them."""
    if isinstance(record, Question):
        asked = as_conversation(record)
        if asked is None:
            return
        record = asked
    assert isinstance(record, Conversation | Completion | PlainText)  # noqa: S101 - what the recipes accept
    tokens = tokenize(record, encoder.tokenizer, completion_only)
    yield {"input_ids": tokens.input_ids, "labels": tokens.labels}


class StreamTrainer(SFTTrainer):
    """TRL's trainer, which also notes the loss of each data stream of a batch."""

    def __init__(self, *arguments: Any, stream_losses: StreamLosses, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stream_losses = stream_losses

    def compute_loss(
        self,
        model: Callable[..., Any],
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return TRL's loss; `streams`, the number of the stream of each token, stays out of the model's sight."""
        streams = inputs.pop("streams", None)
        if streams is None or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        outputs = []

        def watched(**given: Any) -> Any:
            outputs.append(model(**given))
            return outputs[-1]

        loss = super().compute_loss(watched, inputs, return_outputs, num_items_in_batch)
        # Vectors that prompt tuning puts in front stand at the left and have no loss.
        log_probs = outputs[0].log_probs.detach()[:, -(labels.shape[1] - 1) :]
        counted = labels[:, 1:] != -100
        self._stream_losses.note(streams[:, 1:][counted], -log_probs[counted])
        return loss


def make_trainer(setup: Setup) -> SFTTrainer:
    """Return TRL's SFTTrainer over rows that need no further preparation."""
    packed = setup.config.data.packing == "bfd"
    several = len(setup.config.data.train) > 1
    collator = PackedCollator if packed else PaddedCollator
    return StreamTrainer(
        model=setup.model,
        args=SFTConfig(
            **setup.arguments,
            # Records come tokenised, labelled and none too long: nothing is left for TRL to prepare or to cut.
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
        ),
        train_dataset=setup.train,
        eval_dataset=dict(setup.validation) or None,
        processing_class=setup.tokenizer,
        data_collator=collator(setup.tokenizer.pad_token_id, streams=several),
        stream_losses=setup.stream_losses,
    )


SFT = Recipe(
    task="causal-lm",
    method="sft",
    accepts=(Conversation, Completion, PlainText, Question),
    encode=partial(encode, completion_only=True),
    trainer=make_trainer,
    is_plain=True,
)
PT = Recipe(
    task="causal-lm",
    method="pt",
    accepts=(PlainText, Conversation, Completion, Question),
    encode=partial(encode, completion_only=False),
    trainer=make_trainer,
    is_plain=True,
)
