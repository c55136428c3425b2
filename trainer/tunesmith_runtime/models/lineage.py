"""Where a model came from: digests, lineage.json and the model card."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from tunesmith_api.contract import TrainRun
from tunesmith_api.finetunejob import CheckpointRecord, DataSummary, TrainingProgress
from tunesmith_api.training import Task
from tunesmith_api.tuning import TuningStatus
from tunesmith_runtime.train.recovery.attempt import Outcome

LINEAGE = "lineage.json"
CARD = "README.md"
ADAPTER = "adapter"

# What a model's behaviour depends on; cards, lineage and training states are left out of its digest.
_MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
_NOT_MODEL_FILES = {LINEAGE, "trainer_state.json"}
# The Hugging Face Hub's names of what models do. A reward model is a classifier there.
_PIPELINES: dict[Task, str] = {
    "causal-lm": "text-generation",
    "masked-lm": "fill-mask",
    "seq2seq-lm": "text2text-generation",
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
}
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "ray", "tunesmith")


def model_digest(folder: Path) -> str:
    """Return sha256:HEX over the names and bytes of the files directly in `folder` that make up a model."""
    names = {file.name for pattern in _MODEL_FILES for file in folder.glob(pattern)} - _NOT_MODEL_FILES
    total = hashlib.sha256()
    for name in sorted(names):
        with (folder / name).open("rb") as stream:
            total.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def describe_model(
    staged: Path,
    config: TrainRun,
    *,
    base_digest: str,
    data_digests: Mapping[str, str],
    summary: DataSummary,
    progress: TrainingProgress | None,
    best: CheckpointRecord | None = None,
    tuning: TuningStatus | None = None,
    partial: Outcome | None = None,
) -> str:
    """Write lineage.json and the model card into `staged`; return the digest of the model, or the adapter, there.

    `tuning` are the trials of which it is the best. `partial` says where training ended that was not done.
    """
    digest = model_digest(staged)
    made_by = settings(config)
    packages = _package_versions()
    lineage = {
        "digest": digest,
        "baseModel": {"uri": config.model, "digest": base_digest},
        "data": [{"name": name, "sha256": sha256} for name, sha256 in data_digests.items()],
        "records": summary.to_json(),
        "config": made_by,
        "configDigest": f"sha256:{hashlib.sha256(_canonical(made_by)).hexdigest()}",
        "packages": packages,
        "run": config.run.to_json(),
        "result": progress.model_dump(mode="json", by_alias=True, include={"step", "loss", "eval_loss"})
        if progress
        else {},
        **({"published": best.to_json()} if best else {}),
        **({"tuning": tuning.to_json()} if tuning else {}),
        **({"partial": {"step": partial.step, "totalSteps": partial.total_steps}} if partial else {}),
        "createdAt": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (staged / LINEAGE).write_text(json.dumps(lineage, indent=2) + "\n", encoding="utf-8")
    card = _card(staged, config, summary, progress, digest, packages, tuning, partial)
    (staged / CARD).write_text(card, encoding="utf-8")
    return digest


def settings(config: TrainRun) -> dict[str, Any]:
    """Return what a run's model depends on, besides its data's content."""
    return config.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"model", "task", "data", "method", "training", "evaluation"},
    )


def _card(
    staged: Path,
    config: TrainRun,
    summary: DataSummary,
    progress: TrainingProgress | None,
    digest: str,
    packages: Mapping[str, str],
    tuning: TuningStatus | None,
    partial: Outcome | None,
) -> str:
    # This brings transformers, which takes seconds; what is wrong with the data is found before.
    from tunesmith_runtime.models.tasks import is_adapter_folder, task_of_folder

    base = config.model.removeprefix("hf://").partition("@")[0]
    task, alone = task_of_folder(staged), is_adapter_folder(staged)
    how = "It holds the adapter alone: load it with PEFT onto the base model. " if alone else ""
    data = ModelCardData(
        base_model=base if alone or config.model.startswith("hf://") else None,
        library_name="peft" if alone else "transformers",
        pipeline_tag=_PIPELINES[task] if task else None,
        tags=["tunesmith", config.method.type, config.method.adapter.type],
    )
    rows = {
        "Base model": f"`{config.model}`",
        "Method": f"{config.method.type}, {config.method.adapter.type}",
        "Datasets": ", ".join(f"`{each.uri}` ({each.format})" for each in config.data.train),
        "Records": f"{summary.records} trained on, {summary.validation_records} held out for validation",
        "Left out": f"{summary.dropped.overlong} longer than {config.data.max_length} tokens, "
        f"{summary.dropped.empty} empty",
        "Steps": _steps(progress, partial),
        "Loss": str(progress.loss) if progress else "",
        "Validation loss": str(progress.eval_loss) if progress and progress.eval_loss is not None else "not measured",
        **({"Settings": _found_by(tuning)} if tuning else {}),
        "Digest": f"`{digest}`",
        "Packages": ", ".join(f"{name} {number}" for name, number in packages.items()),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {config.run.name}\n\n"
        f"Fine-tuned by the FineTuneJob {config.run.namespace}/{config.run.name} with Tunesmith. "
        f"{how}{_unfinished(partial)}`{LINEAGE}` in this folder holds the digests of everything it was made from.\n\n"
        f"| | |\n|---|---|\n{table}\n"
    )


def _steps(progress: TrainingProgress | None, partial: Outcome | None) -> str:
    if partial:
        return f"{partial.step} of {partial.total_steps}"
    return str(progress.step) if progress else ""


def _unfinished(partial: Outcome | None) -> str:
    if partial is None:
        return ""
    return (
        f"It is partial: training ended at step {partial.step} of {partial.total_steps}, because its time was used up. "
    )


def _found_by(tuning: TuningStatus) -> str:
    best = next((trial for trial in tuning.trials if trial.number == tuning.best), None)
    values = ", ".join(f"`{name}` {value}" for name, value in best.parameters.items()) if best else ""
    return f"{values}: those of trial {tuning.best}, the best of {len(tuning.trials)}"


def _package_versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
