"""What all contestants learn: a language made up on the spot, and a random Llama that can learn it.

A word is followed by one of three others, so that there is something to learn and a loss that tells how far it got.
Answers vary in length as answers do: many short ones, few long ones.

`python -m tests.bench.workload VOLUMES` makes both.
"""

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.settings import HELD_OUT, RECORDS

WORDS = 96
FOLLOWERS = 3
SHORTEST, LONGEST = 4, 180


@dataclass(frozen=True)
class Workload:
    """Files below a folder of volumes: records to learn from, records that nobody sees, the model all begin with."""

    volumes: Path

    @property
    def train(self) -> Path:
        return self.volumes / "data" / "train.jsonl"

    @property
    def held_out(self) -> Path:
        return self.volumes / "data" / "held_out.jsonl"

    @property
    def model(self) -> Path:
        return self.volumes / "models" / "base"


def make(work: Workload) -> None:
    """Write the records and the model."""
    from tests.tiny import make_tiny_model

    generator = random.Random(17)
    words = _words(generator)
    followers = {word: generator.sample(words, FOLLOWERS) for word in words}
    records = [_record(generator, words, followers) for _ in range(RECORDS + HELD_OUT)]
    work.train.parent.mkdir(parents=True)
    work.train.write_text("\n".join(records[:RECORDS]) + "\n")
    work.held_out.write_text("\n".join(records[RECORDS:]) + "\n")
    make_tiny_model(work.model, records, hidden_size=256, layers=4, vocab_size=1024)


def _words(generator: random.Random) -> list[str]:
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    return ["".join(pair) for pair in generator.sample([(a, b) for a in syllables for b in syllables], WORDS)]


def _record(generator: random.Random, words: list[str], followers: dict[str, list[str]]) -> str:
    answer = [generator.choice(words)]
    question = f"tell of {answer[0]}"
    length = int(SHORTEST + (LONGEST - SHORTEST) * generator.random() ** 2)
    while len(answer) < length:
        answer.append(generator.choice(followers[answer[-1]]))
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": " ".join(answer)}]
    return json.dumps({"messages": turns})


if __name__ == "__main__":
    make(Workload(Path(sys.argv[1])))
