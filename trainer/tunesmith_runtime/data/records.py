"""What a training or evaluation record is, whatever format it was written in."""

from dataclasses import dataclass

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """Messages, the last of which is the assistant's, rendered by the model's chat template.

    `references` are the answers that evaluation accepts in place of the last message; by default that message.
    Loss counts the assistant turns from the message with index `first_scored` on.
    """

    messages: tuple[Message, ...]
    references: tuple[str, ...] = ()
    first_scored: int = 0

    def __post_init__(self) -> None:
        if not self.references:
            object.__setattr__(self, "references", (self.messages[-1].content,))


@dataclass(frozen=True)
class Completion:
    """Raw text, without a chat template, and how it goes on."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class PlainText:
    """Raw text, all of which is to be learnt."""

    text: str


Answerable = Conversation | Completion
Record = Answerable | PlainText


def references(record: Answerable) -> tuple[str, ...]:
    """Return the answers that evaluation accepts, the one to train on first."""
    return record.references if isinstance(record, Conversation) else (record.completion,)


def shown_prompt(record: Answerable) -> str:
    """Return what comes before the answer, for people: a lone question as it is, else each turn after its role."""
    if isinstance(record, Completion):
        return record.prompt
    turns = record.messages[:-1]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)
