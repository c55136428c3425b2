"""An endpoint under load: what is timed is what a client sees, what fails is counted, and loads come as asked."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.endpoints import EndpointServer, serving
from tunesmith_api.contract import CONFIG_VARIABLE, PROGRESS_VARIABLE, EvaluateResult, EvaluateRun, SampleProgress
from tunesmith_api.evaljob import MetricResult
from tunesmith_runtime.errors import DataError, RunError
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.evaluate.load import Timing
from tunesmith_runtime.evaluate.statistics import binned, compare, estimate, percentile_of
from tunesmith_runtime.evaluate.suites.performance import made_up, measured
from tunesmith_runtime.progress import ProgressReporter

KEY = "sk-very-secret"
PAUSE = 0.03
WORDS = 5


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointServer]:
    """An endpoint that answers with five words, with a pause after each."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(EndpointServer(reply=lambda question: "word " * WORDS, pause=PAUSE)) as running:
        yield running


def config(folder: Path, server: EndpointServer, **settings: Any) -> EvaluateRun:
    suite = {"requests": 6, "warmupRequests": 1, "promptWords": 4, **settings.pop("suite", {})}
    endpoint = {"url": server.url, "model": "bot", "maxRetries": 0, **settings.pop("endpoint", {})}
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "bot-eval", "uid": "u", "attempt": 1},
        "target": {"uri": server.url, "endpoint": endpoint},
        "suites": [{"name": "speed", "performance": suite}],
        "report": {"uri": f"file://{folder}/out/report"},
        **settings,
    }
    return EvaluateRun.model_validate_json(json.dumps(document))


def run(folder: Path, server: EndpointServer, **settings: Any) -> EvaluateResult:
    return evaluate(config(folder, server, **settings), ProgressReporter(folder / "progress.json"))


def by_name(result: EvaluateResult) -> dict[str, MetricResult]:
    return {each.metric.removeprefix("speed/"): each for each in result.results}


def notes(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "out/report/results.json").read_text())["notes"]
    return found


