"""Answers with what people said of them."""

from collections.abc import Iterator

from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, kind, text_of, text_or_none
from tunesmith_runtime.data.formats.turns import conversation, turns_of
from tunesmith_runtime.data.records import ASSISTANT, Answerable, Completion, Message, Opinion, Record


def feedback(fields: Fields) -> Iterator[Record | None]:
    """Read `{"messages": [...], "rating": number from -1 to 1, "correction": str (optional)}`.

    The messages end with the answer; `{"prompt": str, "completion": str}` in their place is raw text. Only the last
    answer is learnt, because that is what people have spoken of.
    """
    rated = fields["rating"]
    if isinstance(rated, bool) or not isinstance(rated, int | float):
        raise BadRecordError(f"rating is {kind(rated)}; it must be a number from -1 to 1")
    if not -1 <= rated <= 1:
        raise BadRecordError(f"rating is {rated}; it must be a number from -1 to 1")
    answer, corrected = _answers(fields, text_or_none(fields, "correction"))
    yield Opinion(answer, float(rated), corrected) if answer or corrected else None


def rating(text: str) -> float | str:
    """Return the number that a CSV field says, or the text itself."""
    try:
        return float(text)
    except ValueError:
        return text


def _answers(fields: Fields, correction: str) -> tuple[Answerable | None, Answerable | None]:
    if fields.get("messages") is None:
        prompt, completion = text_of(fields, "prompt"), text_of(fields, "completion")
        answered = Completion(prompt, completion) if completion.strip() else None
        return answered, Completion(prompt, correction) if correction.strip() else None
    turns = turns_of(fields, "messages")
    last = len(turns) - 1
    answer = conversation(turns, first_scored=last)
    better = (*turns[:-1], Message(ASSISTANT, correction))
    return answer, conversation(better, first_scored=last) if correction.strip() else None
