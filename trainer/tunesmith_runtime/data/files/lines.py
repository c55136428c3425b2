"""Lines of text files."""

from collections.abc import Iterator

from tunesmith_runtime.data.files.compression import unpacked
from tunesmith_runtime.storage import StoredFile

BOM = b"\xef\xbb\xbf"


def numbered_lines(file: StoredFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines, ends included, with their numbers from 1 and without a byte order mark."""
    with unpacked(file.path) as stream:
        for number, line in enumerate(stream, start=1):
            yield number, line.removeprefix(BOM) if number == 1 else line


def filled_lines(file: StoredFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, as `numbered_lines` does."""
    return ((number, line) for number, line in numbered_lines(file) if line.strip())


def not_utf8(error: UnicodeDecodeError) -> str:
    """Return what is wrong with bytes that are not UTF-8."""
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}; save it as UTF-8"
