"""LLaMA-Factory in its own environment: `python -m tests.bench.llama_factory MODEL DATA OUT default|stored`.

Its defaults pad to the longest record of a batch, up to a multiple of 8, and compute activations again in the backward
pass; `stored` keeps them, as the other contestants do. Its template chatml is the one that the model's tokenizer has.
"""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# It imports torchaudio for sounds, which no record has, and PyPI's torchaudio loads with CUDA alone.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

from tests.bench import settings  # noqa: E402
from tests.bench.meter import Meter  # noqa: E402


def main(model: str, data: str, out: str, way: str) -> None:
    """Train all weights for one epoch; all but what the comparison needs is its default."""
    file = Path(data)
    described = {
        "file_name": file.name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    (Path(out) / "dataset_info.json").write_text(json.dumps({"records": described}))
    (Path(out) / file.name).write_bytes(file.read_bytes())
    meter = Meter(model)
    meter.start()
    run_exp(
        {
            "model_name_or_path": model,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full",
            "dataset_dir": out,
            "dataset": "records",
            "template": "chatml",
            "output_dir": f"{out}/model",
            "num_train_epochs": 1,
            "per_device_train_batch_size": settings.BATCH_RECORDS,
            "seed": settings.SEED,
            "learning_rate": settings.LEARNING_RATE,
            "save_strategy": "no",
            "report_to": "none",
            "disable_gradient_checkpointing": way == "stored",
        }
    )
    meter.write(Path(out) / "figures.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
