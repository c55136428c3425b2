"""What is asked of endpoints is counted to the last request, over threads and attempts, and ends where it shall."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import EndpointServer, serving
from tests.judge import JudgeServer
from tunesmith_api.contract import EvaluateResult, EvaluateRun
from tunesmith_api.spending import Limits, Spent
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.spending import LimitReachedError, Spending
from tunesmith_runtime.storage.journal import Journal

QUESTIONS = 6


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with serving(EndpointServer(tokens=10)) as running:
        yield running


def run(
    folder: Path, server: EndpointServer, *further: dict[str, Any], retries: int = 0, at_once: int = 4, **more: Any
) -> EvaluateResult:
    data = folder / "questions.jsonl"
    rows = [{"prompt": f"Is {number} odd?", "completion": "yes"} for number in range(QUESTIONS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    endpoint = {"url": server.url, "model": "m", "maxRetries": retries, "maxConcurrency": at_once}
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "live", "uid": "u", "attempt": 1},
        "target": {"uri": server.url, "endpoint": endpoint},
        "suites": [{"name": "qa", "golden": {"uri": f"file://{data}", "metrics": ["exactMatch"]}}, *further],
        "report": {"uri": f"file://{folder}/report"},
        **more,
    }
    config = EvaluateRun.model_validate_json(json.dumps(document))
    return evaluate(config, ProgressReporter(folder / "progress.json"))


def test_threads_together_get_as_many_requests_as_there_are(tmp_path: Path) -> None:
    spending = Spending(Limits(max_requests=100), Journal(tmp_path / "spent.jsonl"), "run")

    def ask(_: int) -> bool:
        try:
            spending.take()
        except LimitReachedError:
            return False
        spending.use(3)
        return True

    with ThreadPoolExecutor(16) as pool:
        sent = sum(pool.map(ask, range(400)))

    assert sent == 100
    assert spending.spent == Spent(requests=100, tokens=300)
    again = Spending(Limits(max_requests=101), Journal(tmp_path / "spent.jsonl"), "run")
    assert again.spent == spending.spent, "the next attempt goes on from there"
    assert Spending(None, Journal(tmp_path / "spent.jsonl"), "other").spent == Spent(), "another run begins anew"


def test_a_suite_that_needs_more_is_not_measured_and_what_it_has_asked_is_told(
    tmp_path: Path, server: EndpointServer
) -> None:
    result = run(tmp_path, server, limits={"maxRequests": 4})

    assert len(server.requests) == 4
    assert result.results == ()
    assert result.problems == (
        "qa: 4 requests of spec.limits.maxRequests (4) have been sent, and one more is needed; raise it",
    )
    assert result.spent == Spent(requests=4, tokens=40)
    summary = json.loads((tmp_path / "report/results.json").read_text())
    assert (summary["verdict"], summary["spent"]) == ("Inconclusive", {"requests": 4, "tokens": 40})
    assert "4 requests," in (tmp_path / "report/report.html").read_text()


def test_answers_that_are_known_cost_nothing_and_those_of_earlier_attempts_count(
    tmp_path: Path, server: EndpointServer
) -> None:
    run(tmp_path, server, limits={"maxRequests": 4})

    result = run(tmp_path, server, limits={"maxRequests": QUESTIONS})

    assert len(server.requests) == QUESTIONS
    assert (result.problems, result.results[0].value) == ((), 1)
    assert result.spent == Spent(requests=QUESTIONS, tokens=10 * QUESTIONS)
    assert run(tmp_path, server, limits={"maxRequests": 1}).problems == (), "nothing is left to be asked"


def test_a_request_is_counted_before_it_is_sent_so_that_a_kill_hides_none(
    tmp_path: Path, server: EndpointServer
) -> None:
    told = []

    def reply(_: str) -> str:
        told.append((tmp_path / "report-answers/spent.jsonl").read_text().count('"requests"'))
        return "yes"

    server.reply, server.tokens = reply, None
    run(tmp_path, server)
    assert all(counted >= sent for sent, counted in enumerate(told, 1))


def test_what_is_sent_again_counts_as_well(tmp_path: Path, server: EndpointServer) -> None:
    server.refusals = [503, 503, 503]
    result = run(tmp_path, server, retries=3, limits={"maxRequests": QUESTIONS + 2})
    assert len(server.requests) == QUESTIONS - 1
    assert "8 requests of spec.limits.maxRequests (8) have been sent" in result.problems[0]


@pytest.mark.parametrize("limit", [21, 30])
def test_tokens_end_it_too(tmp_path: Path, server: EndpointServer, limit: int) -> None:
    result = run(tmp_path, server, at_once=1, limits={"maxTokens": limit})
    assert result.spent == Spent(requests=3, tokens=30)
    assert result.problems == (
        f"qa: 30 tokens have been used, all of spec.limits.maxTokens ({limit}), and more is to be asked; raise it",
    )


def test_an_endpoint_that_does_not_count_tokens_cannot_be_held_to_them(tmp_path: Path, server: EndpointServer) -> None:
    server.tokens = None
    result = run(tmp_path, server, limits={"maxTokens": 30})
    assert "does not tell how many tokens an answer took (usage); set maxRequests" in result.problems[0]


def test_a_load_that_would_go_beyond_is_not_begun(tmp_path: Path, server: EndpointServer) -> None:
    load = {"name": "load", "performance": {"requests": 5, "warmupRequests": 1, "concurrency": 2}}
    result = run(tmp_path, server, load, limits={"maxRequests": QUESTIONS + 1 + 5})
    assert len(server.requests) == QUESTIONS + 1
    assert result.problems == (
        "load: 7 requests of spec.limits.maxRequests (12) have been sent, and 6 more are needed; raise it",
    )
    whole = run(tmp_path, server, load, limits={"maxRequests": QUESTIONS + 1 + 1 + 6})
    assert whole.problems == ()
    assert whole.spent is not None
    assert whole.spent.requests == len(server.requests) == QUESTIONS + 1 + 1 + 6
    assert whole.spent.tokens > 10 * (QUESTIONS + 2), "those of streams among them"


def test_the_judge_is_paid_from_the_same_purse(tmp_path: Path, server: EndpointServer) -> None:
    with serving(JudgeServer()) as judge:
        endpoint = {"url": judge.url, "model": "wise", "maxRetries": 0}
        uri = f"file://{tmp_path}/questions.jsonl"
        suite = {"name": "good", "judge": {"uri": uri, "format": "promptCompletion", "endpoint": endpoint}}
        # Its answers have the judge's own greater bound of tokens, and so are others than those of qa.
        result = run(tmp_path, server, suite, limits={"maxRequests": 2 * QUESTIONS + 2})
        assert (len(server.requests), len(judge.requests)) == (2 * QUESTIONS, 2)
    assert [problem.split(":")[0] for problem in result.problems] == ["good"]
    assert [each.metric for each in result.results] == ["qa/exactMatch"]
