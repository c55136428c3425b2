"""Single tokens as bytes and as text: a token may be less than a character."""

import re
from functools import cached_property

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenTexts:
    """What each token of a tokenizer stands for."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes that a token adds to a text."""
        if token not in self._known:
            self._known[token] = self._looked_up(token)
        return self._known[token]

    def text_of(self, token: int) -> str:
        """Return a token as text; what is less than a character as a question mark for each byte."""
        return self.bytes_of(token).decode("utf-8", "replace")

    def _looked_up(self, token: int) -> bytes:
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # models have more rows than their tokenizers have tokens
            return b""
        if token in self._tokenizer.added_tokens_decoder:
            return str(piece).encode()
        if self._is_byte_level and all(each in self._bytes for each in piece):
            return bytes(self._bytes[each] for each in piece)
        if found := _BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return str(piece).replace("\u2581", " ").encode()

    @cached_property
    def _is_byte_level(self) -> bool:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        return backend is None or "ByteLevel" in repr(backend.decoder)

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """Byte-level tokenizers write each byte as a character that can be printed."""
        return {character: byte for byte, character in bytes_to_unicode().items()}
