"""What the manifests in examples/recipes name, in small: invented records in the columns of the real datasets, and
random models of the real ones' architectures."""

import io
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests import tiny

Row = dict[str, Any]
Files = dict[str, bytes]

_WORDS = """
    lamp river stone garden winter bridge copper window letter market harbour engine ladder forest silver kettle
    morning painter valley basket thunder mirror orchard pepper saddle lantern feather island blanket whistle
    the a is of under beside near before after with for every seldom green heavy quiet narrow early hollow
"""
_POSITIONS = 32768


def words(seed: str, count: int) -> str:
    """Return that many words, the same for the same seed."""
    return " ".join(random.Random(seed).choices(_WORDS.split(), k=count))


def dolly_rows(count: int = 40) -> list[Row]:
    """Return instructions, every third with a context."""
    return [
        {
            "instruction": f"Say what stands {words(f'instruction {n}', 12)}.",
            "context": words(f"context {n}", 30) if n % 3 == 0 else "",
            "response": f"It is {words(f'response {n}', 15)}.",
            "category": "closed_qa" if n % 3 == 0 else "open_qa",
        }
        for n in range(count)
    ]


def field_rows() -> list[Row]:
    """Return texts of a field of one's own."""
    return [{"body": words(f"field {n}", 60), "page": n} for n in range(30)]


def pair_rows() -> list[Row]:
    """Return two answers to each of 40 prompts; every tenth pair is of one length."""
    rows = []
    for n in range(40):
        asked = {"role": "user", "content": f"Explain {words(f'asked {n}', 6)}."}
        long, short = words(f"long {n}", 20), words(f"short {n}", 8)
        rows.append({"prompt": [asked], "responses": [short, short[::-1] if n % 10 == 0 else long]})
    return rows


def text_rows(seed: str, count: int = 8) -> list[Row]:
    """Return texts to evaluate on."""
    return [{"text": words(f"{seed} {n}", 60)} for n in range(count)]


def _alpaca_rows() -> list[Row]:
    rows = [
        {
            "instruction": f"Describe {words(f'task {n}', 6)}.",
            "input": words(f"input {n}", 8) if n % 2 else "",
            "output": words(f"output {n}", 20),
            "text": "Not read.",
        }
        for n in range(40)
    ]
    return [*rows, rows[0]]


def _guanaco_rows(seed: str, count: int) -> list[Row]:
    rows = []
    for n in range(count):
        asked, answer = words(f"{seed} asked {n}", 10), words(f"{seed} answer {n}", 20)
        again, end = words(f"{seed} again {n}", 8), words(f"{seed} end {n}", 1000 if n == 1 else 9)
        rows.append({"text": f"### Human: {asked}?### Assistant: {answer}.### Human: {again}?### Assistant: {end}."})
    return rows


def _squad_rows(seed: str, count: int) -> list[Row]:
    rows = []
    for n in range(count):
        # Some contexts are longer than a window.
        before, behind = words(f"{seed} {n}", 400 if n % 8 == 1 else 40), words(f"{seed} end {n}", 9)
        context = f"{before} stands the tower {n}. {behind}."
        answer = f"tower {n}"
        found: Row = {"text": [answer], "answer_start": [context.index(answer)]}
        rows.append(
            {
                "id": f"{seed}{n}",
                "title": "Towers",
                "context": context,
                "question": "What stands there?" if n % 4 else "Who was there?",
                "answers": found if n % 4 else {"text": [], "answer_start": []},
            }
        )
    return rows


def _news_rows(seed: str, count: int) -> list[Row]:
    return [
        {
            "article": words(f"{seed} {n}", 20 + 25 * n),
            "highlights": words(f"{seed} highlight {n}", 12),
            "id": f"{seed}{n}",
        }
        for n in range(count)
    ]


def _wikipedia_rows() -> list[Row]:
    return [
        {"id": str(n), "url": f"https://example.com/{n}", "title": f"Page {n}", "text": words(f"wiki {n}", 20 + 40 * n)}
        for n in range(30)
    ]


def _feedback_rows(seed: str, count: int) -> list[Row]:
    def said(role: str, content: str) -> Row:
        return {"content": content, "role": role}

    rows = []
    for n in range(count):
        prompt = f"Tell me of {words(f'{seed} {n}', 8)}."
        better = [said("user", prompt), said("assistant", words(f"{seed} better {n}", 12))]
        worse = [said("user", prompt), said("assistant", words(f"{seed} worse {n}", 5))]
        rows.append(
            {
                "prompt": prompt,
                "prompt_id": f"{seed}{n}",
                "chosen": better,
                "rejected": worse,
                "messages": better,
                "score_chosen": 8.0,
                "score_rejected": 4.5,
            }
        )
    return rows


