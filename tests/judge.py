"""A judge behind a real HTTP endpoint, which says which of two answers is better."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.endpoints import EndpointServer, serving

# Takes the first and the second answer that it is shown; returns what it replies.
Rule = Callable[[str, str], str]
# In the words of training data, and with the marked tags of evaluations.
_ANSWERS = re.compile(
    r"<answer_a(?P<mark>\w*)>\n(.*)\n</answer_a(?P=mark)>\n\n<answer_b(?P=mark)>\n(.*)\n</answer_b(?P=mark)>", re.DOTALL
)
_ANSWER = re.compile(r"<answer(?P<mark>_\w+)>\n(.*)\n</answer(?P=mark)>", re.DOTALL)


def longer(first: str, second: str) -> str:
    """Prefer the longer answer."""
    return "TIE" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def grade(answer: str) -> str:
    """Give the number of words, 1 at least and 10 at most."""
    return str(max(1, min(10, len(answer.split()))))


@dataclass
class JudgeServer(EndpointServer):
    """A judge: of two answers it prefers one by `rule`, and to a single one it gives a `score`."""

    rule: Rule = longer
    score: Callable[[str], str] = grade

    def __post_init__(self) -> None:
        self.reply = self._judged

    def _judged(self, question: str) -> str:
        if found := _ANSWERS.search(question):
            return self.rule(found[2], found[3])
        alone = _ANSWER.search(question)
        assert alone is not None
        return self.score(alone[2])


@contextmanager
def judge_server(**settings: Any) -> Iterator[JudgeServer]:
    """Run a judge on a free port of this machine."""
    with serving(JudgeServer(**settings)) as running:
        yield running
