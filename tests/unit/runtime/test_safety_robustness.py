"""Robustness is what is left of the score when questions are changed; the changes are small and always the same."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from tunesmith_api.suites import EvalSuite
from tunesmith_api.suites.safety import Level
from tunesmith_runtime.data.records import Answerable, shown_prompt
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress
from tunesmith_runtime.evaluate.safety.perturbing import INJECTIONS, IRRELEVANT, perturbed
from tunesmith_runtime.evaluate.safety.robustness import share_of
from tunesmith_runtime.evaluate.samples import AnswerSample, SuiteResult
from tunesmith_runtime.evaluate.statistics import compare, estimate
from tunesmith_runtime.evaluate.suites import read_suite, safety

QUESTION = "What is the capital of the country that lies between Spain and Germany, and has a tower of iron?"
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass
class Replying:
    """Replies to each prompt."""

    reply: Callable[[str], str]
    known: Answers = field(default_factory=lambda: Answers("this"))
    asked: list[str] = field(default_factory=list)

    def answer(self, records: Sequence[Answerable], generation: Generation, progress: Progress) -> list[str]:
        self.asked += [shown_prompt(record) for record in records]
        progress(len(records))
        return [self.reply(shown_prompt(record)) for record in records]


def changed(text: str, level: Level, seed: int = 0) -> str:
    return perturbed(text, level, np.random.default_rng(seed))


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_changes_the_question_and_always_in_the_same_way(level: Level) -> None:
    made = [changed(QUESTION, level, seed) for seed in range(20)]
    assert all(each != QUESTION for each in made)
    assert made == [changed(QUESTION, level, seed) for seed in range(20)]
    assert len(set(made)) > 3


def test_typing_errors_are_few() -> None:
    letters = sum(each.isalpha() for each in QUESTION)
    for seed in range(50):
        blocks = SequenceMatcher(None, QUESTION, changed(QUESTION, "characters", seed), autojunk=False)
        same = sum(block.size for block in blocks.get_matching_blocks())
        assert len(QUESTION) - same <= 2 * (letters // 20)


def test_words_are_left_out_exchanged_or_capitals() -> None:
    own = Counter(QUESTION.lower().split())
    for seed in range(50):
        words = Counter(changed(QUESTION, "words", seed).lower().split())
        assert not words - own
        assert (own - words).total() <= 2


def test_sentences_stand_before_and_injections_behind() -> None:
    assert changed(QUESTION, "sentences") in [f"{each} {QUESTION}" for each in IRRELEVANT]
    assert changed(QUESTION, "injections") in [f"{QUESTION}\n\n{each}" for each in INJECTIONS]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", ["", " ", "a", "7", "???", "ß", "你好", "two words", "😀 x"])
def test_no_text_is_too_short_to_be_changed(level: Level, text: str) -> None:
    for seed in range(10):
        assert isinstance(changed(text, level, seed), str)


def suite(folder: Path, rows: list[dict[str, Any]], **fields: Any) -> EvalSuite:
    path = folder / "qa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    robustness = {"uri": f"file://{path}", **fields}
    return EvalSuite.model_validate_json(json.dumps({"name": "safe", "safety": {"robustness": robustness}}))


ROWS = [
    {"prompt": "What is the capital of France?", "completion": "Paris"},
    {"prompt": "What is the capital of Perú?", "completion": "Lima"},
]


def run(folder: Path, respondent: Replying, rows: list[dict[str, Any]] = ROWS, **fields: Any) -> SuiteResult:
    loaded = read_suite(suite(folder, rows, **fields))
    done: list[int] = []
    result = safety.run(loaded, respondent, done.append)
    assert sum(done) == len(loaded.records)
    return result


def only_unchanged(prompt: str) -> str:
    """Know both answers, the second one in part, and France's still when something stands around the question."""
    if prompt == ROWS[1]["prompt"]:
        return "Lima it is"
    return "Paris" if ROWS[0]["prompt"] in prompt else "banana"


def test_the_score_that_is_left_is_a_share_of_the_score_before(tmp_path: Path) -> None:
    result = run(tmp_path, Replying(only_unchanged), levels=["characters", "sentences"], variants=3)
    # F1 as they are: 1 and, of "Lima it is", 1/2; with a sentence before: 1 and 0.
    assert result.metrics["sentences/robustness"] == pytest.approx(1 / 1.5)
    assert result.metrics["characters/robustness"] == 0
    assert result.metrics["robustness"] == pytest.approx((1 / 1.5 + 0) / 2)
    samples = [sample for sample in result.samples if isinstance(sample, AnswerSample)]
    assert len(samples) == 2 * (1 + 2 * 3)
    assert [sample.scores for sample in samples[:2]] == [{"f1": 1.0}, {"f1": 0.5}]
    assert samples[0].prompt == ROWS[0]["prompt"]


def test_exact_match_counts_whole_answers_alone(tmp_path: Path) -> None:
    result = run(tmp_path, Replying(only_unchanged), levels=["injections"], metric="exactMatch")
    assert result.metrics == {"robustness": 1.0, "injections/robustness": 1.0}


def test_two_models_are_asked_the_same_and_another_seed_asks_otherwise(tmp_path: Path) -> None:
    one, two, other = Replying(str.upper), Replying(str.lower), Replying(str.upper)
    run(tmp_path, one)
    run(tmp_path, two)
    run(tmp_path, other, seed=1)
    assert one.asked == two.asked
    assert one.asked[:2] == other.asked[:2]
    assert one.asked[2:] != other.asked[2:]


def test_of_a_conversation_the_last_turn_is_changed(tmp_path: Path) -> None:
    turns = [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", QUESTION),
        ("assistant", "Paris"),
    ]
    rows = [{"messages": [{"role": role, "content": content} for role, content in turns]}]
    respondent = Replying(lambda prompt: "")
    run(tmp_path, respondent, rows, format="messages", levels=["sentences"])
    as_it_is, other = respondent.asked
    before, _, question = other.rpartition("user: ")
    assert as_it_is == f"{before}user: {QUESTION}"
    assert question in [f"{each} {QUESTION}" for each in IRRELEVANT]


def test_a_model_that_knows_nothing_has_nothing_to_lose(tmp_path: Path) -> None:
    result = run(tmp_path, Replying(lambda prompt: ""))
    assert all(math.isnan(value) for value in result.metrics.values())
    assert estimate(result.summands["robustness"]) is None


def test_the_share_can_be_compared_with_a_baselines() -> None:
    as_it_is = [1.0, 0.5, 1.0, 0.25] * 10
    left = share_of([each / 2 for each in as_it_is], as_it_is)
    assert left.value == 0.5
    assert left.samples == 40
    # Each sample keeps the same share, so that drawing others changes nothing.
    sure = estimate(left)
    assert sure
    assert sure.low == pytest.approx(0.5) == sure.high
    compared = compare(left, share_of([0.0] * 40, as_it_is))
    assert compared
    assert compared.p_value < 0.001


def test_records_of_another_shape_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qa\.jsonl: line 1: "):
        read_suite(suite(tmp_path, [{"question": "x"}]))
