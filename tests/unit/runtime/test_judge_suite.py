"""A judge scores answers or compares two models' answers; what it does not say is told, and nothing is asked twice."""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from tests.endpoints import EndpointServer, serving
from tests.judge import JudgeServer, longer
from tunesmith_api.contract import CONFIG_VARIABLE, PROGRESS_VARIABLE, EvaluateResult, EvaluateRun, SampleProgress
from tunesmith_api.evaljob import MetricResult
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate import judge_questions
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.progress import ProgressReporter

KEY = "sk-very-secret"
VARIABLE = "TUNESMITH_KEY_JUDGE__KEY"


@pytest.fixture
def target() -> Iterator[EndpointServer]:
    """A model that answers question N with as many words as it has digits, and one."""
    with serving(EndpointServer(reply=lambda question: "word " * (1 + len(question.split()[-1])))) as running:
        yield running


@pytest.fixture
def baseline() -> Iterator[EndpointServer]:
    with serving(EndpointServer(reply=lambda question: "word word")) as running:
        yield running


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def questions(folder: Path, numbers: list[int]) -> str:
    return write(folder / "questions.jsonl", [{"text": f"What is {number}"} for number in numbers])


def suite(judge: JudgeServer, uri: str, *, retries: int = 5, **settings: Any) -> dict[str, Any]:
    endpoint = {"url": judge.url, "model": "wise", "maxRetries": retries}
    key = settings.pop("key", None)
    endpoint |= {"apiKeySecretRef": key} if key else {}
    return {"name": "good", "judge": {"uri": uri, "format": "text", "endpoint": endpoint, **settings}}


def config(
    folder: Path, wanted: dict[str, Any], target: EndpointServer, baseline: EndpointServer | None = None, **more: Any
) -> EvaluateRun:
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "bot-eval", "uid": "u", "attempt": 1},
        "target": asked(target),
        "suites": [wanted],
        "report": {"uri": f"file://{folder}/out/report"},
        **({"baseline": asked(baseline)} if baseline else {}),
        **more,
    }
    return EvaluateRun.model_validate_json(json.dumps(document))


def run(
    folder: Path, wanted: dict[str, Any], target: EndpointServer, baseline: EndpointServer | None = None, **more: Any
) -> EvaluateResult:
    return evaluate(config(folder, wanted, target, baseline, **more), ProgressReporter(folder / "progress.json"))


def asked(server: EndpointServer) -> dict[str, Any]:
    return {"uri": server.url, "endpoint": {"url": server.url, "model": "bot", "maxRetries": 1}}


def samples(folder: Path, role: str = "target") -> list[dict[str, Any]]:
    text = (folder / f"out/report/samples/good.{role}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out/report/results.json").read_text())
    return found


def by_name(result: EvaluateResult) -> dict[str, MetricResult]:
    return {each.metric: each for each in result.results}


