"""Tags for words."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import (
    BertForTokenClassification,
    CanineTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from tests.unit.runtime import tiny_encoders as tiny
from tunesmith_runtime.data.records import TaggedTokens
from tunesmith_runtime.errors import DataError, ModelError
from tunesmith_runtime.train.recipes import tagging
from tunesmith_runtime.train.recipes.recipe import Encoder, Labels

TAGS = Labels("single", ("O", "B-LOC", "B-PER", "I-PER"))
WORDS = ("Mr.", "Spock", "goes", "round", "Germany", ".")
RECORD = TaggedTokens(WORDS, ("B-PER", "I-PER", "O", "O", "B-LOC", "O"))


def labelled(record: TaggedTokens, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, str]]:
    """Return the tokens that have a label, and what it is."""
    (row,) = tagging.encode(record, Encoder(tokenizer, 64, TAGS))
    pairs = zip(tokenizer.convert_ids_to_tokens(row["input_ids"]), row["labels"], strict=True)
    return [(token, TAGS.names[label]) for token, label in pairs if label != -100]


def test_the_tag_stands_at_the_first_token_of_a_word() -> None:
    tokens = labelled(RECORD, tiny.wordpiece())
    assert [tag for _, tag in tokens] == list(RECORD.tags)
    assert [token[0] for token, _ in tokens] == [word[0] for word in WORDS]
    assert not any(token.startswith("##") for token, _ in tokens)


@pytest.mark.parametrize("trim", [True, False])
def test_words_are_tokenised_with_the_space_before_them(trim: bool) -> None:
    tokens = labelled(TaggedTokens(("The", "moon"), ("O", "B-LOC")), tiny.byte_level(trim_offsets=trim))
    assert tokens == [("The", "O"), ("Ġmoon", "B-LOC")]


@pytest.mark.parametrize("make", [tiny.wordpiece, tiny.byte_level, tiny.sentencepiece, tiny.undivided])
def test_each_word_has_one_label(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    assert [tag for _, tag in labelled(RECORD, make())] == list(RECORD.tags)


def test_a_word_without_tokens_has_no_label() -> None:
    tokens = labelled(TaggedTokens(("The", "\u200b", "", "moon"), ("O", "B-PER", "I-PER", "B-LOC")), tiny.wordpiece())
    assert tokens == [("The", "O"), ("moon", "B-LOC")]


def test_words_without_tokens_teach_nothing() -> None:
    assert list(tagging.encode(TaggedTokens(("\u200b",), ("O",)), Encoder(tiny.wordpiece(), 64, TAGS))) == []


def test_a_tag_that_was_not_trained_on_is_refused() -> None:
    with pytest.raises(DataError, match="'B-ORG' is none of the 4"):
        labelled(TaggedTokens(("The",), ("B-ORG",)), tiny.wordpiece())


def test_a_tokenizer_that_does_not_tell_places_is_refused() -> None:
    with pytest.raises(ModelError, match=r"cannot tell where tokens stand in the text; use a model with a fast"):
        list(tagging.encode(RECORD, Encoder(CanineTokenizer(), 64, TAGS)))


def test_losses_equal_those_of_transformers(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    records = [RECORD] + [
        TaggedTokens(words, tuple(TAGS.names[place % 4] for place in range(len(words))))
        for words in (tuple(text.split()) for text in tiny.TEXTS * 3)
    ]
    rows = tiny.encoded(tagging.SFT, records, Encoder(tokenizer, 64, TAGS))

    def aligned(batch: dict[str, list[list[str]]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer(batch["tokens"], truncation=True, is_split_into_words=True)
        labels = []
        for index, tags in enumerate(batch["tags"]):
            before, own = None, []
            for word in encoded.word_ids(index):
                own.append(-100 if word is None or word == before else TAGS.names.index(tags[word]))
                before = word
            labels.append(own)
        return {**encoded, "labels": labels}

    examples = Dataset.from_list([{"tokens": record.tokens, "tags": record.tags} for record in records])
    plain = Trainer(
        model=tiny.bert(BertForTokenClassification, num_labels=4),
        args=TrainingArguments(**tiny.arguments(tmp_path)),
        train_dataset=examples.map(aligned, batched=True),
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    model = tiny.bert(BertForTokenClassification, num_labels=4)
    trainer = tagging.SFT.trainer(tiny.setup(tmp_path, model, tokenizer, rows, labels=TAGS))
    assert tiny.losses(trainer) == pytest.approx(tiny.losses(plain), abs=1e-6)
