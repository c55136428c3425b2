"""Files that may be compressed, opened as what they hold."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO, cast

# What reading a damaged file raises, the disk's own errors among it.
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

_GZIP = b"\x1f\x8b"
_BZIP2 = tuple(b"BZh%d" % level for level in range(1, 10))
_XZ = b"\xfd7zXZ\x00"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def unpacked(path: Path) -> BinaryIO:
    """Return a stream of the file's content, uncompressed; its first bytes tell how it is compressed, if at all."""
    with path.open("rb") as stream:
        start = stream.read(len(_XZ))
    if start.startswith(_GZIP):
        return cast(BinaryIO, gzip.open(path))
    if start.startswith(_BZIP2):
        return cast(BinaryIO, bz2.open(path))
    if start.startswith(_XZ):
        return cast(BinaryIO, lzma.open(path))
    if start.startswith(_ZSTANDARD):
        import pyarrow  # takes a moment: only for those who use it

        return cast(BinaryIO, io.BufferedReader(pyarrow.CompressedInputStream(str(path), "zstd")))
    return path.open("rb")


def is_compressed(path: Path) -> bool:
    """Tell whether the file is compressed."""
    with path.open("rb") as stream:
        return stream.read(len(_XZ)).startswith((_GZIP, *_BZIP2, _XZ, _ZSTANDARD))


def bare_suffix(name: str) -> str:
    """Return the suffix of a file name in lower case, without that of the compression: `.csv` of a.csv.gz."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in SUFFIXES else path.suffix
