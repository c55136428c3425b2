"""Records become tokens, and loss counts exactly what the model is to learn."""

import pytest
from transformers import PreTrainedTokenizerBase

from tests.tiny import END, make_tiny_tokenizer
from tunesmith_runtime.data.records import Completion, Conversation, Message, PlainText
from tunesmith_runtime.data.tokenizing import IGNORED, Tokens, prompt_ids, tokenize
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models.templates import ensure_chat_template

CHAT = Conversation(
    (
        Message("system", "Be brief."),
        Message("user", "Où est-il? 🌙"),
        Message("assistant", "Là."),
        Message("user", "And now?"),
        Message("assistant", "The sky is blue."),
    )
)


def learnt(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> str:
    assert all(label in (IGNORED, token) for token, label in zip(tokens.input_ids, tokens.labels, strict=True))
    return str(tokenizer.decode([label for label in tokens.labels if label != IGNORED]))


def test_a_conversation_teaches_every_assistant_turn_and_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenize(CHAT, tokenizer)
    assert tokenizer.decode(tokens.input_ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOù est-il? 🌙<|im_end|>\n"
        "<|im_start|>assistant\nLà.<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n"
        "<|im_start|>assistant\nThe sky is blue.<|im_end|>\n"
    )
    assert learnt(tokens, tokenizer) == "Là.<|im_end|>\nThe sky is blue.<|im_end|>\n"


def test_the_turns_of_a_prompt_are_not_learnt(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenize(Conversation(CHAT.messages, first_scored=4), tokenizer)
    assert learnt(tokens, tokenizer) == "The sky is blue.<|im_end|>\n"


def test_a_template_that_adds_a_system_message_of_its_own_works(tokenizer: PreTrainedTokenizerBase) -> None:
    helpful = make_tiny_tokenizer(["a"])
    helpful.chat_template = (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
        + str(helpful.chat_template)
    )
    tokens = tokenize(Conversation((Message("user", "Hi"), Message("assistant", "Yes"))), helpful)
    assert str(helpful.decode(tokens.input_ids)).startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user")
    assert learnt(tokens, helpful) == "Yes<|im_end|>\n"


def test_without_completion_only_everything_is_learnt(tokenizer: PreTrainedTokenizerBase) -> None:
    for record in (CHAT, Completion("The sky", " is blue")):
        tokens = tokenize(record, tokenizer, completion_only=False)
        assert tokens.labels == tokens.input_ids


def test_a_completion_ends_with_the_end_of_sequence_token(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenize(Completion("The sky is", " blue."), tokenizer)
    assert tokenizer.decode(tokens.input_ids) == f"The sky is blue.{END}"
    assert learnt(tokens, tokenizer) == f" blue.{END}"


def test_a_token_across_the_border_belongs_to_the_completion(tokenizer: PreTrainedTokenizerBase) -> None:
    whole = tokenizer("The sky").input_ids
    assert [tokenizer.decode([token]) for token in whole] == ["The", " sky"]
    tokens = tokenize(Completion("The s", "ky"), tokenizer)
    assert tokens.input_ids == [*whole, tokenizer.eos_token_id]
    assert learnt(tokens, tokenizer) == f" sky{END}"


def test_an_end_that_is_written_out_is_not_doubled(tokenizer: PreTrainedTokenizerBase) -> None:
    plain = tokenize(Completion("The sky is", " blue."), tokenizer)
    assert tokenize(Completion("The sky is", f" blue.{END}"), tokenizer) == plain


def test_a_text_is_learnt_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    assert learnt(tokenize(PlainText("The sky is blue."), tokenizer), tokenizer) == f"The sky is blue.{END}"


def test_the_tokenizers_own_start_token_is_kept_for_raw_text_and_not_learnt_before_a_completion() -> None:
    from tokenizers.processors import TemplateProcessing

    starting = make_tiny_tokenizer(["a"])
    starting.add_special_tokens({"bos_token": "<s>"})
    start = starting.bos_token_id
    starting.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    tokens = tokenize(Completion("x", "y"), starting)
    assert (tokens.input_ids[0], tokens.labels[0]) == (start, IGNORED)
    assert learnt(tokens, starting) == f"y{END}"
    assert prompt_ids(Completion("", "y"), starting) == [start]
    assert start not in tokenize(CHAT, starting).input_ids


def test_the_prompt_ends_where_the_answer_begins(tokenizer: PreTrainedTokenizerBase) -> None:
    whole = tokenize(CHAT, tokenizer)
    prompt = prompt_ids(CHAT, tokenizer)
    assert whole.input_ids[: len(prompt)] == prompt
    assert tokenizer.decode(prompt).endswith("<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(prompt_ids(Completion("The sky is", " blue."), tokenizer)) == "The sky is"


def test_a_base_model_without_template_gets_the_plain_one() -> None:
    base = make_tiny_tokenizer(["a"])
    base.chat_template = None
    ensure_chat_template(base)
    tokens = tokenize(CHAT, base)
    assert base.decode(tokens.input_ids) == (
        "### System\nBe brief.\n\n### User\nOù est-il? 🌙\n\n### Assistant\nLà.<|im_end|>\n\n"
        "### User\nAnd now?\n\n### Assistant\nThe sky is blue.<|im_end|>"
    )
    assert learnt(tokens, base) == "Là.<|im_end|>The sky is blue.<|im_end|>"
    assert base.decode(prompt_ids(CHAT, base)).endswith("### User\nAnd now?\n\n### Assistant\n")


def test_a_template_of_the_models_own_is_kept() -> None:
    own = make_tiny_tokenizer(["a"])
    before = own.chat_template
    ensure_chat_template(own)
    assert own.chat_template == before


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        # It writes the number of turns first, so that no turn's text is the beginning of the next one's.
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "cannot be split into turns at"),
        ("{{ raise_exception('no system here') }}", "refuses a conversation with the turns .*: no system here"),
    ],
)
def test_a_template_that_cannot_be_used_is_named(template: str, fault: str) -> None:
    odd = make_tiny_tokenizer(["a"])
    odd.chat_template = template
    with pytest.raises(ModelError, match=fault) as raised:
        tokenize(CHAT, odd)
    assert not raised.value.retryable
