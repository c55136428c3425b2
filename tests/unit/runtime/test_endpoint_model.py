"""A model behind an endpoint answers as one of this process does, and each failure is a sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import EndpointServer, serving
from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_runtime.data.records import ASSISTANT, Answerable, Completion, Conversation, Message
from tunesmith_runtime.endpoint import EndpointRefusedError, EndpointUnavailableError, caller_of, connected
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.endpoint_model import EndpointModel
from tunesmith_runtime.evaluate.respondent import Answers, Generation
from tunesmith_runtime.storage.journal import Journal

KEY = "sk-very-secret"
VARIABLE = "TUNESMITH_KEY_BOT__API_KEY"
BRIEF = Generation(max_new_tokens=5)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointServer]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with serving(EndpointServer(reply=lambda question: f" {question.upper()}\n")) as running:
        yield running


def spec(server: EndpointServer, **settings: Any) -> KeyedEndpoint:
    return KeyedEndpoint.model_validate({"url": server.url, "model": "bot", **settings})


def chat(*questions: str) -> list[Answerable]:
    return [Conversation((Message("user", each), Message(ASSISTANT, "?"))) for each in questions]


def answers(
    endpoint: KeyedEndpoint,
    records: list[Answerable],
    generation: Generation = BRIEF,
    journal: Path | None = None,
    done: list[int] | None = None,
) -> list[str]:
    known = Answers("bot", Journal(journal) if journal else None)
    counted = done if done is not None else []
    with connected(endpoint, caller_of(endpoint, "the target's endpoint", "spec.target.endpoint")) as connection:
        return EndpointModel(connection, known).answer(records, generation, counted.append)


def test_conversations_go_to_chat_completions_and_raw_text_to_completions(server: EndpointServer) -> None:
    turns = (
        Message("system", "Be brief."),
        Message("user", "Who?"),
        Message(ASSISTANT, "Ada."),
        Message("user", "Really?"),
        Message(ASSISTANT, "Yes."),
    )
    found = answers(spec(server, maxConcurrency=1), [Conversation(turns), Completion("The sky is", " blue")])
    assert found == ["REALLY?", "THE SKY IS"]
    asked, completed = server.requests
    assert asked == {
        "model": "bot",
        "messages": [{"role": each.role, "content": each.content} for each in turns[:-1]],
        "max_tokens": 5,
        "temperature": 0.0,
    }
    assert completed == {"model": "bot", "prompt": "The sky is", "max_tokens": 5, "temperature": 0.0}


def test_draws_have_their_own_seeds_and_answers(server: EndpointServer, tmp_path: Path) -> None:
    for seed in (1, 2, 2):
        drawn = Generation(5, temperature=0.7, seed=seed)
        answers(spec(server), chat("a"), drawn, journal=tmp_path / "known.jsonl")
    assert [(each["temperature"], each["seed"]) for each in server.requests] == [(0.7, 1), (0.7, 2)]


def test_answers_are_in_the_order_of_the_questions_however_many_are_asked_at_once(server: EndpointServer) -> None:
    server.pause = 0.02
    questions = [f"q{number}" for number in range(24)]
    found = answers(spec(server, maxConcurrency=6), chat(*questions))
    assert found == [each.upper() for each in questions]
    assert 1 < server.most <= 6


def test_equal_questions_are_asked_once_and_all_count_as_done(server: EndpointServer) -> None:
    done: list[int] = []
    assert answers(spec(server), chat("a", "b", "a"), done=done) == ["A", "B", "A"]
    assert len(server.questions) == 2
    assert sum(done) == 3


def test_an_empty_answer_is_an_answer(server: EndpointServer, tmp_path: Path) -> None:
    server.reply = lambda question: "  "
    for _ in range(2):
        assert answers(spec(server), chat("a"), journal=tmp_path / "known.jsonl") == [""]
    assert len(server.questions) == 1


def test_what_passes_is_asked_again(server: EndpointServer) -> None:
    server.refusals = [503, 429, 500, 408]
    assert answers(spec(server, maxConcurrency=1), chat("a", "b")) == ["A", "B"]


def test_after_an_error_half_way_only_the_rest_is_asked(server: EndpointServer, tmp_path: Path) -> None:
    server.budget = 7
    done: list[int] = []
    questions = chat(*(f"q{number}" for number in range(20)))
    endpoint = spec(server, maxRetries=0, maxConcurrency=4)
    with pytest.raises(EndpointUnavailableError, match=r"cannot answer now \(503\): the budget is spent") as raised:
        answers(endpoint, questions, journal=tmp_path / "known.jsonl")
    assert raised.value.retryable

    server.budget = None
    assert len(answers(endpoint, questions, journal=tmp_path / "known.jsonl", done=done)) == 20
    assert len(server.questions) == len(set(server.questions)) == 20
    assert done[:2] == [0, 7]
    assert sum(done) == 20


def test_a_line_that_was_cut_off_is_asked_again(server: EndpointServer, tmp_path: Path) -> None:
    journal = tmp_path / "known.jsonl"
    answers(spec(server), chat("a", "b"), journal=journal)
    journal.write_bytes(journal.read_bytes()[:-10])
    assert answers(spec(server), chat("a", "b"), journal=journal) == ["A", "B"]
    assert len(server.questions) == 3


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (400, EndpointRefusedError, "refuses to answer (400): {said}"),
        (401, EndpointRefusedError, "refuses to answer (401): {said}; check the key api-key of Secret bot, or $TUNE"),
        (403, EndpointRefusedError, "refuses to answer (403): {said}; check the key api-key of Secret bot, or $TUNE"),
        (404, EndpointRefusedError, "refuses to answer (404): {said}; check spec.target.endpoint.url and that it has"),
        (429, EndpointUnavailableError, "cannot answer now (429): {said}"),
        (500, EndpointUnavailableError, "cannot answer now (500): {said}"),
        (503, EndpointUnavailableError, "cannot answer now (503): {said}"),
    ],
)
def test_a_refusal_is_a_sentence_without_the_key(
    server: EndpointServer,
    status: int,
    error: type[Exception],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    server.refusals = [status] * 9
    endpoint = spec(server, maxRetries=0, apiKeySecretRef={"name": "bot", "key": "api-key"})
    with pytest.raises(error) as raised:
        answers(endpoint, chat("a"), journal=tmp_path / "known.jsonl")
    assert sentence.format(said=f"no, for the reason {status} and not for Bearer ***") in str(raised.value)
    assert server.keys == {f"Bearer {KEY}"}
    assert KEY not in str(raised.value)


def test_the_key_is_in_no_file(server: EndpointServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    journal = tmp_path / "known.jsonl"
    endpoint = spec(server, apiKeySecretRef={"name": "bot", "key": "api-key"})
    answers(endpoint, chat("a"), journal=journal)
    assert server.keys == {f"Bearer {KEY}"}
    assert json.loads(journal.read_text())["answer"] == "A"
    assert KEY not in journal.read_text()


def test_an_endpoint_without_a_key_is_told_where_to_name_one(server: EndpointServer) -> None:
    server.refusals = [401]
    with pytest.raises(EndpointRefusedError, match=r"name the Secret with the endpoint's key in spec\.target\.endp"):
        answers(spec(server), chat("a"))


def test_a_time_out_is_told(server: EndpointServer) -> None:
    server.pause = 1.5
    with pytest.raises(EndpointUnavailableError, match=r"the target's endpoint cannot be reached at .*: timed out;"):
        answers(spec(server, timeoutSeconds=1, maxRetries=0), chat("a"))


def test_an_endpoint_that_is_not_there_is_named(server: EndpointServer) -> None:
    gone = KeyedEndpoint(url="http://127.0.0.1:9/v1", model="bot", max_retries=0)
    with pytest.raises(EndpointUnavailableError, match=r"cannot be reached at http://127\.0\.0\.1:9/v1: .*refused"):
        answers(gone, chat("a"))


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "<html>",
        "null",
        "{}",
        "[]",
        '{"choices": [{}]}',
        '{"choices": [{"text": 1, "message": {"content": 1}}]}',
        '{"choices": [{"text": ["a"], "message": {"content": ["a"]}}]}',
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_a_page_that_is_no_answer_is_told(server: EndpointServer, junk: str, raw: bool) -> None:
    server.junk = junk
    record: list[Answerable] = [Completion("a", "b")] if raw else chat("a")
    with pytest.raises(EndpointRefusedError, match="answers, but not as an OpenAI-compatible endpoint does"):
        answers(spec(server), record)


def test_half_a_character_in_an_answer_is_a_question_mark(server: EndpointServer) -> None:
    server.reply = lambda question: "a\ud800b"
    assert answers(spec(server), chat("a")) == ["a?b"]


def test_a_question_that_is_too_long_is_named(server: EndpointServer) -> None:
    server.refusals = [413]
    with pytest.raises(DataError, match=r"the prompt of record 1 is longer than bot at .* Shorten it or lower maxNew"):
        answers(spec(server, maxConcurrency=1), chat("a" * 50))
