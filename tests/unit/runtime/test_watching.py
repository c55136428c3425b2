"""How far requests are from what was asked before, and how good answers are."""

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.endpoints import EndpointServer, serving
from tests.gateways import embedding as letter_counts
from tests.judge import judge_server
from tunesmith_api.serving.capture import Capture
from tunesmith_api.serving.watch import Drift, DriftReport, QualityReport, Watcher
from tunesmith_runtime.data.records import Conversation, Message
from tunesmith_runtime.endpoint import EndpointRefusedError, EndpointUnavailableError
from tunesmith_runtime.serve.watching import divergence, embedding
from tunesmith_runtime.serve.watching.__main__ import exchange_of
from tunesmith_runtime.serve.watching.divergence import GROUPS, discrepancy, profile, psi, stability
from tunesmith_runtime.serve.watching.drift import DriftWatch
from tunesmith_runtime.serve.watching.grading import Grader
from tunesmith_runtime.serve.watching.reference import Sample, asked_in, prompt_of

SHOP = "when do you open close the shop mend tyres price of a new bicycle saddle hose pump today tomorrow"
COOK = "boil the soup with salt onions pepper cream garlic a spoon of butter heat oven minutes recipe"


def asked(words: str, count: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(words.split(), k=drawn.randint(4, 12))) for _ in range(count)]


def profiles(texts: list[str]) -> list[NDArray[np.float64]]:
    return [profile(text) for text in texts]


def letters(texts: list[str]) -> NDArray[np.float64]:
    vectors = np.array([letter_counts(text) for text in texts])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_psi_is_the_sum_that_it_is_defined_as() -> None:
    expected, actual = np.array([0.1, 0.4, 0.5]), np.array([0.3, 0.3, 0.4])
    by_hand = sum((a - e) * math.log(a / e) for e, a in zip(expected, actual, strict=True))
    assert psi(expected, actual) == pytest.approx(by_hand)
    assert psi(expected, expected) == 0


def test_stability_is_the_larger_psi_of_its_two_parts() -> None:
    one, other = profiles(asked(SHOP, 60, seed=1)), profiles(asked(COOK, 40, seed=2))
    found = []
    for part in (slice(0, GROUPS), slice(GROUPS, None)):
        sums = [np.sum(each, axis=0)[part] + 0.5 for each in (one, other)]
        found.append(psi(*(each / each.sum() for each in sums)))
    assert stability(one, other).value == pytest.approx(max(found))


def test_the_discrepancy_is_the_unbiased_estimate() -> None:
    numbers = np.random.default_rng(0)
    one, other = numbers.normal(size=(12, 3)), numbers.normal(loc=1.0, size=(9, 3))
    pooled = [*one, *other]
    apart = [float(((a - b) ** 2).sum()) for index, a in enumerate(pooled) for b in pooled[index + 1 :]]

    def kernel(a: Any, b: Any) -> float:
        return math.exp(-float(((a - b) ** 2).sum()) / float(np.median(apart)))

    def within(points: Any) -> float:
        pairs = [kernel(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]
        return sum(pairs) / len(pairs)

    across = sum(kernel(a, b) for a in one for b in other) / (len(one) * len(other))
    assert discrepancy(one, other).value == pytest.approx(within(one) + within(other) - 2 * across)


Measure = Callable[[list[str], list[str]], divergence.Difference]
MEASURES: dict[str, tuple[Measure, float]] = {
    "psi": (lambda one, other: stability(profiles(one), profiles(other)), 0.2),
    "mmd": (lambda one, other: discrepancy(letters(one), letters(other)), 0.05),
}


@pytest.mark.parametrize("method", MEASURES)
def test_other_questions_are_told_and_the_same_ones_never(method: str) -> None:
    measure, limit = MEASURES[method]
    reference = asked(SHOP, 200, seed=0)
    assert measure(reference, asked(COOK, 100, seed=1)).counts(limit)
    alarms = [measure(reference, asked(SHOP, 100, seed=seed)).counts(limit) for seed in range(2, 22)]
    assert not any(alarms)
    # The bound apart, chance alone hardly ever passes the test.
    chances = [measure(reference, asked(SHOP, 100, seed=seed)).chance for seed in range(2, 22)]
    assert min(chances) > 0.001
    assert 0.2 < sum(chances) / len(chances) < 0.8


def test_longer_questions_are_told_even_in_the_same_words() -> None:
    longer = [text * 6 for text in asked(SHOP, 100, seed=1)]
    assert stability(profiles(asked(SHOP, 200, seed=0)), profiles(longer)).counts(0.2)


@pytest.mark.parametrize("text", ["", "a", "äß漢字", "\ud800 half"])
def test_any_text_has_a_profile(text: str) -> None:
    assert profile(text)[GROUPS:].sum() == 1


def test_a_sample_is_bounded_and_even() -> None:
    sample = Sample(100)
    for number in range(10_000):
        sample.add(str(number))
    assert (len(sample.taken), sample.seen) == (100, 10_000)
    assert 4000 < sum(map(int, sample.taken)) / 100 < 6000


def windows(watch: DriftWatch, *texts: list[str]) -> Iterator[DriftReport]:
    for text in (each for window in texts for each in window):
        if found := watch.add(text, "http://127.0.0.1:1", 1):
            yield found


def test_against_records(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "."}]} for text in
            asked(SHOP, 120, seed=0)]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy = Drift.model_validate({"reference": {"uri": f"file://{tmp_path}/train.jsonl"}, "windowRequests": 60})
    watch = DriftWatch(policy, None, "bot")

    found = list(windows(watch, asked(SHOP, 60, seed=1), asked(COOK, 60, seed=2), asked(SHOP, 30, seed=3)))
    assert [(each.drifted, each.requests) for each in found] == [(False, 60), (True, 60)]
    assert found[0].value < 0.2 <= found[1].value


