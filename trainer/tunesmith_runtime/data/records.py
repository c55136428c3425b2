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


@dataclass(frozen=True)
class Answer:
    """A text inside a context, and the index of its first character there."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question whose answer stands in a context; without answers it cannot be told from the context."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]


Answerable = Conversation | Completion


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, the better one first; both are of one kind and share all but the answer."""

    chosen: Answerable
    rejected: Answerable


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt of which nobody has said which is better; they share all but the answer."""

    first: Answerable
    second: Answerable


@dataclass(frozen=True)
class Rated:
    """An answer that is wanted or not."""

    answer: Answerable
    desirable: bool


@dataclass(frozen=True)
class Opinion:
    """What people think of an answer, from -1 to 1, and what it should have been, if somebody has said so.

    None stands for an answer that is empty; one of the two is there.
    """

    answer: Answerable | None
    rating: float
    corrected: Answerable | None


@dataclass(frozen=True)
class LabelledText:
    """A text, or a pair of them, and its class, its classes, or a number to predict."""

    text: str
    text_pair: str | None
    label: str | float | tuple[str, ...]


@dataclass(frozen=True)
class TaggedTokens:
    """Words, and a tag for each."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


Record = Answerable | PlainText | Question | Preference | Pair | Rated | Opinion | LabelledText | TaggedTokens


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


def as_conversation(record: Question) -> Conversation | None:
    """Return the question on its context as a turn of a chat, or None when there is no answer to learn."""
    distinct = tuple(dict.fromkeys(answer.text for answer in record.answers if answer.text.strip()))
    if not distinct:
        return None
    asked = f"{record.question}\n\n{record.context}" if record.context.strip() else record.question
    return Conversation((Message("user", asked), Message(ASSISTANT, distinct[0])), distinct)
