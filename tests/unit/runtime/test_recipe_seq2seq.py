"""Encoder-decoders that learn to answer."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from tests.tiny import CHAT_TEMPLATE
from tests.unit.runtime import tiny_encoders as tiny
from tunesmith_runtime.data.records import Answer, Completion, Conversation, Message, Question, Record
from tunesmith_runtime.train.recipes import seq2seq
from tunesmith_runtime.train.recipes.recipe import Encoder, Row

CHAT = Conversation(
    (
        Message("system", "Be brief."),
        Message("user", "What colour is the sky?"),
        Message("assistant", "blue"),
        Message("user", "And the earth?"),
        Message("assistant", "green"),
    )
)
TOKENIZER = tiny.byte_level()


def shown(record: Record, template: str | None = None) -> list[tuple[str, str]]:
    """Return prompt and answer of each row as text."""
    tokenizer = tiny.byte_level()
    tokenizer.chat_template = template
    rows = seq2seq.encode(record, Encoder(tokenizer, 64))
    return [(_text(row["input_ids"]), _text(row["labels"])) for row in rows]


def _text(ids: list[int]) -> str:
    return "".join(TOKENIZER.convert_ids_to_tokens(ids)).replace("Ġ", " ").replace("Ċ", "\n")


def test_a_completion_follows_its_prompt_and_ends() -> None:
    assert shown(Completion("The sky is", "blue")) == [("[CLS]The sky is[SEP]", "[CLS]blue[SEP]")]


def test_each_answer_of_a_conversation_is_learnt_from_what_comes_before() -> None:
    assert shown(CHAT) == [
        ("[CLS]system: Be brief.\n\nuser: What colour is the sky?[SEP]", "[CLS]blue[SEP]"),
        (
            "[CLS]system: Be brief.\n\nuser: What colour is the sky?\n\nassistant: blue\n\nuser: And the earth?[SEP]",
            "[CLS]green[SEP]",
        ),
    ]


def test_answers_that_do_not_count_are_not_learnt() -> None:
    ((prompt, answer),) = shown(Conversation(CHAT.messages, first_scored=3))
    assert "assistant: blue" in prompt
    assert answer == "[CLS]green[SEP]"


def test_a_lone_question_is_the_prompt_as_it_is() -> None:
    chat = Conversation((Message("user", "What colour?"), Message("assistant", "blue")))
    assert shown(chat)[0][0] == "[CLS]What colour?[SEP]"


def test_a_template_of_its_own_writes_the_prompt() -> None:
    chat = Conversation((Message("user", "What colour?"), Message("assistant", "blue")))
    ((prompt, answer),) = shown(chat, CHAT_TEMPLATE)
    assert prompt == "<|im_start|>user\nWhat colour?<|im_end|>\n<|im_start|>assistant\n"
    assert answer == "[CLS]blue[SEP]"


def test_a_question_on_a_context_is_answered() -> None:
    question = Question("q", "What colour?", "The sky is blue.", (Answer("blue", 11),))
    assert shown(question) == [("[CLS]What colour?\n\nThe sky is blue.[SEP]", "[CLS]blue[SEP]")]
    assert shown(Question("q", "What colour?", "The sky is blue.", ())) == []


def test_the_end_is_written_where_the_tokenizer_does_not() -> None:
    tokenizer = tiny.byte_level()
    tokenizer.backend_tokenizer.post_processor = None
    (row,) = seq2seq.encode(Completion("The sky is", "blue"), Encoder(tokenizer, 64))
    assert _text(row["labels"]) == "blue[SEP]"
    assert _text(row["input_ids"]) == "The sky is"


def test_a_row_is_as_long_as_the_longer_one_of_prompt_and_answer() -> None:
    assert seq2seq.SFT.length({"input_ids": [1, 2], "labels": [1, 2, 3]}) == 3
    assert seq2seq.SFT.length({"input_ids": [1, 2], "labels": [1]}) == 2


def _rows() -> list[Row]:
    records = [Completion(text, " ".join(text.split()[: 2 + index % 3])) for index, text in enumerate(tiny.TEXTS * 3)]
    return tiny.encoded(seq2seq.SFT, records, Encoder(TOKENIZER, 64))


def test_losses_equal_those_of_transformers(tmp_path: Path) -> None:
    rows, model = _rows(), tiny.t5()
    plain = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(**tiny.arguments(tmp_path)),
        train_dataset=Dataset.from_list(rows).select_columns(["input_ids", "labels"]),
        data_collator=DataCollatorForSeq2Seq(TOKENIZER, model=model),
        processing_class=TOKENIZER,
    )
    trainer = seq2seq.SFT.trainer(tiny.setup(tmp_path, tiny.t5(), TOKENIZER, rows))
    assert tiny.losses(trainer) == pytest.approx(tiny.losses(plain), rel=1e-6, abs=1e-6)


def test_an_answer_is_learnt(tmp_path: Path) -> None:
    rows = tiny.encoded(seq2seq.SFT, [Completion("The sky is", " blue")] * 4, Encoder(TOKENIZER, 64))
    model = tiny.t5()
    tiny.losses(seq2seq.SFT.trainer(tiny.setup(tmp_path, model, TOKENIZER, rows, max_steps=40)))
    with torch.no_grad():
        written = model.eval().generate(**TOKENIZER("The sky is", return_tensors="pt"), max_new_tokens=8)
    assert _text(written[0].tolist()) == "[PAD][CLS] blue[SEP]"
