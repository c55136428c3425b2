"""How texts without an answer are put to a model."""

from tunesmith_runtime.data.records import ASSISTANT, Answerable, Conversation, Message, PlainText
from tunesmith_runtime.data.streams import TextRecord


def put_to_chat(record: TextRecord) -> Answerable:
    """Return the record, a text as the user's turn of a chat that is to be answered."""
    if isinstance(record, PlainText):
        return Conversation((Message("user", record.text), Message(ASSISTANT, "")))
    return record
