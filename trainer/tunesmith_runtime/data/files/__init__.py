"""Files of rows: JSON, JSONL, CSV, Parquet and Arrow, compressed or not."""

from pathlib import PurePosixPath

from tunesmith_runtime.data.files import arrow_files, csv_files, json_files
from tunesmith_runtime.data.files.compression import bare_suffix, unpacked
from tunesmith_runtime.data.rows import Reader
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import StoredFile

_ZIP = b"PK\x03\x04"

# What lies beside data in a folder: documents, pictures and programs, and the notes that tools keep.
_OTHER_SUFFIXES = {
    *(".md", ".rst", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg"),
    *(
        ".yaml",
        ".yml",
        ".toml",
        ".cfg",
        ".ini",
        ".py",
        ".ipynb",
        ".sh",
        ".log",
        ".lock",
        ".crc",
        ".md5",
        ".sha256",
        ".idx",
    ),
}
_OTHER_STEMS = {"readme", "license", "licence", "notice", "changelog", "citation", "authors", "makefile", "dockerfile"}
_OTHER_NAMES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


def is_data(name: str) -> bool:
    """Tell whether a file of a folder is to be read; of a name such as _SUCCESS, too, it is not."""
    path = PurePosixPath(name.lower())
    return not (
        any(part.startswith("_") for part in path.parts)
        or path.name in _OTHER_NAMES
        or path.suffix in _OTHER_SUFFIXES
        or path.name.partition(".")[0] in _OTHER_STEMS
    )


def reader_of(file: StoredFile) -> Reader | None:
    """Return what reads the file, None when nothing is in it.

    What it holds decides, not its name: only CSV, which looks like any text, needs .csv or .tsv as its suffix.
    Raises DataError for a file of no known kind.
    """
    with unpacked(file.path) as stream:
        start = stream.read(64)
    if start.startswith(_ZIP):
        raise DataError(f"{file.uri} is a ZIP archive or a spreadsheet; unpack it, or save it as CSV")
    if reader := arrow_files.reader_of(file, start):
        return reader
    if bare_suffix(file.name) in csv_files.SUFFIXES and not json_files.looks_like_json(start):
        return csv_files.reader_of(file)
    return json_files.reader_of(file)
