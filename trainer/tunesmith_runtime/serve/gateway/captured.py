"""What is written of an exchange and of feedback, and how it comes to storage."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tunesmith_api.serving.capture import CaptureFormat
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.errors import NotWritableError
from tunesmith_runtime.serve.gateway import reassembling

RecordKind = Literal["exchanges", "feedback"]
Record = dict[str, Any]
# What a request consists of; all else in it are settings.
_CONTENTS = {"messages", "prompt"}


@dataclass(frozen=True)
class CapturedExchange:
    """An exchange as it is kept until it is written: bytes, which are small."""

    facts: Mapping[str, Any]
    body: bytes
    answer: bytes

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return len(self.body) + len(self.answer) + 1024

    def to_json(self) -> Record:
        """Return it as JSON, for another process."""
        return {
            "facts": dict(self.facts),
            "body": self.body.decode("utf-8", "replace"),
            "answer": self.answer.decode("utf-8", "replace"),
        }

    def record(self) -> Record:
        """Return what is written: a chat as `messages` with its answer, which a FineTuneJob can read as they are."""
        request = json.loads(self.body)
        answers = reassembling.texts(self.answer)
        record: Record = {**self.facts, "request": {k: v for k, v in request.items() if k not in _CONTENTS}}
        first = answers[:1]
        if "messages" in request:
            record["messages"] = [*request["messages"], *first]
        else:
            record["prompt"] = request.get("prompt")
            record["completion"] = first[0].get("content", "") if first else None
        if len(answers) > 1:
            record["alternatives"] = answers[1:]
        return record


@dataclass(frozen=True)
class CapturedFeedback:
    """What somebody says of an answer."""

    facts: Record

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return sum(len(value) for value in self.facts.values() if isinstance(value, str)) + 1024

    def to_json(self) -> Record:
        """Return it as JSON, for another process."""
        return {"facts": self.facts}

    def record(self) -> Record:
        """Return what is written."""
        return self.facts


Captured = CapturedExchange | CapturedFeedback


def from_json(value: Mapping[str, Any]) -> Captured:
    """Return what `to_json` has made JSON of."""
    if "body" not in value:
        return CapturedFeedback(value["facts"])
    return CapturedExchange(value["facts"], value["body"].encode(), value["answer"].encode())


def redacted(value: Any) -> Any:
    """Return a JSON value whose texts have their personal data replaced by its kind."""
    # Bring libraries that only those need who redact.
    from tunesmith_runtime.data.quality.personal import personal_data
    from tunesmith_runtime.data.quality.spans import Edited

    if isinstance(value, str):
        return Edited(value, personal_data(value)).text
    if isinstance(value, Mapping):
        return {name: redacted(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each) for each in value]
    return value


# The gateway's own words, which hold nothing of anybody.
_OURS = ("id", "time", "endpoint", "revision", "key", "status", "requestId")


def finished(captured: Captured, *, redact: bool) -> Record:
    """Return a record as it is written."""
    record = captured.record()
    if not redact:
        return record
    return {name: value if name in _OURS else redacted(value) for name, value in record.items()}


def write(records: Sequence[Record], kind: RecordKind, folder: str, file: str, form: CaptureFormat) -> None:
    """Write records as a file of today's folder below `folder`; it is there whole or not at all.

    Raises OSError and RunError.
    """
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    uri = join(folder, f"{kind}/{day}/{file}.{form}")
    with tempfile.TemporaryDirectory(prefix="tunesmith-capture-") as scratch:
        path = Path(scratch, "part")
        _write_file(records, path, form)
        if storage.in_bucket(uri):
            from tunesmith_runtime.storage import objects

            objects.put(path, uri, NotWritableError)
            return
        target = storage.local_path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}-", delete=False) as there:
            there.write(path.read_bytes())
        Path(there.name).chmod(0o644)
        Path(there.name).replace(target)


def _write_file(records: Sequence[Record], path: Path, form: CaptureFormat) -> None:
    if form == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return
    import pyarrow as pa
    from pyarrow import parquet

    # Columns have one type each: what has none of its own becomes JSON. A table has the columns of its first row.
    columns = dict.fromkeys(name for record in records for name in record)
    parquet.write_table(pa.Table.from_pylist([{**dict.fromkeys(columns), **_flat(record)} for record in records]), path)


def _flat(record: Record) -> Record:
    flat = {name: _column(name, value) for name, value in record.items()}
    if "messages" in record:
        flat["messages"] = [
            {"role": str(each.get("role")), "content": _text(each.get("content"))} for each in record["messages"]
        ]
    return flat


def _column(name: str, value: Any) -> Any:
    if name in {"seconds", "rating"} and isinstance(value, int):
        return float(value)
    return _text(value) if isinstance(value, Mapping | list) else value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()
