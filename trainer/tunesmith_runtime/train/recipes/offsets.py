"""Where tokens stand in their text."""

from transformers import PreTrainedTokenizerBase

from tunesmith_runtime.errors import ModelError


def check_offsets(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError when the tokenizer cannot tell where its tokens stand."""
    if not tokenizer.is_fast:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer cannot tell where tokens stand in the text; use a model with "
            "a fast tokenizer (tokenizer.json)"
        )