def samples(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "out/report/samples/speed.target.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def most_at_once(folder: Path) -> int:
    """Return how many requests waited for their answers at the same time, at most."""
    spans = [(each["begun"], each["begun"] + each["scores"]["latency"]) for each in samples(folder)]
    return max(sum(begun <= at < ended for begun, ended in spans) for at, _ in spans)


def test_times_and_rates_are_those_of_the_clients(server: EndpointServer, tmp_path: Path) -> None:
    begun = time.monotonic()
    found = by_name(run(tmp_path, server, suite={"concurrency": 2, "maxNewTokens": 9}))
    spent = time.monotonic() - begun
    # An opening chunk without text, a pause, five words each with a pause after it, and a last chunk with its own.
    for percent in (50, 90, 99):
        first, whole = found[f"timeToFirstTokenP{percent}"], found[f"latencyP{percent}"]
        assert PAUSE <= first.value < spent
        assert 7 * PAUSE <= whole.value < spent
        assert first.value < whole.value
        low, high = whole.ci95 or (0, 0)
        assert low <= whole.value * 1.03
        assert high >= whole.value * 0.97
        assert whole.n == 6
    assert found["errorRate"].value == 0
    # Two clients: three times one after the other.
    assert 6 / spent < found["requestsPerSecond"].value <= 6 / (3 * 7 * PAUSE)
    # Two tokens to a word, as the endpoint says.
    assert found["tokensPerSecond"].value == pytest.approx(2 * WORDS * found["requestsPerSecond"].value)
    assert 0 < found["streamTokensPerSecond"].value <= (2 * WORDS - 1) / (5 * PAUSE)
    assert notes(tmp_path) == []
    assert len(samples(tmp_path)) == 6
    assert {each["tokens"] for each in samples(tmp_path)} == {2 * WORDS}
    assert ProgressReporter(tmp_path / "progress.json").read().samples == SampleProgress(done=7, total=7)
    # The warm-up and one that finds out about usage are not measured.
    assert len(server.requests) == 8
    assert {each["max_tokens"] for each in server.requests} == {9}
    assert [bool(each.get("stream")) for each in server.requests] == [False] + [True] * 7
    assert "errorRate" in (tmp_path / "out/report/report.html").read_text()


@pytest.mark.parametrize("clients", [1, 4])
def test_a_closed_loop_keeps_its_clients_busy(server: EndpointServer, tmp_path: Path, clients: int) -> None:
    run(tmp_path, server, suite={"concurrency": clients, "requests": 8})
    assert most_at_once(tmp_path) == clients


def test_an_open_loop_does_not_wait_for_answers(server: EndpointServer, tmp_path: Path) -> None:
    run(tmp_path, server, suite={"requestRate": 100, "requests": 30, "seed": 3})
    arrivals = [each["begun"] for each in samples(tmp_path)]
    assert arrivals == np.random.default_rng(3).exponential(0.01, 30).cumsum().tolist()
    assert most_at_once(tmp_path) > 4, "answers take 0.2 s, and requests come every 0.01 s"


def test_prompts_of_a_file_are_asked_in_their_order_and_over_again(server: EndpointServer, tmp_path: Path) -> None:
    server.pause = 0
    rows = [{"messages": [{"role": "user", "content": each}, {"role": "assistant", "content": "."}]} for each in "abc"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = {"uri": f"file://{tmp_path}/p.jsonl", "format": "messages", "promptWords": None}
    run(tmp_path, server, suite=suite)
    assert server.questions == ["a", "b", "b", "c", "a", "b", "c", "a"]


def test_made_up_prompts_have_their_length_and_differ() -> None:
    prompts = [each[0]["content"] for each in made_up(20, 50, seed=1)]
    assert {len(each.split()) for each in prompts} == {50}
    assert len(set(prompts)) == 20
    assert prompts == [each[0]["content"] for each in made_up(20, 50, seed=1)]
    assert prompts != [each[0]["content"] for each in made_up(20, 50, seed=2)]


@pytest.mark.parametrize("usage", [False, "refused"])
def test_without_usage_tokens_are_chunks_and_that_is_said(
    server: EndpointServer, tmp_path: Path, usage: bool | str
) -> None:
    server.usage = usage
    found = by_name(run(tmp_path, server))
    assert found["errorRate"].value == 0
    assert {each["tokens"] for each in samples(tmp_path)} == {WORDS}
    assert notes(tmp_path) == [
        "speed: The endpoint does not tell how many tokens it writes: each chunk of a stream counts as one."
    ]


def test_failures_are_counted_and_named_and_nobody_is_asked_again(server: EndpointServer, tmp_path: Path) -> None:
    server.budget = 6
    result = run(tmp_path, server, suite={"requests": 8}, gates=[{"metric": "speed/errorRate", "max": 0.01}])
    found = by_name(result)
    assert (found["errorRate"].value, found["errorRate"].n) == (0.5, 8)
    assert found["latencyP50"].n == 4
    assert notes(tmp_path) == ["speed: 4 of 8 requests were not answered: status 503 (4)."]
    assert [each["error"] for each in samples(tmp_path)] == [""] * 4 + ["status 503"] * 4
    assert json.loads((tmp_path / "out/report/results.json").read_text())["verdict"] == "Failed"


def test_a_load_that_is_never_answered_has_an_error_rate_and_no_times(server: EndpointServer, tmp_path: Path) -> None:
    server.budget = 1
    gates = [{"metric": "speed/latencyP50", "max": 1}]
    found = by_name(run(tmp_path, server, gates=gates))
    assert {name: each.value for name, each in found.items()} == {"errorRate": 1}
    (gate,) = json.loads((tmp_path / "out/report/results.json").read_text())["gates"]
    assert gate["message"] == "speed/latencyP50 was not measured"


def test_a_stream_that_breaks_off_is_a_failure(server: EndpointServer, tmp_path: Path) -> None:
    server.breaks_after = 2
    assert by_name(run(tmp_path, server))["errorRate"].value == 1
    assert notes(tmp_path) == ["speed: 6 of 6 requests were not answered: broken stream (6)."]


def test_an_answer_that_takes_too_long_is_a_failure(server: EndpointServer, tmp_path: Path) -> None:
    server.reply = lambda question: "word " * 60 if len(server.requests) > 2 else "word"
    found = run(tmp_path, server, suite={"requests": 2, "concurrency": 2}, endpoint={"timeoutSeconds": 1})
    assert by_name(found)["errorRate"].value == 1
    assert notes(tmp_path) == ["speed: 2 of 2 requests were not answered: time-out (2)."]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses to answer (401): no, for the reason 401 and not for Bearer ***; check the key key of Secret s"),
        (404, "refuses to answer (404): no, for the reason 404 and not for Bearer ***; check spec.target.endpoint.url"),
        (500, "cannot answer now (500): no, for the reason 500 and not for Bearer ***"),
    ],
)
def test_an_endpoint_that_does_not_answer_at_all_is_a_problem(
    server: EndpointServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    monkeypatch.setenv("TUNESMITH_KEY_S__KEY", KEY)
    server.refusals = [status]
    result = run(tmp_path, server, endpoint={"apiKeySecretRef": {"name": "s", "key": "key"}})
    assert said in result.problems[0]
    assert result.results == ()
    assert json.loads((tmp_path / "out/report/results.json").read_text())["verdict"] == "Inconclusive"
    assert server.keys == {f"Bearer {KEY}"}
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and KEY in file.read_text(errors="replace")]


