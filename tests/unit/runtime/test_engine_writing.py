"""The text of an answer as it is streamed: whole characters, nothing of a stop string, and nothing is taken back."""

import random

import pytest
from transformers import PreTrainedTokenizerBase

from tunesmith_runtime.serve.engine.tokens import TokenTexts
from tunesmith_runtime.serve.engine.writing import Writer

TEXT = "Grüße 你好 👩‍👩‍👧 naïve café — the end. STOP here"


def bytewise(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of a text, one for each byte: no token is a whole character outside of ASCII."""
    texts = TokenTexts(tokenizer)
    single = {texts.bytes_of(token): token for token in range(len(tokenizer)) if len(texts.bytes_of(token)) == 1}
    return [single[bytes([byte])] for byte in text.encode()]


def streamed(tokens: list[int], tokenizer: PreTrainedTokenizerBase, *stops: str) -> list[str]:
    writer = Writer(tokenizer, stops)
    parts = []
    for token in tokens:
        parts.append(writer.add(token))
        if writer.stopped:
            break
    return [*parts, writer.end()]


def test_characters_of_several_bytes_come_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    parts = streamed(bytewise(TEXT, tokenizer), tokenizer)
    assert "".join(parts) == TEXT
    assert not any("\ufffd" in part for part in parts)
    assert parts.count("é") == 1


@pytest.mark.parametrize("stop", ["STOP", "好 ", "👧", "end. S", "G"])
def test_a_stop_string_may_begin_and_end_anywhere(tokenizer: PreTrainedTokenizerBase, stop: str) -> None:
    wanted = TEXT.partition(stop)[0]
    for tokens in (bytewise(TEXT, tokenizer), tokenizer(TEXT)["input_ids"]):
        parts = streamed(list(tokens), tokenizer, stop, "never written")
        assert "".join(parts) == wanted
        assert all(wanted.startswith("".join(parts[:count])) for count in range(len(parts)))


def test_what_only_looked_like_a_stop_string_is_given_in_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = bytewise("the end", tokenizer)
    parts = streamed(tokens, tokenizer, "ending")
    assert parts[-1] == "end"
    assert "".join(parts) == "the end"


def test_bytes_that_are_no_text_do_not_hold_up_the_rest(tokenizer: PreTrainedTokenizerBase) -> None:
    drawn = random.Random(0)
    for _ in range(20):
        tokens = [drawn.randrange(3, len(tokenizer)) for _ in range(40)]
        parts = streamed(tokens, tokenizer)
        assert "".join(parts) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_special_tokens_are_no_text(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = [*tokenizer("blue")["input_ids"], tokenizer.eos_token_id, *tokenizer(" sky")["input_ids"]]
    assert "".join(streamed(tokens, tokenizer)) == "blue sky"


def test_single_tokens_are_bytes(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = TokenTexts(tokenizer)
    tokens = tokenizer(TEXT)["input_ids"]
    assert b"".join(texts.bytes_of(token) for token in tokens) == TEXT.encode()
    assert texts.text_of(tokenizer.eos_token_id) == tokenizer.eos_token
    assert texts.text_of(bytewise("é", tokenizer)[0]) == "\ufffd"
