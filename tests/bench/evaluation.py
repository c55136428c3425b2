"""How fast suites are measured, beside lm-evaluation-harness doing the same work: part of `make bench-eval`.

$BENCH_SAMPLES samples of even and of ragged length are answered (as a golden suite has them) and read (perplexity) by
one model, in turn by ours and by lm-eval's HFLM with several batch sizes, $BENCH_ROUNDS times; the best time of each
counts. Times are of the processor, with one thread, so that other programs of the machine disturb little. The tiny
model writes as long an answer as its prompt says. With .cache/models/SmolLM2-135M-Instruct, as `make demo` makes it,
that model as well; there an answer ends with its first sentence.
"""

import contextlib
import io
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.tiny import make_tiny_model
from tunesmith_runtime.data.records import Completion, PlainText
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.likelihood import Reading, likelihoods
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.respondent import Answers, Generation
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer

SAMPLES = int(os.environ.get("BENCH_SAMPLES", "128"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
REAL = Path(".cache/models/SmolLM2-135M-Instruct")
# Of the real model, which takes a hundred times as long.
REAL_SHARE = 8
BATCH_SIZES = (1, 8, 32)
# Longest answer, and the lengths of texts, in tokens.
ANSWER, EVEN, SHORTEST, LONGEST = 32, 64, 4, 384
_OPTIONS = {"until": [], "max_gen_toks": ANSWER, "do_sample": False}


@dataclass(frozen=True)
class Subject:
    """A model, and what makes texts of a number of tokens for it."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    text: Callable[[int], str]
    samples: int


def main() -> None:
    """Print the table; exit with 1 when an answer is not lm-eval's."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    table = Table(title="samples per second of processor time, one thread")
    for column in ("model", "suite", "lengths", "ours", *(f"lm-eval, {size}" for size in BATCH_SIZES), "ours / best"):
        table.add_column(column, justify="left" if column in {"model", "suite", "lengths"} else "right")
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        for subject in _subjects(Path(folder)):
            for lengths, texts in _texts(subject).items():
                for suite, measure in {"golden": _answer, "perplexity": _read}.items():
                    speeds, same = _measured(subject, texts, measure)
                    equal = equal and same
                    cells = [f"{speed:,.1f}" for speed in speeds]
                    ratio = f"{speeds[0] / max(speeds[1:]):.2f}"
                    table.add_row(subject.name, suite, lengths, *cells, ratio)
    Console(width=110).print(table)
    if not equal:
        sys.exit("an answer is not the one that lm-eval gets")


def _measured(
    subject: Subject,
    texts: Sequence[str],
    measure: Callable[[Subject, Sequence[str], int | None], Sequence[str]],
) -> tuple[list[float], bool]:
    """Return the speeds of ours and of lm-eval's batch sizes, and whether all gave the same answers."""
    measure(subject, texts[:2], None)  # what is done once
    best: dict[int | None, float] = {}
    found: dict[int | None, Sequence[str]] = {}
    for _ in range(ROUNDS):
        for size in (None, *BATCH_SIZES):
            start = time.process_time()
            found[size] = measure(subject, texts, size)
            best[size] = min(best.get(size, float("inf")), time.process_time() - start)
    return [len(texts) / seconds for seconds in best.values()], all(each == found[None] for each in found.values())


def _answer(subject: Subject, prompts: Sequence[str], batch_size: int | None) -> list[str]:
    """Return the answers, of ours without a batch size."""
    if batch_size is None:
        ours = LocalModel(subject.model, subject.tokenizer, Batching(None, subject.model.device), Answers("bench"))
        return ours.answer([Completion(prompt, "?") for prompt in prompts], Generation(ANSWER), lambda _: None)
    theirs = HFLM(pretrained=subject.model, tokenizer=subject.tokenizer, batch_size=batch_size)
    requests = [Instance("generate_until", {}, (prompt, dict(_OPTIONS)), 0) for prompt in prompts]
    return [answer.strip() for answer in theirs.generate_until(requests, disable_tqdm=True)]


def _read(subject: Subject, texts: Sequence[str], batch_size: int | None) -> list[str]:
    """Measure likelihoods, ours without a batch size. lm-eval's have each first token as well: none is returned."""
    if batch_size is None:
        ours = LocalModel(subject.model, subject.tokenizer, Batching(None, subject.model.device), Answers("bench"))
        likelihoods(ours, [PlainText(text) for text in texts], Reading(LONGEST + 1), lambda _: None)
    else:
        theirs = HFLM(subject.model, tokenizer=subject.tokenizer, batch_size=batch_size, max_length=LONGEST + 1)
        requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
        with contextlib.redirect_stderr(io.StringIO()):  # it draws a progress bar all the same
            theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    return []


def _texts(subject: Subject) -> dict[str, list[str]]:
    draw = random.Random(0)
    ragged = [min(LONGEST, max(SHORTEST, int(draw.lognormvariate(3.7, 1.0)))) for _ in range(subject.samples)]
    return {
        "even": [subject.text(EVEN) for _ in range(subject.samples)],
        "ragged": [subject.text(length) for length in ragged],
    }


def _subjects(folder: Path) -> list[Subject]:
    found = [_tiny(folder)]
    if (REAL / "config.json").is_file():
        found.append(_real())
    return found


def _tiny(folder: Path) -> Subject:
    words = [f"word{number}" for number in range(1000)]
    make_tiny_model(folder / "tiny", [" ".join(words)], hidden_size=128, layers=4, vocab_size=4096)
    model, tokenizer = load_causal_lm(folder / "tiny"), load_tokenizer(folder / "tiny")
    _let_count(model)
    draw = random.Random(1)

    def text(length: int) -> str:
        """Return about so many tokens, of which the last one says how long the answer is: of even texts the longest."""
        while True:
            written = str(tokenizer.decode(tokenizer.encode(" ".join(draw.choices(words, k=length)))[:length]))
            if length != EVEN or tokenizer.encode(written)[-1] % ANSWER == 0:
                return written

    return Subject(f"tiny, {model.num_parameters() / 1e6:.1f}M", model, tokenizer, text, SAMPLES)


def _let_count(model: PreTrainedModel) -> None:
    """Make the token after each the next one of the vocabulary, and every 32nd an end; all is computed as before."""
    size = model.config.vocab_size
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        head = torch.nn.Linear(model.config.hidden_size, size, bias=False)
        head.weight.copy_(model.model.embed_tokens.weight.roll(1, dims=0))
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(head)
    model.generation_config.eos_token_id = list(range(0, size, ANSWER))


def _real() -> Subject:
    model, tokenizer = load_causal_lm(REAL), load_tokenizer(REAL)
    stop = tokenizer.encode(".", add_special_tokens=False)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *stop]
    draw = random.Random(1)
    words = ("the", "sun", "is", "a", "star", "that", "every", "planet", "of", "our", "system", "goes", "round", "and")

    def text(length: int) -> str:
        return " ".join(draw.choice(words) for _ in range(length - 5)) + " and so it is that"

    return Subject("SmolLM2-135M", model, tokenizer, text, max(2, SAMPLES // REAL_SHARE))


if __name__ == "__main__":
    main()