def test_a_load_that_was_cut_off_ends_at_once_and_is_measured_anew(server: EndpointServer, tmp_path: Path) -> None:
    under_way = threading.Event()

    def reply(question: str) -> str:
        if len(server.requests) == 10:
            under_way.set()
        return "word " * WORDS

    server.reply = reply
    load = {"requests": 40, "concurrency": 4}
    (tmp_path / "config.json").write_text(json.dumps(config(tmp_path, server, suite=load).to_json()))
    files = {CONFIG_VARIABLE: str(tmp_path / "config.json"), PROGRESS_VARIABLE: str(tmp_path / "progress.json")}
    evaluation = subprocess.Popen([sys.executable, "-m", "tunesmith_runtime"], env={**os.environ, **files})
    assert under_way.wait(120)
    evaluation.terminate()
    assert evaluation.wait(30) == 143
    assert len(server.requests) < 30
    server.requests.clear()
    server.pause = 0
    assert by_name(run(tmp_path, server, suite=load))["latencyP50"].n == 40
    assert len(server.requests) == 42


def test_prompts_that_are_too_long_and_files_that_are_none_are_told(server: EndpointServer, tmp_path: Path) -> None:
    server.refusals = [413]
    with pytest.raises(DataError, match=r"suite speed: a prompt is longer than bot at .* or lower promptWords"):
        run(tmp_path, server)
    with pytest.raises(RunError, match=r"gone\.jsonl"):
        run(tmp_path, server, suite={"uri": f"file://{tmp_path}/gone.jsonl", "promptWords": None})


def test_two_endpoints_are_compared(server: EndpointServer, tmp_path: Path) -> None:
    with serving(EndpointServer(reply=server.reply, pause=3 * PAUSE)) as slower:
        baseline = {"uri": slower.url, "endpoint": {"url": slower.url, "model": "bot"}}
        result = run(tmp_path, server, baseline=baseline, suite={"requests": 16, "concurrency": 8})
    latency = by_name(result)["latencyP50"]
    assert latency.baseline is not None
    assert latency.baseline > 2 * latency.value
    assert latency.p_value is not None
    assert latency.p_value < 0.05
    assert by_name(result)["errorRate"].p_value == 1


class TestPercentiles:
    def test_the_interval_is_that_of_order_statistics(self) -> None:
        values = np.random.default_rng(0).lognormal(0, 1, 400)
        found = estimate(percentile_of(binned(values.tolist()), 90))
        assert found is not None
        # The ranks that a binomial variable leaves: 360 give or take 1.96 times 6.
        low, high = np.sort(values)[[348, 372]]
        assert found.low == pytest.approx(low, rel=0.05)
        assert found.high == pytest.approx(high, rel=0.05)

    @pytest.mark.parametrize("percent", [50, 90, 99])
    def test_the_value_is_within_one_percent(self, percent: float) -> None:
        values = np.random.default_rng(1).lognormal(-2, 2, 5000)
        metric = percentile_of(binned(values.tolist()), percent)
        found = metric.of_sums(metric.rows.sum(axis=0)[None])[0]
        assert found == pytest.approx(np.percentile(values, percent, method="inverted_cdf"), rel=0.0101)

    def test_values_that_are_missing_do_not_count(self) -> None:
        metric = percentile_of(binned([1.0, None, 3.0, 2.0]), 50)
        assert metric.samples == 3
        assert metric.of_sums(metric.rows.sum(axis=0)[None])[0] == pytest.approx(2, rel=0.0101)
        assert np.isnan(metric.of_sums(np.zeros((1, metric.rows.shape[1])))[0])

    def test_alike_endpoints_rarely_differ_and_unlike_ones_do(self) -> None:
        rng = np.random.default_rng(5)
        alarms = finds = 0
        for _ in range(60):
            one, other = rng.lognormal(0, 1, (2, 40))
            slower = rng.lognormal(1, 1, 40)
            alarms += self.p_value(one, other) < 0.05
            finds += self.p_value(one, slower) < 0.05
        assert alarms <= 8, "three are to be expected, and nine come once in two hundred times"
        assert finds >= 40

    def test_a_difference_is_the_surer_the_larger_it_is(self) -> None:
        fast = np.random.default_rng(6).normal(1.0, 0.01, 16)
        assert self.p_value(fast, fast + 5) == pytest.approx(2 * 0.5**16)
        assert self.p_value(fast, fast) == 1

    @staticmethod
    def p_value(one: Any, other: Any) -> float:
        found = compare(*(percentile_of(binned(each.tolist()), 50) for each in (one, other)))
        assert found is not None
        return found.p_value


def test_an_answer_of_one_token_has_no_speed() -> None:
    prompts = [[{"role": "user", "content": "x" * 500}]] * 2
    found = measured(prompts, [Timing(0.0, 0.5, 0.5, 1, True), Timing(1.0, None, 2.0, 0, True)])
    assert "streamTokensPerSecond" not in found.metrics
    assert found.metrics["tokensPerSecond"] == 0.5
    assert found.metrics["timeToFirstTokenP50"] == 0.5
    assert found.metrics["latencyP50"] == 0.75
    assert len(getattr(found.samples[0], "text", "")) == 200
