"""Golden answers: the model's answers are compared with reference answers."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_api.suites import GoldenSuite
from tunesmith_runtime.data.records import Answerable, PlainText, references, shown_prompt
from tunesmith_runtime.data.streams import TextRecord
from tunesmith_runtime.data.tokenizing import prompt_ids
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.generating import generate
from tunesmith_runtime.evaluate.samples import AnswerSample, SuiteResult
from tunesmith_runtime.evaluate.text_metrics import score


def run(
    suite: GoldenSuite,
    records: Sequence[Answerable],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int,
    progress: Callable[[int], None],
) -> SuiteResult:
    """Let the model answer each record and return the suite's metrics.

    Raises DataError, before the first answer, when a prompt and `maxNewTokens` are more than the model can read.
    """
    asked = prompts(records, tokenizer)
    check_lengths(suite, asked, getattr(model.config, "max_position_embeddings", None))
    answers = generate(
        model,
        tokenizer,
        asked,
        max_new_tokens=suite.max_new_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    accepted = [references(record) for record in records]
    scores = score(answers, accepted, suite.metrics)
    samples = tuple(
        AnswerSample(index, shown_prompt(record), answer, wanted, each)
        for index, (record, answer, wanted, each) in enumerate(
            zip(records, answers, accepted, scores.samples, strict=True)
        )
    )
    return SuiteResult(scores.corpus, samples, scores.summands)


def prompts(records: Sequence[TextRecord], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the tokens of the records' prompts."""
    return [prompt_ids(record, tokenizer) for record in records if not isinstance(record, PlainText)]


def check_lengths(suite: GoldenSuite, prompts: Sequence[Sequence[int]], limit: int | None) -> None:
    """Raise DataError when a prompt and `maxNewTokens` are more than the `limit` that the model can read."""
    longest = max(range(len(prompts)), key=lambda index: len(prompts[index]))
    if limit and len(prompts[longest]) + suite.max_new_tokens > limit:
        raise DataError(
            f"{suite.uri}: the prompt of record {longest + 1} has {len(prompts[longest])} tokens; with maxNewTokens "
            f"{suite.max_new_tokens} that is more than the {limit} that the model can read. Shorten the prompt or "
            "lower maxNewTokens"
        )