class TestScores:
    def test_each_answer_is_scored_on_its_own(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        result = run(tmp_path, suite(judge, questions(tmp_path, [1, 22, 333])), target, baseline)
        score = by_name(result)["good/score"]
        # 2, 3 and 4 words, against 2 each; a word is a point.
        assert (score.value, score.baseline, score.n) == (3, 2, 3)
        assert score.ci95 is not None
        assert score.p_value is not None
        assert samples(tmp_path)[1] == {
            "index": 1,
            "prompt": "What is 22",
            "answer": "word word word",
            "references": [],
            "scores": {"score": 3},
            "replies": {"quality": "3"},
        }
        assert document(tmp_path)["verdict"] == "Passed"
        done = ProgressReporter(tmp_path / "progress.json").read().samples
        assert done == SampleProgress(done=12, total=12)
        assert "word word word word" in (tmp_path / "out/report/report.html").read_text()

    def test_each_criterion_has_a_question_and_a_metric(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        criteria = [{"name": "length", "description": "Long."}, {"name": "manners", "description": "Polite."}]
        judge.reply = lambda question: "5" if "Criterion manners: Polite." in question else "2"
        scale = {"min": 0, "max": 5}
        wanted = suite(judge, questions(tmp_path, [1, 2]), criteria=criteria, scale=scale, maxTokens=3)
        found = by_name(run(tmp_path, wanted, target))
        values = {name: each.value for name, each in found.items()}
        assert values == {"good/score": 3.5, "good/length/score": 2, "good/manners/score": 5}
        assert samples(tmp_path)[0]["replies"] == {"length": "2", "manners": "5"}
        assert all("a whole number from 0 (worst) to 5 (best)" in each for each in judge.questions)
        assert {each["max_tokens"] for each in judge.requests} == {3}
        assert {each["temperature"] for each in judge.requests} == {0.0}

    def test_references_are_shown_to_the_judge_when_there_are_any(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        rows = [{"instruction": "What is 1", "output": "The loneliest number."}]
        wanted = suite(judge, write(tmp_path / "q.jsonl", rows))
        wanted["judge"]["format"] = "alpaca"
        run(tmp_path, wanted, target)
        (question,) = judge.questions
        assert "The loneliest number.\n</reference_" in question
        assert "a good answer that people have written" in question
        assert samples(tmp_path)[0]["references"] == ["The loneliest number."]

    def test_a_few_replies_that_are_no_verdict_count_as_none(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        judge.reply = lambda question: "I would rather not say." if "What is 7\n" in question else "4"
        result = run(tmp_path, suite(judge, questions(tmp_path, list(range(12)))), target)
        score = by_name(result)["good/score"]
        assert (score.value, score.n) == (4, 11)
        assert samples(tmp_path)[7]["scores"] == {}
        assert samples(tmp_path)[7]["replies"] == {"quality": "I would rather not say."}
        assert document(tmp_path)["notes"] == ["good: 1 of the judge's 12 replies are no verdict and count as none."]

    def test_a_score_that_only_one_model_has_leaves_the_paired_test_alone(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        judge.reply = lambda question: "none" if "What is 7\n" in question and "word word\n" not in question else "1"
        target.reply = lambda question: "word"
        result = by_name(run(tmp_path, suite(judge, questions(tmp_path, list(range(12)))), target, baseline))
        assert (result["good/score"].value, result["good/score"].baseline) == (1, 1)
        assert result["good/score"].p_value == 1
        assert result["good/score"].ci95 == (1, 1), "no share of 11 of 12"

    def test_too_many_replies_that_are_no_verdict_are_a_problem(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        judge.reply = lambda question: "Well!" if "What is 7\n" in question or "What is 8\n" in question else "4"
        gates = [{"metric": "good/score", "min": 1}]
        result = run(tmp_path, suite(judge, questions(tmp_path, list(range(12)))), target, gates=gates)
        assert result.problems == (
            "good: the judge wise gives no verdict in 2 of 12 replies; it said, for one: 'Well!'. Give the suite more "
            "maxTokens, clearer criteria or another judge",
        )
        assert document(tmp_path)["verdict"] == "Inconclusive"
        assert document(tmp_path)["gates"][0]["message"].startswith("good/score was not measured: good: the judge")

    def test_a_question_that_the_judge_cannot_read_counts_as_none(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        judge.refusals = [413]
        result = run(tmp_path, suite(judge, questions(tmp_path, list(range(10)))), target)
        assert by_name(result)["good/score"].n == 9
        assert [each["replies"] for each in samples(tmp_path) if not each["scores"]] == [
            {"quality": "(longer than the judge can read)"}
        ]

    def test_a_model_of_this_process_is_judged_as_well_and_its_answers_only_once(
        self, judge: JudgeServer, tiny_path: Path, tmp_path: Path
    ) -> None:
        wanted = suite(judge, questions(tmp_path, [1, 2, 3]), maxNewTokens=4)
        document = config(tmp_path, wanted, judge).to_json()
        document["target"] = {"uri": f"file://{tiny_path}", "digest": "sha256:tiny"}
        for _ in range(2):
            whole = EvaluateRun.model_validate_json(json.dumps(document))
            result = evaluate(whole, ProgressReporter(tmp_path / "progress.json"))
            assert by_name(result)["good/score"].n == 3
        assert len(judge.questions) == len(set(judge.questions)) <= 3


class TestPairs:
    def test_the_longer_answer_wins_in_both_orders(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        # Longer answers to 22 and 333, equal ones to 1 and 2, and a shorter one to 0.
        target.reply = lambda question: {"0": "word", "1": "word word", "2": "word word"}.get(
            question.split()[-1], "word word word"
        )
        wanted = suite(judge, questions(tmp_path, [0, 1, 2, 22, 333]), pairwise=True)
        found = by_name(run(tmp_path, wanted, target, baseline))
        assert {name: (each.value, each.n) for name, each in found.items()} == {
            "good/winRate": (0.6, 5),
            "good/tieRate": (0.4, 5),
            "good/positionConsistency": (1, 3),
        }
        assert found["good/winRate"].baseline == 0.5
        assert len(judge.questions) == 6, "of equal answers nobody is asked"
        assert [each["scores"]["winRate"] for each in samples(tmp_path)] == [0, 0.5, 0.5, 1, 1]
        assert samples(tmp_path)[3]["replies"] == {"targetFirst": "A", "baselineFirst": "B"}
        assert samples(tmp_path, "baseline")[3]["answer"] == "word word"
        done = ProgressReporter(tmp_path / "progress.json").read().samples
        assert done == SampleProgress(done=20, total=20)

    def test_a_judge_that_favours_a_place_finds_only_ties(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        judge.rule = lambda first, second: "A"
        wanted = suite(judge, questions(tmp_path, [22, 333, 444]), pairwise=True)
        found = by_name(run(tmp_path, wanted, target, baseline))
        values = {name.partition("/")[2]: each.value for name, each in found.items()}
        assert values == {"winRate": 0.5, "tieRate": 1, "positionConsistency": 0}
        assert found["good/winRate"].p_value == 1

    def test_the_win_rate_is_tested_against_one_half(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        # 22 of 30 are longer, 6 shorter, 2 equal.
        def reply(question: str) -> str:
            number = int(question.split()[-1])
            return "word " * (3 if number < 22 else 1 if number < 28 else 2)

        target.reply = reply
        wanted = suite(judge, questions(tmp_path, list(range(30))), pairwise=True)
        gates = [{"metric": "good/winRate", "min": 0.5, "minImprovement": 0.1}]
        rate = by_name(run(tmp_path, wanted, target, baseline, gates=gates))["good/winRate"]
        assert rate.value == pytest.approx(23 / 30)
        assert rate.p_value == pytest.approx(binomtest(22, 28).pvalue, abs=2e-3)
        low, high = rate.ci95 or (0, 1)
        assert 0.5 < low < rate.value < high
        assert document(tmp_path)["verdict"] == "Passed"

    def test_few_wins_may_be_chance(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        wanted = suite(judge, questions(tmp_path, [22, 33, 44]), pairwise=True)
        gates = [{"metric": "good/winRate", "minImprovement": 0.1}]
        rate = by_name(run(tmp_path, wanted, target, baseline, gates=gates))["good/winRate"]
        assert rate.value == 1
        assert rate.p_value == pytest.approx(0.25, abs=0.02)
        assert document(tmp_path)["verdict"] == "Inconclusive"
        assert "may be chance" in document(tmp_path)["gates"][0]["message"]

    def test_equal_models_are_ties_without_a_question(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        wanted = suite(judge, questions(tmp_path, [1, 22]), pairwise=True)
        found = by_name(run(tmp_path, wanted, target, target))
        assert {name: each.value for name, each in found.items()} == {"good/winRate": 0.5, "good/tieRate": 1}
        assert judge.questions == []

    def test_a_reply_that_is_no_verdict_takes_its_pair_out(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        seen: list[str] = []

        def reply(first: str, second: str) -> str:
            seen.append(first)
            return "neither, really" if len(seen) == 1 else longer(first, second)

        judge.rule = reply
        wanted = suite(judge, questions(tmp_path, [number + 10 for number in range(10)]), pairwise=True)
        found = by_name(run(tmp_path, wanted, target, baseline))
        assert (found["good/winRate"].value, found["good/winRate"].n) == (1, 9)
        (lost,) = [each for each in samples(tmp_path) if not each["scores"]]
        assert "neither, really" in lost["replies"].values()


class TestJudgesThatFail:
    def test_a_judge_that_fails_half_of_the_time_is_asked_again(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        judge.refusals = [503, 429, 500, 503, 503]
        found = by_name(run(tmp_path, suite(judge, questions(tmp_path, list(range(10)))), target))
        assert found["good/score"].n == 10

    def test_one_that_gives_up_makes_the_verdict_inconclusive_and_is_asked_for_the_rest_later(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        judge.budget = 4
        wanted = suite(judge, questions(tmp_path, list(range(10))), retries=1)
        result = run(tmp_path, wanted, target)
        assert result.problems == (
            f"good: the judge of suite good at {judge.url} cannot answer now (503): the budget is spent",
        )
        assert document(tmp_path)["verdict"] == "Inconclusive"
        assert len(target.questions) == 10

        judge.budget = None
        result = run(tmp_path, wanted, target)
        assert not result.problems
        assert by_name(result)["good/score"].n == 10
        assert len(judge.questions) == len(set(judge.questions)) == 10
        assert len(target.questions) == 10

    def test_of_pairs_nothing_is_asked_twice_either(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        judge.budget = 5
        wanted = suite(judge, questions(tmp_path, [number + 10 for number in range(6)]), pairwise=True, retries=0)
        result = run(tmp_path, wanted, target, baseline)
        assert "cannot answer now (503)" in result.problems[0]
        judge.budget = None
        assert not run(tmp_path, wanted, target, baseline).problems
        run(tmp_path, wanted, target, baseline)
        assert len(judge.questions) == len(set(judge.questions)) == 12
        assert (len(target.questions), len(baseline.questions)) == (6, 6)

    def test_an_evaluation_that_was_killed_goes_on_where_it_was(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        enough, seen = threading.Event(), itertools.count(1)

        def rule(first: str, second: str) -> str:
            if next(seen) == 8:
                enough.set()
            return longer(first, second)

        judge.rule, judge.pause = rule, 0.02
        wanted = suite(judge, questions(tmp_path, [number + 10 for number in range(12)]), pairwise=True)
        wanted["judge"]["endpoint"]["maxConcurrency"] = 1
        whole = config(tmp_path, wanted, target, baseline)
        (tmp_path / "config.json").write_text(json.dumps(whole.to_json()))
        files = {CONFIG_VARIABLE: str(tmp_path / "config.json"), PROGRESS_VARIABLE: str(tmp_path / "progress.json")}
        evaluation = subprocess.Popen([sys.executable, "-m", "tunesmith_runtime"], env={**os.environ, **files})
        assert enough.wait(120)
        evaluation.kill()
        evaluation.wait()
        asked_before = len(judge.questions)
        assert asked_before < 24
        assert not (tmp_path / "out/report/report.html").exists()

        assert not run(tmp_path, wanted, target, baseline).problems
        assert len(set(judge.questions)) == 24
        assert len(judge.questions) <= 25, "only the question that was being asked is asked again"
        assert (len(target.questions), len(baseline.questions)) == (12, 12)

    def test_a_baseline_that_does_not_answer_leaves_nothing_to_compare(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        baseline.budget = 0
        wanted = suite(judge, questions(tmp_path, [1, 2]), pairwise=True)
        gates = [{"metric": "good/winRate", "min": 0.5}]
        result = run(tmp_path, wanted, target, baseline, gates=gates)
        (problem,) = result.problems
        assert problem.startswith(f"good: the baseline's endpoint at {baseline.url} cannot answer now (503)")
        assert result.results == ()
        assert document(tmp_path)["verdict"] == "Inconclusive"
        assert not judge.questions

    def test_what_changes_the_question_is_another_question(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def asked(**settings: Any) -> int:
            before = len(judge.questions)
            run(tmp_path, suite(judge, questions(tmp_path, [1]), **settings), target)
            return len(judge.questions) - before

        # What an evaluation does not ask for, the next one does not know any more.
        changes: list[dict[str, Any]] = [{}, {"maxTokens": 9}, {"scale": {"max": 5}}]
        changes.append({"criteria": [{"name": "tone", "description": "Kind."}]})
        for change in changes:
            assert (asked(**change), asked(**change)) == (1, 0)
        monkeypatch.setattr("tunesmith_runtime.evaluate.asked_judge.VERSION", judge_questions.VERSION + 1)
        assert asked(**changes[-1]) == 1

    def test_two_models_with_one_answer_are_judged_once(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        run(tmp_path, suite(judge, questions(tmp_path, [1, 22])), target, baseline)
        assert len(judge.questions) == 3, "both say two words of 1"

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (401, "refuses to answer (401): {said}; check the key key of Secret judge, or $TUNESMITH_KEY_JUDGE__KEY"),
            (404, "refuses to answer (404): {said}; check spec.suites[good].judge.endpoint.url and that it has the"),
            (429, "cannot answer now (429): {said}"),
            (500, "cannot answer now (500): {said}"),
        ],
    )
    def test_a_refusal_is_a_problem_in_the_judges_words_without_the_key(
        self,
        judge: JudgeServer,
        target: EndpointServer,
        tmp_path: Path,
        status: int,
        said: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(VARIABLE, KEY)
        judge.refusals = [status] * 99
        wanted = suite(judge, questions(tmp_path, [1]), retries=0, key={"name": "judge", "key": "key"})
        (problem,) = run(tmp_path, wanted, target).problems
        assert said.format(said=f"no, for the reason {status} and not for Bearer ***") in problem
        assert judge.keys == {f"Bearer {KEY}"}
        written = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert len(written) > 4
        assert not [file for file in written if KEY in file.read_text(errors="replace")]

    @pytest.mark.parametrize("junk", ["<html>Welcome</html>", "{}", "[]", '{"choices": []}', "null"])
    def test_a_page_that_is_no_reply_is_told(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path, junk: str
    ) -> None:
        judge.junk = junk
        (problem,) = run(tmp_path, suite(judge, questions(tmp_path, [1])), target).problems
        assert "answers, but not as an OpenAI-compatible endpoint does" in problem

    def test_a_judge_that_takes_too_long(self, judge: JudgeServer, target: EndpointServer, tmp_path: Path) -> None:
        judge.pause = 1.5
        wanted = suite(judge, questions(tmp_path, [1]), retries=0)
        wanted["judge"]["endpoint"]["timeoutSeconds"] = 1
        (problem,) = run(tmp_path, wanted, target).problems
        assert f"the judge of suite good cannot be reached at {judge.url}: timed out" in problem


class TestHumanLabels:
    def test_scores_of_people_and_of_the_judge(
        self, judge: JudgeServer, target: EndpointServer, tmp_path: Path
    ) -> None:
        rows = [
            {"prompt": "What is 1", "label": 2},
            {"prompt": "What is 22", "label": 4},
            {"index": 2, "answer": "word word word word", "label": 4.0},
            {"index": 2, "answer": "something else", "label": 1},
        ]
        labels = write(tmp_path / "labels.jsonl", rows)
        result = run(tmp_path, suite(judge, questions(tmp_path, [1, 22, 333]), humanLabels=labels), target)
        found = by_name(result)
        # The judge says 2, 3, 4.
        assert found["good/humanAgreement"].value == pytest.approx(2 / 3)
        assert found["good/humanAgreement"].n == 3
        assert found["good/humanSpearman"].value == pytest.approx(0.866, abs=1e-3)
        assert document(tmp_path)["notes"] == [
            "good: 1 of 4 human labels are of other answers, or of answers without a verdict, and are left out."
        ]

    def test_pairs_compared_by_people_and_by_the_judge(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        said = ["tie", "A", "a", "B", "A", "TIE", "A", "A"] * 4
        labels = write(tmp_path / "labels.jsonl", [{"index": n, "label": each} for n, each in enumerate(said)])
        numbers = [1, 22, 333, 44, 55, 66, 7, 88] * 4
        wanted = suite(judge, questions(tmp_path, numbers), pairwise=True, humanLabels=labels)
        found = by_name(run(tmp_path, wanted, target, baseline))
        verdicts = ["TIE" if number < 10 else "A" for number in numbers]
        assert found["good/humanAgreement"].value == 5 / 8
        kappa = cohen_kappa_score([each.upper() for each in said], verdicts)
        assert found["good/humanKappa"].value == pytest.approx(kappa)
        low, high = found["good/humanKappa"].ci95 or (0, 0)
        assert low < kappa < high

    def test_a_label_that_is_none_is_told_before_anybody_is_asked(
        self, judge: JudgeServer, target: EndpointServer, baseline: EndpointServer, tmp_path: Path
    ) -> None:
        labels = write(tmp_path / "labels.jsonl", [{"index": 0, "label": 1}])
        wanted = suite(judge, questions(tmp_path, [1]), pairwise=True, humanLabels=labels)
        with pytest.raises(DataError, match=r"labels\.jsonl: line 1: label is 1; it must be A \(the target's answer"):
            run(tmp_path, wanted, target, baseline)
        assert not target.questions
