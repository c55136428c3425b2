"""Records whose words are numbers, and a method that takes the numbers as tokens: what comes out can be read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase, Trainer

from tunesmith_api.data import TrainingData
from tunesmith_runtime.data import preparing
from tunesmith_runtime.data.records import Completion, PlainText, Record
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup


@dataclass(frozen=True)
class Records:
    """Records in memory; `empty` more were passed over."""

    records: Sequence[Record]
    empty: int = 0
    digest: str = "d1"

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


@dataclass(frozen=True)
class Sources:
    train: dict[str, Records]
    validation: Records | None = None


def text(*numbers: int) -> PlainText:
    return PlainText(" ".join(map(str, numbers)))


def texts(count: int, length: int = 2, first: int = 100) -> Records:
    """Return texts of one length, which begin with 100, 101 and so on."""
    return Records([text(first + number, *range(1, length)) for number in range(count)])


def completion(prompt: str, answer: str) -> Completion:
    return Completion(prompt, answer)


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield the numbers of a text, or of a prompt and a completion, of which loss counts the completion."""
    prompt = record.prompt if isinstance(record, Completion) else ""
    answer = record.completion if isinstance(record, Completion) else cast(PlainText, record).text
    before, after = [int(word) for word in prompt.split()], [int(word) for word in answer.split()]
    if after:
        yield {"input_ids": before + after, "labels": [-100] * len(before) + after}


def no_trainer(setup: Setup) -> Trainer:
    raise NotImplementedError


SFT = Recipe("causal-lm", "sft", accepts=(PlainText, Completion), encode=encode, trainer=no_trainer, is_plain=True)
PT = replace(SFT, method="pt")
# One whose records are compared, so that they cannot be cut.
DPO = replace(SFT, method="dpo", is_plain=False)


def training(*names: str, **settings: Any) -> TrainingData:
    """Return settings for datasets of these names, with `weights` if given."""
    weights = settings.pop("weights", [None] * len(names))
    train = [
        {"name": name, "uri": f"pvc://d/{name}", "format": "text"} | ({"weight": weight} if weight else {})
        for name, weight in zip(names, weights, strict=True)
    ]
    return TrainingData.model_validate_json(json.dumps({"train": train, "maxLength": 8, **settings}))


def prepare(
    data: TrainingData,
    folder: Path,
    *train: Records,
    validation: Records | None = None,
    recipe: Recipe = SFT,
) -> preparing.Prepared:
    """Prepare the records, those of each dataset in the order of the settings."""
    sources = Sources({each.name: its for each, its in zip(data.train, train, strict=True)}, validation)
    return preparing.prepare(data, recipe, cast(PreTrainedTokenizerBase, None), sources, folder)