def test_against_the_first_requests_which_outlive_the_process(tmp_path: Path) -> None:
    capture, policy = Capture(uri=f"file://{tmp_path}/traffic"), Drift(window_requests=50)
    first = ["write to ann@example.com", *asked(SHOP, 49, seed=0)]
    assert list(windows(DriftWatch(policy, capture, "bot"), first)) == []
    kept = json.loads((tmp_path / "traffic" / "_watch" / "first-requests.json").read_text())
    assert kept == ["write to [EMAIL_ADDRESS]", *first[1:]]

    again = DriftWatch(policy, capture, "bot")
    found = list(windows(again, asked(COOK, 50, seed=1), asked(SHOP, 50, seed=2)))
    assert [each.drifted for each in found] == [True, False]


def test_without_embeddings_the_other_method_is_named() -> None:
    with serving(EndpointServer()) as server, pytest.raises(embedding.NotEmbeddedError, match="psi needs none"):
        embedding.embedded(["a"], server.url.removesuffix("/v1"), "bot")


def watcher(url: str, **spec: Any) -> Watcher:
    endpoint = {"url": url, "model": "wise", "max_retries": 0}
    return Watcher.model_validate({"endpoint": endpoint, **spec})


def test_a_judge_grades_answers() -> None:
    with judge_server(
        score=lambda answer: "nonsense" if answer == "odd" else "10" if answer == "good" else "1"
    ) as judge:
        grader = Grader(watcher(judge.url, rubric="Is it polite?", windowAnswers=6))
        answers = ["good", "odd", "bad", "good", "bad", "good", "good", "bad", "bad", "bad"]
        found = [grader.grade("Open?", answer, 1) for answer in answers]
    assert found[:5] == [None] * 5
    assert [(each.score, each.answers) for each in found[5:] if each] == [
        (0.6, 5), (0.6667, 6), (0.5, 6), (0.5, 6), (0.3333, 6)
    ]  # fmt: skip
    assert "Is it polite?" in judge.questions[0]


def test_another_revision_is_graded_anew() -> None:
    with judge_server(score=lambda answer: "10" if answer == "good" else "1") as judge:
        grader = Grader(watcher(judge.url, windowAnswers=5))
        bad = [grader.grade("Open?", "bad", 1) for _ in range(5)][-1]
        good = [grader.grade("Open?", "good", 2) for _ in range(5)]
    assert (bad and bad.score, good[:4]) == (0, [None] * 4)
    assert good[4] == QualityReport(score=1, answers=5)


def test_a_judge_that_is_gone() -> None:
    with pytest.raises(EndpointUnavailableError, match="the judge cannot be reached"):
        Grader(watcher("http://127.0.0.1:1/v1")).grade("a", "b", 1)


def test_a_classifier_grades_answers() -> None:
    class Classifier(EndpointServer):
        def answer(self, request: dict[str, Any], path: str, key: str | None) -> tuple[int, dict[str, Any]]:
            if path != "/classify":
                return 404, {}
            if request["input"] == "odd":
                return 200, {"data": []}
            label = "fine" if request["input"] == "good" else "poor"
            return 200, {"data": [{"label": label, "probs": [0.9, 0.1]}]}

    with serving(Classifier()) as server:
        grader = Grader(watcher(server.url, goodLabel="fine"))
        found = [grader.grade("", answer, 1) for answer in ("good", "good", "good", "bad", "bad")]
        assert found[-1] is not None
        assert found[-1].score == pytest.approx((3 * 0.9 + 2 * 0.1) / 5)
        with pytest.raises(EndpointRefusedError, match="not as vLLM's /classify does"):
            grader.grade("", "odd", 1)


def test_what_the_user_said_last_is_what_is_asked() -> None:
    said = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}]
    parts = [{"type": "text", "text": "Two?"}, {"type": "image_url"}]
    assert asked_in([*said, {"role": "user", "content": parts}]).strip() == "Two?"
    assert asked_in([{"role": "system", "content": "Be kind."}, {"role": 7}, "odd"]) == ""


def test_exchanges_as_the_gateway_passes_them_on() -> None:
    chat = {"messages": [{"role": "user", "content": "Open?"}]}
    answer = {"choices": [{"message": {"content": "At nine."}}]}
    passed = {"answer": json.dumps(answer), "engine": "http://a", "revision": 3}
    assert exchange_of({**passed, "body": json.dumps(chat)}) == {
        "prompt": "Open?", "answer": "At nine.", "engine": "http://a", "revision": 3
    }  # fmt: skip
    assert exchange_of({**passed, "answer": "", "body": json.dumps(chat)})["answer"] == ""
    raw = {"choices": [{"text": " ten."}]}
    found = exchange_of({**passed, "answer": json.dumps(raw), "body": json.dumps({"prompt": "We open at"})})
    assert (found["prompt"], found["answer"]) == ("We open at", " ten.")


def test_a_records_prompt_is_what_was_asked_last() -> None:
    turns = (Message("system", "Be kind."), Message("user", "One?"), Message("assistant", "1"))
    talk = Conversation((*turns, Message("user", "Two?"), Message("assistant", "2")))
    assert prompt_of(talk) == "Two?"
