"""Answers that are better or worse, wanted or not."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, kind, text_of
from tunesmith_runtime.data.formats.instructions import answered
from tunesmith_runtime.data.formats.turns import Turns, conversation, turns_of
from tunesmith_runtime.data.records import Completion, Preference, Rated, Record

_NO_PROMPT = "there is no prompt: the column is missing or empty, and chosen and rejected begin differently"
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


def preference(fields: Fields) -> Iterator[Record | None]:
    """Read `{"prompt": P, "chosen": C, "rejected": R}`, all strings (raw text) or all lists of messages.

    Without a prompt, or with a string that repeats the first message of the user, chosen and rejected are whole
    conversations, or whole texts, and what they share at their beginning is the prompt. A record whose answers are
    the same, or one of them empty, is left out.
    """
    prompt = fields.get("prompt")
    match prompt, fields["chosen"], fields["rejected"]:
        case str(), str(), str():
            asked = text_of(fields, "prompt")
            yield _of_texts(asked, text_of(fields, "chosen"), text_of(fields, "rejected"))
        case None, str(), str():
            chosen, rejected = text_of(fields, "chosen"), text_of(fields, "rejected")
            asked = _shared_words(chosen, rejected)
            yield _of_texts(asked, chosen[len(asked) :], rejected[len(asked) :])
        case list(), list(), list():
            first = turns_of(fields, "prompt")
            yield _of_turns(first + turns_of(fields, "chosen"), first + turns_of(fields, "rejected"), len(first))
        case None | str(), list(), list():
            turns, others = turns_of(fields, "chosen"), turns_of(fields, "rejected")
            shared = _shared_length(turns, others)
            if isinstance(prompt, str) and prompt not in {turn.content for turn in turns[:shared]}:
                raise BadRecordError(
                    "prompt is a string, and chosen and rejected do not both begin with it as a message; "
                    "write prompt as a list of messages, or leave it out of whole conversations"
                )
            yield _of_turns(turns, others, shared)
        case _, chosen, rejected:
            given = f"prompt is {kind(prompt)}, " if "prompt" in fields else ""
            raise BadRecordError(
                f"{given}chosen is {kind(chosen)} and rejected is {kind(rejected)}; "
                "all must be strings, or all lists of messages"
            )


def kto(fields: Fields) -> Iterator[Record | None]:
    """Read `{"prompt": P, "completion": C, "label": bool}`, P and C both strings or both lists of messages.

    The label says whether the answer is wanted.
    """
    label = fields["label"]
    if not isinstance(label, bool):
        raise BadRecordError(f"label is {kind(label)}; it must be true or false")
    answer = answered(fields)
    yield None if answer is None else Rated(answer, label)


def truth(text: str) -> bool | str:
    """Return the truth value that a CSV field says, or the text itself."""
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else text


def _of_texts(prompt: str, chosen: str, rejected: str) -> Preference | None:
    if not prompt.strip():
        raise BadRecordError(_NO_PROMPT)
    if not chosen.strip() or not rejected.strip() or chosen == rejected:
        return None
    return Preference(Completion(prompt, chosen), Completion(prompt, rejected))


def _of_turns(chosen: Turns, rejected: Turns, shared: int) -> Preference | None:
    if chosen == rejected and chosen:
        return None
    if not shared:
        raise BadRecordError(_NO_PROMPT)
    better, worse = conversation(chosen, shared, "chosen"), conversation(rejected, shared, "rejected")
    return Preference(better, worse) if better and worse else None


def _shared_length(one: Sequence[object], other: Sequence[object]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _shared_words(one: str, other: str) -> str:
    """Return the beginning that two texts share, up to where its last word ends."""
    shared = one[: _shared_length(one, other)]
    ends = [index for index, character in enumerate(shared) if character.isspace()]
    return shared[: ends[-1]].rstrip() if ends else ""
