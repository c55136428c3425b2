"""The verdicts that a judge has given: kept beside the checkpoints, so that no attempt asks for one again."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith_api.judging import Judge
from tunesmith_runtime.data.judging.questions import VERSION, Verdict
from tunesmith_runtime.storage import journal
from tunesmith_runtime.storage.journal import Journal

VERDICTS = "verdicts.jsonl"
_SHOWN = 200


def digest(judge: Judge, question: str) -> str:
    """Return what a verdict is remembered by: all that it depends on."""
    parts = [VERSION, judge.model, judge.temperature, judge.max_tokens, question]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Verdicts:
    """Verdicts by the digests of their questions, which several threads may add to at the same time.

    What a reply that is no verdict said is there as well, for people to read.
    """

    def __init__(self, kept: Journal) -> None:
        self._kept = kept

    def get(self, key: str) -> tuple[Verdict, str] | None:
        """Return a verdict and what was said when it is none; None when nobody has been asked."""
        entry = self._kept.get(key)
        return (entry["verdict"], str(entry.get("reply", ""))) if entry and "verdict" in entry else None

    def add(self, key: str, verdict: Verdict, reply: str) -> None:
        """Remember a verdict."""
        said = " ".join(reply.split())[:_SHOWN] if verdict == "?" else ""
        self._kept.add({key: {"verdict": verdict, **({"reply": said} if said else {})}})


@contextmanager
def opened(checkpoints: str) -> Iterator[Verdicts]:
    """Give the verdicts of the run whose checkpoints are at a URI."""
    with journal.opened(checkpoints, VERDICTS) as kept:
        yield Verdicts(kept)
