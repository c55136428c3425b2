"""What requests are compared with: the prompts of records, or the first requests."""

import json
import random
from collections.abc import Sequence
from typing import Any

from tunesmith_api.data import DatasetSource
from tunesmith_api.serving.capture import Capture
from tunesmith_api.serving.watch import DriftReference
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.data.records import ASSISTANT, Conversation, PlainText, Question, as_conversation
from tunesmith_runtime.data.streams import TextRecord, open_records
from tunesmith_runtime.storage import texts

# Of the reference, and of each window, so many texts are compared, drawn evenly; of a text so many characters.
MOST_TEXTS = 1000
CHARACTERS = 4000
_PLACE = "_watch/first-requests.json"


def asked_in(messages: Sequence[Any]) -> str:
    """Return what the user said last."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                content = " ".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
            return content if isinstance(content, str) else ""
    return ""


def of_records(reference: DriftReference) -> list[str]:
    """Return the prompts of a dataset, a sample of them where there are many. Raises RunError."""
    sample = Sample(MOST_TEXTS)
    for record in open_records(DatasetSource(uri=reference.uri, format=reference.format)):
        text = as_conversation(record) if isinstance(record, Question) else record
        if isinstance(text, TextRecord) and (asked := prompt_of(text)):
            sample.add(asked[:CHARACTERS])
    return sample.taken


def prompt_of(record: TextRecord) -> str:
    """Return what the user said last in a record, or the text before its answer."""
    match record:
        case Conversation():
            said = [each.content for each in record.messages if each.role not in {ASSISTANT, "system"}]
            return said[-1] if said else ""
        case PlainText():
            return record.text
        case _:
            return record.prompt


def kept_first(capture: Capture) -> list[str] | None:
    """Return the first requests that have been kept, None before there are enough. Raises OSError and RunError."""
    found = texts.read_text(join(capture.uri, _PLACE))
    return None if found is None else [str(each) for each in json.loads(found)]


def keep_first(requests: Sequence[str], capture: Capture) -> None:
    """Keep the first requests. Raises OSError and RunError."""
    uri = join(capture.uri, _PLACE)
    if not storage.in_bucket(uri):
        storage.local_path(uri).parent.mkdir(parents=True, exist_ok=True)
    texts.write_text(json.dumps(list(requests)), uri)


class Sample:
    """Some of many texts, each as likely as any other."""

    def __init__(self, most: int, seed: int = 0) -> None:
        self.taken: list[str] = []
        self.seen = 0
        self._most = most
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def add(self, text: str) -> None:
        """Take a text, or not."""
        self.seen += 1
        if len(self.taken) < self._most:
            self.taken.append(text)
        elif (place := self._random.randrange(self.seen)) < self._most:
            self.taken[place] = text
