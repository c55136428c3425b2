"""A Trainer whose optimizer steps learn from slices of a rollout by PPO."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.func import functional_call
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from tunesmith_api.reinforcement import ProximalPolicy
from tunesmith_runtime.train.ppo import advantages, losses
from tunesmith_runtime.train.ppo.answers import Answers, Sampling, draw
from tunesmith_runtime.train.ppo.policy import Evaluation, PolicyWithValue
from tunesmith_runtime.train.rewards import Asked
from tunesmith_runtime.train.rollouts import Batch, RolloutTrainer

# The weights that learn, with the value head, in a checkpoint.
WEIGHTS = "ppo.safetensors"
Row = Mapping[str, Any]
# The reward of each answer.
Rewarding = Callable[[Sequence[Asked], Sequence[str]], Sequence[float]]


class PPOTrainer(RolloutTrainer):
    """Learns from the rewards of its own answers; `rewarding` gives the reward of each.

    The loss of an optimizer step is the mean over all tokens of its answers, over all workers and micro-batches.
    """

    loss_is_scaled_for_ga = True
    model: PolicyWithValue

    def __init__(
        self,
        *,
        model: PreTrainedModel | PeftModel,
        args: TrainingArguments,
        settings: ProximalPolicy,
        rewarding: Rewarding,
        train_dataset: datasets.Dataset,
        eval_dataset: Mapping[str, datasets.Dataset] | None,
        processing_class: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__(
            model=PolicyWithValue(model),
            args=args,
            data_collator=list,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
        )
        self.settings = settings
        self.rewarding = rewarding
        self._buffered_inputs = None
        self._step = 0
        self._metrics: dict[str, list[float]] = defaultdict(list)
        # What the policy began as: copies of the weights that learn, before any checkpoint is loaded.
        self._reference = {name: weight.detach().clone() for name, weight in self._learning(self.model)}

    @property
    def micro_batches(self) -> int:
        """Micro-batches that one rollout is learnt from."""
        return self._slices * self.settings.num_iterations

    @property
    def _slices(self) -> int:
        return self.args.gradient_accumulation_steps * self.settings.num_mini_batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the prompts of a whole rollout."""
        return self._get_dataloader(
            dataset=self.train_dataset,
            description="Training",
            batch_size=self._train_batch_size * self._slices,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )

    def _get_train_sampler(self, dataset: datasets.Dataset | None = None) -> Sampler[int]:
        prompts = self._train_batch_size * self._slices * self.args.world_size
        return self.prompt_sampler(prompts=prompts, copies=1)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Learn from a micro-batch and count it."""
        loss: torch.Tensor = super().training_step(*arguments, **options)
        self._step += 1
        return loss

    def _prepare_inputs(self, inputs: Any) -> Batch:
        return super()._prepare_inputs(self._micro_batch(inputs))

    def _micro_batch(self, rows: Sequence[Row]) -> Batch:
        place = self._step % self.micro_batches
        if place == 0 or self._buffered_inputs is None:
            self._buffered_inputs = self._sliced(self._rollout(rows))
        return self._buffered_inputs[place]

    def _rollout(self, rows: Sequence[Row]) -> Batch:
        """Let the model answer, and return what is learnt of the answers, all with one row for each."""
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            sampling = Sampling(self.settings.max_completion_length, self.settings.temperature)
            prompts = [row["input_ids"] for row in rows]
            answers = draw(self._bare().policy, self.processing_class, prompts, sampling)
            now, reference = self._evaluated(answers)
        self.model.train(was_training)
        scores = self._scores(rows, answers)
        kl = (now.log_probs - reference.log_probs) * answers.mask
        rewards = advantages.token_rewards(scores, kl, answers.mask, self.settings.kl_coef)
        self._note_rollout(answers, scores, kl, rewards, now.entropies)
        if self.settings.whiten_rewards:
            rewards = advantages.whitened(rewards, answers.mask, shift=False, add_up=self._add_up)
        raw = advantages.generalised_advantages(
            rewards, now.values, answers.mask, self.settings.gamma, self.settings.lam
        )
        return {
            "input_ids": answers.input_ids,
            "attention_mask": answers.attention_mask,
            "mask": answers.mask,
            "log_probs": now.log_probs,
            "values": now.values,
            "returns": raw + now.values * answers.mask,
            "advantages": advantages.whitened(raw, answers.mask, add_up=self._add_up),
        }

    def _evaluated(self, answers: Answers) -> tuple[Evaluation, Evaluation]:
        """Evaluate the answers by the policy and by what it began as, a micro-batch at a time."""
        now, reference = [], []
        size, bare = self._train_batch_size, self._bare()
        began = {name: self._reference[name].to(weight) for name, weight in self._learning(bare)}
        for first in range(0, len(answers.input_ids), size):
            given = {
                "input_ids": answers.input_ids[first : first + size],
                "attention_mask": answers.attention_mask[first : first + size],
                "answer_length": answers.length,
                "temperature": self.settings.temperature,
            }
            now.append(bare(**given))
            reference.append(functional_call(bare, began, (), given))
        return Evaluation(*map(torch.cat, zip(*now, strict=True))), Evaluation(
            *map(torch.cat, zip(*reference, strict=True))
        )

    def _scores(self, rows: Sequence[Row], answers: Answers) -> torch.Tensor:
        texts = answers.texts(self.processing_class)
        rewards = self.rewarding([Asked.of(row) for row in rows], texts)
        scores = torch.tensor(list(rewards), dtype=torch.float32, device=answers.mask.device)
        self._metrics["reward"].append(self._mean(scores, torch.ones_like(scores)))
        if self.settings.missing_eos_penalty is not None:
            scores = scores - self.settings.missing_eos_penalty * ~answers.ended
        return scores

    def _sliced(self, rollout: Batch) -> list[Batch]:
        """Return the micro-batches, in a new random order for each time the rollout is learnt from.

        `tokens` of each is the number of tokens of its optimizer step, divided by the number of workers.
        """
        size, accumulated = self._train_batch_size, self.args.gradient_accumulation_steps
        sliced: list[Batch] = []
        for _ in range(self.settings.num_iterations):
            order = torch.randperm(len(rollout["mask"])).to(rollout["mask"].device)
            for step in order.split(size * accumulated):
                tokens = self._add_up(rollout["mask"][step].sum().float()) / self.args.world_size
                sliced += [
                    {**{name: value[rows] for name, value in rollout.items()}, "tokens": tokens}
                    for rows in step.split(size)
                ]
        return sliced

    def compute_loss(
        self,
        model: Callable[..., Evaluation],
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the clipped policy loss plus the weighted clipped value loss, per token of the optimizer step."""
        mask, settings = inputs["mask"], self.settings
        now = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            answer_length=mask.shape[1],
            temperature=settings.temperature,
        )
        policy = losses.policy_loss(now.log_probs, inputs["log_probs"], inputs["advantages"], mask, settings.clip_range)
        value = losses.value_loss(now.values, inputs["values"], inputs["returns"], mask, settings.clip_range_value)
        count = mask.sum().float()
        for name, summed in (
            ("policy_loss", policy.loss),
            ("value_loss", value.loss),
            ("approx_kl", policy.kl),
            ("clip_fraction", policy.clipped),
            ("value_clip_fraction", value.clipped),
            ("policy_entropy", (now.entropies * mask).sum()),
        ):
            self._metrics[name].append(self._ratio(summed.detach(), count))
        loss = (policy.loss + settings.vf_coef * value.loss) / inputs["tokens"]
        return (loss, now) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor, None, None]:
        """Return minus what answers to validation prompts earn, with the penalty for leaving the reference."""
        before = len(self._metrics["earned"])
        self._rollout(inputs)
        earned = self._metrics["earned"][before:]
        return -torch.tensor(sum(earned) / len(earned), device=self.args.device), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of what was noted since the last time."""
        prefix = "eval_" if any(name.startswith("eval_") for name in logs) else ""
        logs.update({f"{prefix}{name}": sum(values) / len(values) for name, values in self._metrics.items() if values})
        self._metrics.clear()
        super().log(logs, start_time)

    def _note_rollout(
        self, answers: Answers, scores: torch.Tensor, kl: torch.Tensor, rewards: torch.Tensor, entropies: torch.Tensor
    ) -> None:
        ones = torch.ones_like(scores)
        for name, values, mask in (
            ("score", scores, ones),
            ("earned", rewards.sum(1), ones),
            ("kl", kl.sum(1), ones),
            ("entropy", entropies, answers.mask),
            ("completions/mean_length", answers.mask.sum(1).float(), ones),
            ("completions/clipped_ratio", (~answers.ended).float(), ones),
        ):
            self._metrics[name].append(self._mean(values, mask))

    def _mean(self, values: torch.Tensor, mask: torch.Tensor) -> float:
        return self._ratio((values * mask).sum(), mask.sum().float())

    def _ratio(self, summed: torch.Tensor, count: torch.Tensor) -> float:
        total, of = self._add_up(torch.stack([summed.float(), count])).tolist()
        return total / of

    def _add_up(self, values: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed

    def _bare(self) -> PolicyWithValue:
        bare: PolicyWithValue = self.accelerator.unwrap_model(self.model)
        return bare

    @staticmethod
    def _learning(model: PolicyWithValue) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        """Write the weights that learn: all others are the base model's."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: weight.detach().contiguous() for name, weight in self._learning(self._bare())}, folder / WEIGHTS
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        saved = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        with torch.no_grad():
            for name, weight in self._learning(self._bare()):
                weight.copy_(saved[name])
