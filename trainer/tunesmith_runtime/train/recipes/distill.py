"""Distillation: the model learns what a teacher would say at each token of an answer."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase, Trainer
from trl import DistillationConfig, DistillationTrainer

from tunesmith_api.reinforcement import Distillation
from tunesmith_runtime import storage
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.train.recipes import prompts
from tunesmith_runtime.train.recipes.preference import answered, check_reference, start
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup
from tunesmith_runtime.train.rollouts import RolloutTrainer


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield the tokens of the prompt, and those of the prompt with the data's own answer, apart from it.

    A token across the border of prompt and answer belongs to the answer, so the first prompt may be a token longer.
    """
    asked = prompts.as_asked(record)
    if asked is None:
        return
    for row in prompts.encode(asked, encoder):
        whole, border = answered(asked, encoder.tokenizer)
        yield {
            "input_ids": row["input_ids"],
            "prompt": row["prompt"],
            "prompt_ids": whole[:border] or start(encoder.tokenizer),
            "answer_ids": whole[border:],
        }


def length(row: Row) -> int:
    """Return the tokens of the prompt and the data's answer."""
    return len(row["prompt_ids"]) + len(row["answer_ids"])


class TeacherTrainer(RolloutTrainer, DistillationTrainer):
    """TRL's trainer, which in a share of batches learns at the data's answers instead of the model's.

    `lmbda` is the share of batches with the model's own answers (Agarwal et al. 2024, arXiv:2306.13649); all workers
    draw alike.
    """

    def __init__(self, *arguments: Any, lmbda: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lmbda = lmbda

    @property
    def micro_batches(self) -> int:
        """Micro-batches that one rollout is learnt from: those of an optimizer step."""
        return int(self.args.gradient_accumulation_steps)

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        step = self.args.per_device_train_batch_size * self.args.world_size * self.micro_batches
        return self.prompt_sampler(prompts=step, copies=1)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        drawn = random.Random(f"{self.args.seed} {self.state.global_step}").random()  # noqa: S311 - no secret
        self._rows, self._writes = inputs, drawn < self._lmbda
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [row["input_ids" if self._writes else "prompt_ids"] for row in self._rows], None, {}

    def _generate_single_turn(self, *arguments: Any, **options: Any) -> list[list[int]]:
        if self._writes:
            written: list[list[int]] = super()._generate_single_turn(*arguments, **options)
            return written
        return [row["answer_ids"][: self.max_completion_length] for row in self._rows]


def make_trainer(setup: Setup) -> Trainer:
    """Return the distillation trainer of the spec's settings. Raises ConfigError or ModelError for a wrong teacher."""
    settings = setup.config.method.distill
    if settings is None:
        raise ConfigError("spec.method.distill: method distill needs a teacher; set method.distill.teacher")
    return build(setup, settings)


def build(setup: Setup, settings: Distillation) -> TeacherTrainer:
    """Return TRL's DistillationTrainer of the given settings."""
    check_reference(setup)
    prompts.check_adapter(setup)
    prompts.check_room(setup, settings.max_completion_length)
    folder = storage.model_path(settings.teacher)
    check_teacher(setup.tokenizer, folder)
    teacher = load_causal_lm(folder, torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    known, taught = (model.config.get_text_config().vocab_size for model in (setup.model, teacher))
    if known != taught:
        raise ConfigError(
            f"spec.method.distill.teacher: the output layers differ: {taught} tokens, and the model has {known}; use a "
            "teacher of the same size of vocabulary"
        )
    return TeacherTrainer(
        model=setup.model,
        teacher_model=teacher.requires_grad_(requires_grad=False),
        args=DistillationConfig(
            **setup.arguments,
            max_completion_length=settings.max_completion_length,
            temperature=settings.temperature,
            beta=settings.beta,
            disable_dropout=True,
            remove_unused_columns=False,
        ),
        train_dataset=setup.train,
        eval_dataset=dict(setup.validation) or None,
        processing_class=setup.tokenizer,
        lmbda=settings.lmbda,
    )


def check_teacher(student_tokenizer: PreTrainedTokenizerBase, teacher_folder: Path) -> None:
    """Raise ConfigError unless the teacher's tokens are the student's, number for number."""
    own, taught = student_tokenizer.get_vocab(), load_tokenizer(teacher_folder).get_vocab()
    if own == taught:
        return
    different = sum(own.get(token) != number for token, number in taught.items())
    raise ConfigError(
        f"spec.method.distill.teacher: {teacher_folder} has another vocabulary: {different} of its {len(taught)} "
        f"tokens are not the model's, which has {len(own)}; use a teacher of the same family"
    )


DISTILL = Recipe(
    task="causal-lm",
    method="distill",
    accepts=prompts.ACCEPTED,
    encode=encode,
    trainer=make_trainer,
    length=length,
)