def _parquet(rows: Sequence[Row]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def jsonl(rows: Iterable[Row]) -> bytes:
    """Return a file of one record to a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _card(**configurations: dict[str, str]) -> bytes:
    """Return a dataset card; keywords map a configuration to the files of each split."""
    described = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in splits.items()]}
        for name, splits in configurations.items()
    ]
    return f"---\nconfigs: {json.dumps(described)}\n---\n".encode()


def datasets() -> dict[str, Files]:
    """Return the files of each dataset under its name on the Hub, laid out as there."""
    feedback = {split: f"data/{split}-*" for split in ("train_prefs", "train_sft", "test_prefs", "test_sft")}
    news = {split: f"3.0.0/{split}-*" for split in ("train", "validation", "test")}
    return {
        "databricks/databricks-dolly-15k": {"databricks-dolly-15k.jsonl": jsonl(dolly_rows())},
        "tatsu-lab/alpaca": {"data/train-00000-of-00001.parquet": _parquet(_alpaca_rows())},
        "timdettmers/openassistant-guanaco": {
            "openassistant_best_replies_train.jsonl": jsonl(_guanaco_rows("train", 24)),
            "openassistant_best_replies_eval.jsonl": jsonl(_guanaco_rows("eval", 4)),
        },
        "rajpurkar/squad_v2": {
            "README.md": _card(squad_v2={split: f"squad_v2/{split}-*" for split in ("train", "validation")}),
            "squad_v2/train-00000-of-00001.parquet": _parquet(_squad_rows("train", 24)),
            "squad_v2/validation-00000-of-00001.parquet": _parquet(_squad_rows("validation", 8)),
        },
        "abisee/cnn_dailymail": {
            "README.md": _card(**{"1.0.0": {"train": "1.0.0/train-*"}, "3.0.0": news}),
            "1.0.0/train-00000-of-00001.parquet": _parquet(_news_rows("old", 1)),
            "3.0.0/train-00000-of-00001.parquet": _parquet(_news_rows("train", 30)),
            "3.0.0/validation-00000-of-00001.parquet": _parquet(_news_rows("validation", 4)),
            "3.0.0/test-00000-of-00001.parquet": _parquet(_news_rows("test", 4)),
        },
        "wikimedia/wikipedia": {
            "README.md": _card(
                **{name: {"train": f"{name}/*.parquet"} for name in ("20231101.simple", "20231101.sco")}
            ),
            "20231101.simple/train-00000-of-00001.parquet": _parquet(_wikipedia_rows()),
            "20231101.sco/train-00000-of-00001.parquet": _parquet(_wikipedia_rows()[:1]),
        },
        "HuggingFaceH4/ultrafeedback_binarized": {
            "README.md": _card(default=feedback),
            **{f"data/{split}-00000-of-00001.parquet": _parquet(_feedback_rows(split, 40)) for split in feedback},
        },
    }


_Maker = Callable[[Path, Sequence[str]], Path]
MODELS: dict[str, _Maker] = {
    "HuggingFaceTB/SmolLM2-1.7B": tiny.make_tiny_model,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": tiny.make_tiny_model,
    "Qwen/Qwen2.5-7B": tiny.make_tiny_qwen2,
    "Qwen/Qwen2.5-1.5B": tiny.make_tiny_qwen2,
    "Qwen/Qwen2.5-0.5B-Instruct": tiny.make_tiny_qwen2,
    "Qwen/Qwen2.5-1.5B-Instruct": tiny.make_tiny_qwen2,
    "Qwen/Qwen3-8B-Base": tiny.make_tiny_qwen3,
    "FacebookAI/roberta-base": tiny.make_tiny_roberta,
    "google-t5/t5-small": tiny.make_tiny_t5,
}
# Base models come without a chat template.
_UNTALKATIVE = {"HuggingFaceTB/SmolLM2-1.7B"}


def models(folder: Path) -> dict[str, Files]:
    """Return the files of each model under its name on the Hub; they are made in `folder`."""
    texts = [words(f"tokenizer {n}", 60) for n in range(20)]
    made = {make: make(folder / make.__name__, texts) for make in dict.fromkeys(MODELS.values())}
    return {name: _files(made[make], chat=name not in _UNTALKATIVE) for name, make in MODELS.items()}


def _files(folder: Path, *, chat: bool) -> Files:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if chat or path.name != "chat_template.jinja"}
    config = json.loads(files["config.json"])
    if config["model_type"] not in ("roberta", "t5"):  # the others hold no weight for each position
        config["max_position_embeddings"] = _POSITIONS
        files["config.json"] = json.dumps(config).encode()
    return files
