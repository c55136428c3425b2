"""Encoders and encoder-decoders small enough to be trained in milliseconds, and what a recipe makes a Trainer of."""

import json
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from torch.optim import SGD
from transformers import (
    BertConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
)
from transformers.trainer_callback import PrinterCallback

from tunesmith_api.contract import TrainRun
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.train.recipes.recipe import Encoder, Labels, Recipe, Row, Setup

TEXTS = [
    "The moon goes round the earth, and the earth goes round the sun.",
    "What colour is the sky? The sky is blue.",
    "How many legs has a spider? A spider has eight legs.",
    "Paris is the capital of France, and Berlin that of Germany.",
] * 4
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPLIT = {"spider": ("spi", "der"), "capital": ("capi", "tal"), "Germany": ("Ger", "many"), "colour": ("col", "our")}


def wordpiece() -> PreTrainedTokenizerFast:
    """Return a tokenizer such as BERT's, to which the long words of the texts are several tokens."""
    words = sorted({word for text in TEXTS for word in re.findall(r"\w+|[.,?]", text)} - SPLIT.keys())
    parts = [part for first, rest in SPLIT.values() for part in (first, f"##{rest}")]
    letters = [sign for letter in string.ascii_letters for sign in (letter, f"##{letter}")]
    vocabulary = dict.fromkeys([*SPECIAL, *words, *parts, *letters])
    tokenizer = Tokenizer(WordPiece({token: number for number, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return _framed(tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def byte_level(*, trim_offsets: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer such as RoBERTa's, to which a word without a space before it is another one."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim_offsets)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _framed(tokenizer)


def sentencepiece() -> PreTrainedTokenizerFast:
    """Return a tokenizer such as XLM-R's: a space is a letter."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _framed(tokenizer)


def undivided() -> PreTrainedTokenizerFast:
    """Return a tokenizer such as Gemma's, which takes the whole text for one run of letters and spaces."""
    tokenizer = Tokenizer(BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([word for text in TEXTS for word in text.replace(" ", " ▁").split()], trainer)
    return _framed(tokenizer)


def _framed(tokenizer: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        eos_token="[SEP]",
        **options,
    )


def bert(
    kind: type[PreTrainedModel], *, dropout: float = 0.0, hidden_size: int = 16, **options: Any
) -> PreTrainedModel:
    """Return a BERT with the head of the class, always with the same weights."""
    config = BertConfig(
        vocab_size=400,
        hidden_size=hidden_size,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **options,
    )
    torch.manual_seed(0)
    model: PreTrainedModel = kind(config)
    return model


def t5() -> PreTrainedModel:
    """Return a T5, always with the same weights."""
    config = T5Config(
        vocab_size=400,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=SPECIAL.index("[SEP]"),
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    model: PreTrainedModel = T5ForConditionalGeneration(config)
    return model


def train_run(streams: int = 1, **training: Any) -> TrainRun:
    """Return a run whose data are already rows; keywords are hyperparameters."""
    source = {"uri": "file:///data.jsonl", "format": "text"}
    run = {
        "run": {"kind": "FineTuneJob", "name": "run", "namespace": "default", "uid": "u", "attempt": 1},
        "model": "file:///model",
        "data": {"train": [{"name": f"data{stream}", **source} for stream in range(streams)]},
        "method": {},
        "training": training,
        "checkpoints": {"uri": "file:///checkpoints", "everySteps": 1000, "keep": 1},
        "output": {"uri": "file:///output"},
    }
    return TrainRun.model_validate_json(json.dumps(run))


def encoded(recipe: Recipe, records: Iterable[Record], encoder: Encoder) -> list[Row]:
    """Return the rows of the records, with the columns that every recipe's rows get."""
    rows = [row for record in records for row in recipe.encode(record, encoder)]
    return [{**row, "stream": index % 2, "length": recipe.length(row)} for index, row in enumerate(rows)]


def arguments(folder: Path, **options: Any) -> dict[str, Any]:
    """Return arguments of a Trainer that reports the loss of each step; keywords replace or add some."""
    return {
        "output_dir": str(folder),
        "max_steps": 10,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "seed": 7,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "prediction_loss_only": True,
        "average_tokens_across_devices": True,
        **options,
    }


def setup(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[Row],
    *,
    validation: Mapping[str, list[Row]] | None = None,
    labels: Labels | None = None,
    config: TrainRun | None = None,
    **options: Any,
) -> Setup:
    """Return what a recipe makes a Trainer of; keywords are arguments of the Trainer."""
    return Setup(
        config=config or train_run(),
        model=model,
        tokenizer=tokenizer,
        arguments=arguments(folder, **options),
        train=Dataset.from_list(rows),
        validation={name: Dataset.from_list(each) for name, each in (validation or {}).items()},
        labels=labels,
    )


def losses(trainer: Trainer, resume: Path | None = None) -> list[float]:
    """Train, and return the loss of each step."""
    quiet(trainer).train(resume_from_checkpoint=None if resume is None else str(resume))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def quiet(trainer: Trainer) -> Trainer:
    """Take out what prints the losses."""
    trainer.remove_callback(PrinterCallback)
    return trainer


def weights_after(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Train by plain gradient descent, whose steps are as long as the gradients, and return the weights."""
    trainer.optimizer = SGD(trainer.model.parameters(), lr=0.1)
    losses(trainer)
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
