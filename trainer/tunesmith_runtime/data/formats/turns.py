"""Lists of messages become conversations."""

from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, listed, objects_of, text_of
from tunesmith_runtime.data.records import ASSISTANT, Conversation, Message

ROLES = ("system", "user", ASSISTANT)

Turns = tuple[Message, ...]


def turns_of(fields: Fields, column: str) -> Turns:
    """Return messages with role and content."""
    turns: list[Message] = []
    for path, value in objects_of(fields, column):
        role = text_of(value, "role", path)
        if role not in ROLES:
            raise BadRecordError(f"{path}.role is {role!r}; it must be {listed(ROLES, 'or')}")
        turns.append(Message(role, text_of(value, "content", path)))
    return tuple(turns)


def conversation(turns: Turns, first_scored: int = 0, name: str = "") -> Conversation | None:
    """Return the conversation, None when one of the answers to learn is empty or there is none.

    `name` is the column that the messages stand in, where a record has several.
    """
    where = f" of {name}" if name else ""
    if not turns:
        raise BadRecordError(f"there are no messages{where}")
    if turns[-1].role != ASSISTANT:
        raise BadRecordError(f"the last message{where} is from {turns[-1].role}; it must be from the {ASSISTANT}")
    scored = [turn for turn in turns[first_scored:] if turn.role == ASSISTANT]
    if not all(turn.content.strip() for turn in scored) or not scored:
        return None
    return Conversation(turns, first_scored=first_scored)


def exchange(question: str, answers: tuple[str, ...]) -> Conversation | None:
    """Return a question and its answer, None when that is empty."""
    if not answers or not answers[0].strip():
        return None
    return Conversation((Message("user", question), Message(ASSISTANT, answers[0])), answers)


def joined(question: str, context: str) -> str:
    """Return a question and the text that it is about."""
    return f"{question}\n\n{context}" if context.strip() else question
