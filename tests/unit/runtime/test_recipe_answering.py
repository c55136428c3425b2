"""Answers that stand in a text."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import (
    BertForQuestionAnswering,
    DefaultDataCollator,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from tests.unit.runtime import tiny_encoders as tiny
from tunesmith_runtime.data.records import Answer, Question
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.train.recipes import answering
from tunesmith_runtime.train.recipes.recipe import Encoder, Row

CONTEXT = " ".join(tiny.TEXTS[:4])


def asked(question: str, answer: str | None, context: str = CONTEXT) -> Question:
    answers = () if answer is None else (Answer(answer, context.index(answer)), Answer("moon", 4))
    return Question("q1", question, context, answers)


def rows_of(question: Question, tokenizer: PreTrainedTokenizerFast, max_length: int = 200) -> list[Row]:
    return list(answering.encode(question, Encoder(tokenizer, max_length)))


def answer_of(row: Row, tokenizer: PreTrainedTokenizerFast) -> str:
    first, last = row["labels"]
    return str(tokenizer.decode(row["input_ids"][first : last + 1])).strip()


TOKENIZERS = [tiny.wordpiece, tiny.byte_level, lambda: tiny.byte_level(trim_offsets=False)]


@pytest.mark.parametrize("make", TOKENIZERS)
def test_the_labels_are_the_first_and_the_last_token_of_the_first_answer(
    make: Callable[[], PreTrainedTokenizerFast],
) -> None:
    tokenizer = make()
    (row,) = rows_of(asked("Where is Paris?", "the capital of France"), tokenizer)
    assert answer_of(row, tokenizer).replace("Ġ", "").replace(" ", "") == "thecapitalofFrance"


def test_an_answer_within_a_token_is_all_of_it() -> None:
    tokenizer = tiny.wordpiece()
    (row,) = rows_of(asked("What?", "pital of Fran"), tokenizer)
    assert answer_of(row, tokenizer) == "capital of France"


def test_space_around_an_answer_is_not_learnt() -> None:
    tokenizer = tiny.wordpiece()
    (row,) = rows_of(asked("What colour?", " blue"), tokenizer)
    assert answer_of(row, tokenizer) == "blue"


@pytest.mark.parametrize("answers", [(), (Answer(" ", 3),)])
def test_a_question_without_answer_points_at_the_first_token(answers: tuple[Answer, ...]) -> None:
    (row,) = rows_of(Question("q", "Why?", CONTEXT, answers), tiny.wordpiece())
    assert row["labels"] == [0, 0]


def test_question_and_context_are_told_apart() -> None:
    tokenizer = tiny.wordpiece()
    (row,) = rows_of(asked("What?", "blue"), tokenizer)
    first = [token for token, kind in zip(row["input_ids"], row["token_type_ids"], strict=True) if not kind]
    assert tokenizer.decode(first) == "[CLS] What ? [SEP]"


def test_a_long_context_is_read_through_windows_that_overlap() -> None:
    tokenizer = tiny.wordpiece()
    question = asked("What colour is the sky?", "blue")
    rows = rows_of(question, tokenizer, max_length=32)
    asked_for = len(tokenizer(question.question)["input_ids"])
    parts = [row["input_ids"][asked_for:-1] for row in rows]
    assert len(rows) > 2
    assert all(len(row["input_ids"]) <= 32 for row in rows)
    for before, after in pairwise(parts):
        assert before[-8:] == after[:8]
    whole = parts[0] + [token for part in parts[1:] for token in part[8:]]
    assert whole == tokenizer(CONTEXT, add_special_tokens=False)["input_ids"]


def test_only_windows_with_the_whole_answer_have_it() -> None:
    tokenizer = tiny.wordpiece()
    rows = rows_of(asked("Where is Paris?", "capital of France"), tokenizer, max_length=32)
    answers = [answer_of(row, tokenizer) for row in rows]
    assert set(answers) == {"capital of France", "[CLS]"}
    for row, answer in zip(rows, answers, strict=True):
        whole = "capital of France" in tokenizer.decode(row["input_ids"])
        assert whole == (answer == "capital of France")


def test_a_question_that_leaves_no_room_is_one_row_that_is_too_long() -> None:
    question = asked(" ".join(tiny.TEXTS[:2]), "blue")
    (row,) = rows_of(question, tiny.wordpiece(), max_length=16)
    assert answering.SFT.length(row) > 16
    assert answer_of(row, tiny.wordpiece()) == "blue"


def test_an_answer_at_the_wrong_place_is_refused() -> None:
    with pytest.raises(DataError, match="question q7: the answer 'blue' does not stand at character 3"):
        rows_of(Question("q7", "What?", CONTEXT, (Answer("blue", 3),)), tiny.wordpiece())


QUESTIONS = [
    asked("What colour is the sky?", "blue"),
    asked("How many legs has a spider?", "eight legs"),
    asked("What is Paris?", "the capital of France"),
    asked("What goes round the earth?", "moon"),
    asked("Who?", None),
]


def squad_features(tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int) -> Callable[..., dict[str, Any]]:
    """Return the preprocessing of SQuAD that the examples of transformers describe."""

    def prepared(examples: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = tokenizer(
            examples["question"],
            examples["context"],
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )
        starts, ends = [], []
        for feature, offsets in enumerate(encoded.pop("offset_mapping")):
            answers = examples["answers"][encoded["overflow_to_sample_mapping"][feature]]
            context = [token for token, part in enumerate(encoded.sequence_ids(feature)) if part == 1]
            first, last = context[0], context[-1]
            start = answers["answer_start"][0] if answers["answer_start"] else -1
            end = start + len(answers["text"][0]) if answers["text"] else -1
            if start < 0 or offsets[first][0] > start or offsets[last][1] < end:
                starts.append(0)
                ends.append(0)
                continue
            while first < len(offsets) and offsets[first][0] <= start:
                first += 1
            while offsets[last][1] >= end:
                last -= 1
            starts.append(first - 1)
            ends.append(last + 1)
        return {**encoded, "start_positions": starts, "end_positions": ends}

    return prepared


def test_losses_equal_those_of_transformers(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    rows = tiny.encoded(answering.SFT, QUESTIONS * 3, Encoder(tokenizer, 32))
    examples = Dataset.from_list(
        [
            {
                "question": each.question,
                "context": each.context,
                "answers": {
                    "text": [answer.text for answer in each.answers],
                    "answer_start": [answer.start for answer in each.answers],
                },
            }
            for each in QUESTIONS * 3
        ]
    )
    plain = Trainer(
        model=tiny.bert(BertForQuestionAnswering),
        args=TrainingArguments(**tiny.arguments(tmp_path)),
        train_dataset=examples.map(
            squad_features(tokenizer, 32, 8), batched=True, remove_columns=examples.column_names
        ),
        data_collator=DefaultDataCollator(),
    )
    setup = tiny.setup(tmp_path, tiny.bert(BertForQuestionAnswering), tokenizer, rows)
    trainer = answering.SFT.trainer(setup)
    collate = trainer.data_collator

    def padded_as_there(batch: list[Row]) -> dict[str, Any]:
        # The examples pad to the longest length: padding takes part in the softmax over places.
        return dict(collate([*batch, {"input_ids": [0] * 32, "token_type_ids": [0] * 32, "labels": [0, 0]}]))

    def dropped(batch: list[Row]) -> dict[str, Any]:
        return {name: values[:-1] for name, values in padded_as_there(batch).items()}

    trainer.data_collator = dropped
    assert tiny.losses(trainer) == pytest.approx(tiny.losses(plain), abs=1e-6)


def test_padding_stands_at_the_right_whatever_the_tokenizer_prefers(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    tokenizer.padding_side = "left"
    rows = tiny.encoded(answering.SFT, [QUESTIONS[0], asked("What?", "moon", "The moon")], Encoder(tokenizer, 200))
    trainer = answering.SFT.trainer(tiny.setup(tmp_path, tiny.bert(BertForQuestionAnswering), tokenizer, rows))
    batch = trainer.data_collator(rows)
    first, last = batch["labels"][1].tolist()
    assert tokenizer.decode(batch["input_ids"][1, first : last + 1]) == "moon"


def test_smoothing_is_refused(tmp_path: Path) -> None:
    rows: list[Row] = [{"input_ids": [2, 3], "labels": [0, 0]}]
    setup = tiny.setup(
        tmp_path,
        tiny.bert(BertForQuestionAnswering),
        tiny.wordpiece(),
        rows,
        config=tiny.train_run(labelSmoothingFactor=0.1),
    )
    with pytest.raises(ConfigError, match="places in a text, which cannot be smoothed; leave it out"):
        answering.SFT.trainer(setup)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> BertForQuestionAnswering:
    tokenizer = tiny.wordpiece()
    rows = tiny.encoded(answering.SFT, QUESTIONS, Encoder(tokenizer, 32))
    model = tiny.bert(BertForQuestionAnswering, hidden_size=32, initializer_range=0.2)
    folder = tmp_path_factory.mktemp("trained")
    tiny.losses(
        answering.SFT.trainer(tiny.setup(folder, model, tokenizer, rows, max_steps=60, per_device_train_batch_size=32))
    )
    return model


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.question)
def test_a_trained_model_finds_the_answer_in_the_window_that_has_it(
    question: Question, trained: BertForQuestionAnswering
) -> None:
    expected = question.answers[0].text if question.answers else ""
    tokenizer = tiny.wordpiece()
    for batch_size in (1, 8):
        found = answering.predict(trained, tokenizer, question.question, CONTEXT, 32, batch_size=batch_size)
        assert found == expected


def test_an_answer_can_be_insisted_on(trained: BertForQuestionAnswering) -> None:
    tokenizer = tiny.wordpiece()
    found = answering.predict(trained, tokenizer, "Who?", CONTEXT, 32, null_threshold=None, longest_answer=3)
    assert found
    assert found in CONTEXT
    assert len(found.split()) <= 3
    assert answering.predict(trained, tokenizer, "What is Paris?", CONTEXT, 32, null_threshold=-1e6) == ""


def test_an_empty_context_has_no_answer(trained: BertForQuestionAnswering) -> None:
    assert answering.predict(trained, tiny.wordpiece(), "Who?", "", 32, null_threshold=None) == ""


def test_predicting_leaves_the_model_in_its_mode(trained: BertForQuestionAnswering) -> None:
    trained.train()
    answering.predict(trained, tiny.wordpiece(), "Who?", CONTEXT, 32)
    assert trained.training


def test_a_question_without_room_for_the_context_cannot_be_asked(trained: BertForQuestionAnswering) -> None:
    with pytest.raises(DataError, match="leaves no room for its context in 16 tokens"):
        answering.predict(trained, tiny.wordpiece(), CONTEXT, CONTEXT, 16)
