"""Odds ratio preference optimisation: the model learns the better answer, and to find the worse one less likely."""

import warnings
from collections.abc import Mapping
from typing import Self

import datasets
import torch
from trl.import_utils import TRLExperimentalWarning

from tunesmith_api.training import OddsRatio
from tunesmith_runtime.data.records import Preference
from tunesmith_runtime.data.tokenizing import IGNORED
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.preference import encode_pair, pair_length
from tunesmith_runtime.train.recipes.recipe import Recipe, Row, Setup

# TRL's version is pinned, so nothing of it changes without notice.
with warnings.catch_warnings(action="ignore", category=TRLExperimentalWarning):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer


class ReadyPairs(torch.utils.data.Dataset[Row]):
    """Rows of pairs in the columns of TRL's ORPO; `map`, by which TRL would tokenise text, leaves them as they are."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        row, columns = self.rows[index], {}
        for answer in ("chosen", "rejected"):
            ids = row["prompt_ids"] + row[f"{answer}_ids"]
            columns[f"{answer}_input_ids"] = ids
            columns[f"{answer}_attention_mask"] = [1] * len(ids)
            columns[f"{answer}_labels"] = [IGNORED] * len(row["prompt_ids"]) + row[f"{answer}_ids"]
        return columns

    def map(self, *_: object, **__: object) -> Self:
        """Return the rows, which need no preparation."""
        return self


class ReadyDatasets(dict[str, ReadyPairs]):
    """Datasets by name, as ready as each of them."""

    def map(self, *_: object, **__: object) -> Self:
        """Return the datasets, which need no preparation."""
        return self


def make_trainer(setup: Setup) -> ORPOTrainer:
    """Return TRL's ORPOTrainer (Hong et al. 2024, arXiv:2403.07691).

    Its loss of the better answer counts the prompt as well. Raises ConfigError for an adapter that cannot learn by it.
    """
    adapter = setup.config.method.adapter
    if adapter.type == "prompt-tuning":
        raise ConfigError(
            "spec.method.adapter.type: method orpo cannot train the vectors of prompt-tuning, which lengthen every "
            "answer; use lora, ia3, prefix-tuning or full"
        )
    settings = setup.config.method.orpo or OddsRatio()
    return ORPOTrainer(
        model=setup.model,
        args=ORPOConfig(
            **setup.arguments,
            beta=settings.beta,
            disable_dropout=not adapter.dropout,
            max_length=setup.config.data.max_length,  # cuts nothing: no record is too long
            remove_unused_columns=False,
        ),
        train_dataset=ReadyPairs(setup.train),
        eval_dataset=_ready(setup.validation),
        processing_class=setup.tokenizer,
    )


def _ready(validation: Mapping[str, datasets.Dataset]) -> ReadyDatasets | None:
    return ReadyDatasets({name: ReadyPairs(rows) for name, rows in validation.items()}) or None


ORPO = Recipe(
    task="causal-lm",
    method="orpo",
    accepts=(Preference,),
    encode=encode_pair,
    trainer=make_trainer,
    length=pair_length,
)
