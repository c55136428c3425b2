"""Which tokens preferences become, and which are the answers'."""

import pytest
from transformers import PreTrainedTokenizerBase

from tests.unit.runtime.preferring import METHODS, TRIPLES, conversation, encoded, records
from tunesmith_api.training import MethodType
from tunesmith_runtime.data.records import Completion, Conversation, Message, Preference, Rated
from tunesmith_runtime.train import recipes


def test_a_preference_becomes_a_prompt_and_two_answers_with_the_token_that_ends_them(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    asked, good, bad = TRIPLES[0]
    (row,) = encoded("dpo", [Preference(conversation(asked, good), conversation(asked, bad))], tokenizer)
    assert tokenizer.decode(row["prompt_ids"]) == f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(row["chosen_ids"]) == f"{good}<|im_end|>\n"
    assert tokenizer.decode(row["rejected_ids"]) == f"{bad}<|im_end|>\n"
    (reward,) = encoded("rm", [Preference(conversation(asked, good), conversation(asked, bad))], tokenizer)
    assert reward["chosen_ids"] == row["prompt_ids"] + row["chosen_ids"]
    assert reward["rejected_ids"] == row["prompt_ids"] + row["rejected_ids"]


def test_the_answer_begins_where_the_conversation_is_first_scored(tokenizer: PreTrainedTokenizerBase) -> None:
    before = (Message("user", "Who?"), Message("assistant", "The sun."), Message("user", "Why is it?"))
    good, bad = (Conversation((*before, Message("assistant", text)), first_scored=3) for text in ("It is so.", "No."))
    (row,) = encoded("orpo", [Preference(good, bad)], tokenizer)
    assert tokenizer.decode(row["chosen_ids"]) == "It is so.<|im_end|>\n"
    assert "The sun." in tokenizer.decode(row["prompt_ids"])
    (rated,) = encoded("kto", [Rated(good, desirable=False)], tokenizer)
    assert tokenizer.decode(rated["completion_ids"]) == "It is so.<|im_end|>\n"
    assert rated["label"] is False


def test_raw_text_gets_no_template_and_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    (row,) = encoded(
        "dpo", [Preference(Completion("The sky is", " blue."), Completion("The sky is", " green."))], tokenizer
    )
    assert tokenizer.decode(row["prompt_ids"]) == "The sky is"
    assert tokenizer.decode(row["chosen_ids"]) == " blue.<|im_end|>"
    assert tokenizer.decode(row["rejected_ids"]) == " green.<|im_end|>"


def test_a_token_across_the_border_belongs_to_the_answers(tokenizer: PreTrainedTokenizerBase) -> None:
    one, other = Completion("The sky is bl", "ue."), Completion("The sky is bl", "ack.")
    assert len(tokenizer(" blue")["input_ids"]) == 1  # so bl is a token in the one and none in the other
    (row,) = encoded("dpo", [Preference(one, other)], tokenizer)
    assert tokenizer.decode(row["prompt_ids"]) == "The sky is"
    assert tokenizer.decode(row["chosen_ids"]) == " blue.<|im_end|>"
    assert tokenizer.decode(row["rejected_ids"]) == " black.<|im_end|>"


@pytest.mark.parametrize("method", ["rm", "dpo", "orpo"])
def test_two_answers_that_are_the_same_teach_nothing(method: MethodType, tokenizer: PreTrainedTokenizerBase) -> None:
    same = conversation("Who?", "The sun.")
    assert encoded(method, [Preference(same, same)], tokenizer) == []


def test_an_answer_without_a_prompt_follows_the_token_that_generation_starts_from(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    good, bad = Completion("", "The sky is blue."), Completion("", "No.")
    (row,) = encoded("dpo", [Preference(good, bad)], tokenizer)
    (rated,) = encoded("kto", [Rated(good, desirable=True)], tokenizer)
    assert row["prompt_ids"] == rated["prompt_ids"] == [tokenizer.eos_token_id]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_as_long_as_its_longer_sequence(method: MethodType, tokenizer: PreTrainedTokenizerBase) -> None:
    record = records(method)[2]
    (row,) = encoded(method, [record], tokenizer)
    answers = [record.answer] if isinstance(record, Rated) else [record.chosen, record.rejected]  # type: ignore[union-attr]
    turns = [[{"role": each.role, "content": each.content} for each in answer.messages] for answer in answers]  # type: ignore[union-attr]
    sequences = [tokenizer.apply_chat_template(each, return_dict=False) for each in turns]
    assert recipes.find("causal-lm", method).length(row) == max(map(len, sequences))
