"""Models with a tag for each word."""

from collections.abc import Iterator

from transformers import DataCollatorForTokenClassification

from tunesmith_runtime.data.labels import find_tags, number_of
from tunesmith_runtime.data.records import Record, TaggedTokens
from tunesmith_runtime.data.tokenizing import IGNORED
from tunesmith_runtime.train.recipes.heads import HeadTrainer, token_losses
from tunesmith_runtime.train.recipes.offsets import check_offsets
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield the tokens of the words, joined by spaces, and `labels`: a word's tag at its first token, -100 elsewhere.

    Words are tokenised as running text, because byte-level tokenizers know a word without the space before it as
    another one. A word of which the tokenizer keeps nothing has no label; without any, nothing is yielded.
    Raises DataError for a tag that the training records do not have, ModelError when there are no offsets.
    """
    assert isinstance(record, TaggedTokens) and encoder.labels is not None  # noqa: S101, PT018 - as the recipe says
    check_offsets(encoder.tokenizer)
    encoded = encoder.tokenizer(
        " ".join(record.tokens), return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    firsts = first_tokens(record.tokens, encoded.pop("offset_mapping"))
    if all(first is None for first in firsts):
        return
    labels = [IGNORED] * len(encoded["input_ids"])
    for first, tag in zip(firsts, record.tags, strict=True):
        number = number_of(tag, encoder.labels)
        if first is not None:
            labels[first] = number
    yield {**encoded, "labels": labels}


def first_tokens(words: tuple[str, ...], offsets: list[tuple[int, int]]) -> list[int | None]:
    """Return the index of the first token of each word of the text that joins them by spaces; None if it has none.

    `offsets` are the first character of each token and the one behind its last, ascending but for special tokens,
    which are empty.
    """
    firsts: list[int | None] = []
    token = start = 0
    for word in words:
        end = start + len(word)
        while token < len(offsets) and (offsets[token][1] <= start or offsets[token][0] == offsets[token][1]):
            token += 1
        inside = token < len(offsets) and offsets[token][0] < end
        firsts.append(token if inside else None)
        token += inside  # a token across two words is the first one's
        start = end + 1
    return firsts


def make_trainer(setup: Setup) -> HeadTrainer:
    """Return a Trainer on the mean cross entropy over words."""
    return HeadTrainer(setup, DataCollatorForTokenClassification(setup.tokenizer), token_losses(setup))


SFT = Recipe(
    task="token-classification",
    method="sft",
    accepts=(TaggedTokens,),
    encode=encode,
    trainer=make_trainer,
    labels=find_tags,
)
