"""Two answers to one prompt that are still to be judged."""

from collections.abc import Iterator

from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, kind, list_of, text_of
from tunesmith_runtime.data.formats.turns import Turns, conversation, turns_of
from tunesmith_runtime.data.records import ASSISTANT, Answerable, Completion, Message, Pair, Record

_ANSWERS = ("answerA", "answerB")


def pairs(fields: Fields) -> Iterator[Record | None]:
    """Read `{"prompt": P, "answerA": A, "answerB": B}`, or `responses`, a list of A and B, in place of the two.

    All are strings (raw text), or the prompt is a list of messages and the answers are strings or lists of messages.
    A record whose answers are the same, or one of them empty, is left out.
    """
    answers = _answers(fields)
    first, second = (_answered(fields, answers, name) for name in answers)
    yield None if first is None or second is None or first == second else Pair(first, second)


def _answers(fields: Fields) -> Fields:
    """Return the two answers by what sentences call them."""
    if all(name in fields for name in _ANSWERS):
        return {name: fields[name] for name in _ANSWERS}
    responses = list_of(fields, "responses")
    if len(responses) != 2:
        raise BadRecordError(f"responses has {len(responses)} answers; a pair has two")
    return {f"responses[{index}]": response for index, response in enumerate(responses)}


def _answered(fields: Fields, answers: Fields, name: str) -> Answerable | None:
    match fields["prompt"], answers[name]:
        case str(), str():
            prompt, answer = text_of(fields, "prompt"), text_of(answers, name)
            if not prompt.strip():
                raise BadRecordError("prompt is empty")
            return Completion(prompt, answer) if answer.strip() else None
        case list(), str():
            return _conversation(turns_of(fields, "prompt"), (Message(ASSISTANT, text_of(answers, name)),), name)
        case list(), list():
            return _conversation(turns_of(fields, "prompt"), turns_of(answers, name), name)
        case prompt, answer:
            raise BadRecordError(
                f"prompt is {kind(prompt)} and {name} is {kind(answer)}; both must be strings, or the prompt a list of "
                "messages"
            )


def _conversation(prompt: Turns, answer: Turns, name: str) -> Answerable | None:
    if not prompt:
        raise BadRecordError("prompt is empty")
    return conversation(prompt + answer, len(prompt), name)
