"""The API as clients meet it: OpenAI's own client, requests that are wrong, and clients that leave."""

import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
import torch
from transformers import PreTrainedTokenizerBase

from tests.engines import plain_logprobs, run_of, served_over_http
from tests.tiny import make_tiny_bert
from tests.unit.runtime.test_engine_adapters import lora, save
from tunesmith_runtime.models.loading import load_causal_lm
from tunesmith_runtime.serve.engine.answers import Asked
from tunesmith_runtime.serve.engine.engine import Engine
from tunesmith_runtime.serve.engine.questions import Question
from tunesmith_runtime.serve.engine.scheduler import Limits

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
HELLO: list[Any] = [{"role": "user", "content": "What colour is the sky?"}]


@pytest.fixture(scope="module")
def adapter(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_path, tmp_path_factory.mktemp("adapters") / "formal", lora(1), 1)


@pytest.fixture(scope="module")
def running(tiny_path: Path, adapter: Path) -> Iterator[tuple[str, Engine]]:
    with served_over_http(run_of(tiny_path, formal=adapter), Limits(rows=4, waiting=16)) as found:
        yield found


@pytest.fixture
def url(running: tuple[str, Engine]) -> str:
    return running[0]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as found:
        yield found


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_chats_by_openais_client(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["bot", "formal"]
    assert client.models.retrieve("formal").id == "formal"
    options: dict[str, Any] = {
        "messages": HELLO,
        "temperature": 1.0,
        "seed": 3,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "max_completion_tokens": 12,
    }
    for model in ("bot", "formal"):
        whole = client.chat.completions.create(model=model, **options)
        texts, tokens = {0: "", 1: ""}, {0: 0, 1: 0}
        finishes = {}
        with client.chat.completions.create(
            model=model, stream=True, stream_options={"include_usage": True}, **options
        ) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
                    tokens[choice.index] += len(choice.logprobs.content or ()) if choice.logprobs else 0
                    finishes[choice.index] = choice.finish_reason
                usage = chunk.usage
        for choice in whole.choices:
            assert choice.message.content == texts[choice.index]
            assert choice.finish_reason == finishes[choice.index]
            assert choice.logprobs is not None
            assert len(choice.logprobs.content or ()) == tokens[choice.index] > 0
            assert all(len(each.top_logprobs) == 2 for each in choice.logprobs.content or ())
        assert usage == whole.usage
        assert usage is not None
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert texts[0] != texts[1]


def test_texts_are_continued_up_to_a_stop(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="formal", prompt="The moon", max_tokens=20, temperature=1, seed=9)
    text = whole.choices[0].text
    stop = text[4:6]
    cut = client.completions.create(model="formal", prompt="The moon", max_tokens=20, temperature=1, seed=9, stop=stop)
    assert cut.choices[0].text == text.partition(stop)[0]
    assert (whole.choices[0].finish_reason, cut.choices[0].finish_reason) == ("length", "stop")
    many = client.completions.create(model="bot", prompt=["The moon", "The sun"], max_tokens=2, echo=True)
    assert [choice.text[:7] for choice in many.choices] == ["The moo", "The sun"]


def test_likelihoods_as_lm_eval_asks_for_them(url: str, tiny_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["The moon goes round the earth", "A spider has eight legs – or nine"]
    rows = [list(tokenizer(text)["input_ids"]) for text in texts]
    body: dict[str, Any] = {"model": "bot", "prompt": rows, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1}
    body["echo"] = True
    answer = requests.post(f"{url}/v1/completions", json=body, timeout=60).json()
    model = load_causal_lm(tiny_path)
    for row, text, choice in zip(rows, texts, answer["choices"], strict=True):
        plain = plain_logprobs(model, row)[:-1]
        found = choice["logprobs"]
        assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
        own = found["token_logprobs"][1:-1]
        assert own == pytest.approx(plain[range(len(row) - 1), row[1:]].tolist(), abs=1e-4)
        greedy = [logprob == max(top.values()) for logprob, top in zip(own, found["top_logprobs"][1:-1], strict=True)]
        assert greedy == (plain.argmax(dim=-1) == torch.tensor(row[1:])).tolist()
        assert choice["text"].startswith(text)
        assert found["text_offset"][0] == 0


def test_embeddings(client: openai.OpenAI, url: str, tmp_path: Path) -> None:
    texts = ["the sky is blue", "a spider", "the sky is blue"]
    packed = client.embeddings.create(model="formal", input=texts)  # this client asks for base64
    body: dict[str, Any] = {"model": "formal", "input": texts}
    listed = [each["embedding"] for each in requests.post(f"{url}/v1/embeddings", json=body, timeout=60).json()["data"]]
    for number, each in enumerate(packed.data):
        assert each.embedding == pytest.approx(listed[number], abs=1e-6)
        assert math.hypot(*each.embedding) == pytest.approx(1, abs=1e-5)
    assert listed[0] == pytest.approx(listed[2], abs=1e-5)
    of_model = client.embeddings.create(model="bot", input=texts[0]).data[0].embedding
    assert of_model != pytest.approx(listed[0], abs=1e-3)
    with served_over_http(run_of(make_tiny_bert(tmp_path / "encoder", texts))) as (address, _):
        answer = requests.post(f"{address}/v1/embeddings", json={"model": "bot", "input": texts}, timeout=60)
        assert len(answer.json()["data"]) == 3
        refused = requests.post(f"{address}/v1/chat/completions", json={"model": "bot", "messages": HELLO}, timeout=60)
        assert refused.status_code == 400
        assert "is an encoder: it gives embeddings, and writes nothing" in refused.json()["error"]["message"]


CHAT: dict[str, Any] = {"model": "bot", "messages": HELLO, "max_tokens": 2}
TEXT: dict[str, Any] = {"model": "bot", "prompt": "a", "max_tokens": 2}


def form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the response_format of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("chat/completions", CHAT | {"model": "other"}, 404, "there is no model other here; there are: bot, formal"),
        ("chat/completions", CHAT | {"temprature": 1}, 400, "temprature is not known here; did you mean temperature?"),
        ("chat/completions", CHAT | {"temperature": "hot"}, 400, "temperature: 'hot' is not a number"),
        ("chat/completions", CHAT | {"temperature": 3}, 400, "temperature: 3 is out of bounds"),
        ("chat/completions", CHAT | {"max_tokens": 0}, 400, "max_tokens: 0 is out of bounds"),
        ("chat/completions", CHAT | {"max_tokens": 9000}, 400, "maximum context length is 512 tokens"),
        ("chat/completions", CHAT | {"messages": []}, 400, "messages: has 0 items"),
        ("chat/completions", CHAT | {"messages": [{"role": "king", "content": "x"}]}, 400, "messages[0].role"),
        (
            "chat/completions",
            CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "'image_url'; only text is understood here",
        ),
        (
            "chat/completions",
            CHAT | {"response_format": form({"type": "integer", "minimum": 5, "maximum": 2})},
            400,
            "the schema cannot be kept to: Unsatisfiable schema: minimum (5) is greater than maximum (2)",
        ),
        (
            "chat/completions",
            CHAT | {"response_format": form({"type": "object", "unevaluatedItems": False})},
            400,
            'Unimplemented keys: ["unevaluatedItems"]',
        ),
        ("chat/completions", CHAT | {"response_format": {"type": "grammar"}}, 400, "response_format.type"),
        (
            "chat/completions",
            CHAT | {"response_format": {"type": "json_schema"}},
            400,
            "json_schema is required for type json_schema",
        ),
        (
            "chat/completions",
            CHAT | {"response_format": {"type": "json_object"}, "ignore_eos": True},
            400,
            "response_format needs answers to end; leave out ignore_eos",
        ),
        (
            "chat/completions",
            CHAT | {"response_format": {"type": "json_object"}, "tools": [{"type": "function"}]},
            400,
            "response_format leaves no room for tool calls",
        ),
        (
            "chat/completions",
            CHAT | {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
            400,
            "chat_template_kwargs must not have chat_template",
        ),
        ("chat/completions", CHAT | {"top_logprobs": 2}, 400, "top_logprobs needs logprobs"),
        ("chat/completions", CHAT | {"stream_options": {}}, 400, "stream_options is for streams"),
        ("chat/completions", CHAT | {"tool_choice": "required"}, 400, "tool_choice"),
        ("chat/completions", CHAT | {"logit_bias": {"x": 1}}, 400, "'x' is no token id"),
        ("chat/completions", b"{", 400, "the body is not JSON"),
        ("chat/completions", b'{"model": "\xff"}', 400, "the body is not JSON"),
        ("chat/completions", b"[" * 100_000, 400, "the body is not JSON"),
        ("chat/completions", b'{"model": "bot", "messages": "\\ud800"}', 400, "the body is not JSON"),
        ("chat/completions", b"7", 400, "7 is not a mapping"),
        ("chat/completions", b" " * (8 * 1024 * 1024 + 1), 413, "a request may have 8388608 bytes"),
        ("completions", TEXT | {"prompt": [[5, 100000]]}, 400, "100000 is no token of this model"),
        ("completions", TEXT | {"prompt": [["a"]]}, 400, "must be a text, a list of texts"),
        ("completions", TEXT | {"prompt": "word " * 3000}, 400, "maximum context length is 512 tokens"),
        ("completions", TEXT | {"best_of": 3}, 400, "best_of is not supported by this engine"),
        ("completions", TEXT | {"stop": [""]}, 400, "stop"),
        ("embeddings", {"model": "bot", "input": []}, 400, "must be a text"),
        ("embeddings", {"model": "bot", "input": "a", "dimensions": 3}, 400, "dimensions is not known here"),
        ("images/generations", {}, 404, "POST /v1/images/generations: Not Found"),
        ("models", {}, 405, "Method Not Allowed"),
    ],
)
def test_requests_that_are_wrong_are_told_so(
    url: str, path: str, body: dict[str, Any] | bytes, status: int, sentence: str
) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body)
    answer = requests.post(f"{url}/v1/{path}", data=sent, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, "invalid_request_error")
    assert sentence in error["message"]


def test_what_programs_tell_errors_by(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="other", prompt="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="bot", prompt="a", max_tokens=600)
    assert long.value.code == "context_length_exceeded"


def test_who_hangs_up_is_answered_no_longer(running: tuple[str, Engine]) -> None:
    url, engine = running
    scheduler = engine.model.scheduler
    for stream in (True, False):
        body = json.dumps(CHAT | {"max_tokens": 480, "n": 4, "ignore_eos": True, "stream": stream}).encode()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            until(lambda: scheduler.busy)
            # Closed at once and for good, as by a program that is killed.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: not scheduler.busy)
    assert requests.post(f"{url}/v1/completions", json=TEXT, timeout=60).status_code == 200


def test_while_too_many_wait_others_may_come_again(running: tuple[str, Engine]) -> None:
    url, engine = running
    scheduler, opened = engine.model.scheduler, threading.Event()
    scheduler.call(opened.wait)  # the model's thread has something else to do
    crowd = Asked(Question(prompts=((5,),) * 12, max_tokens=2), lambda news: None)
    scheduler.submit(crowd)
    refused = requests.post(f"{url}/v1/completions", json=TEXT | {"prompt": ["a"] * 5}, timeout=60)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert refused.json()["error"]["type"] == "server_error"
    opened.set()
    assert requests.post(f"{url}/v1/completions", json=TEXT | {"prompt": ["a"] * 4}, timeout=60).status_code == 200
    many = requests.post(f"{url}/v1/completions", json=TEXT | {"prompt": ["a"] * 17}, timeout=60)
    assert many.status_code == 400
    assert "asks for 17 answers; ask for at most 16 at once" in many.json()["error"]["message"]


def test_a_model_that_is_being_loaded(tiny_path: Path) -> None:
    from tunesmith_runtime.serve.engine.serving import listening

    engine = Engine(run_of(tiny_path))
    with socket.create_server(("127.0.0.1", 0)) as listener, listening(engine, listener) as port:
        url = f"http://127.0.0.1:{port}"
        assert requests.get(f"{url}/health", timeout=60).status_code == 503
        answer = requests.post(f"{url}/v1/chat/completions", json=CHAT, timeout=60)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["error"]["message"] == "the model is being loaded; ask again in a moment"


def test_before_the_end_what_is_under_way_is_finished(tiny_path: Path) -> None:
    long = TEXT | {"max_tokens": 400, "ignore_eos": True, "stream": True}
    with served_over_http(run_of(tiny_path)) as (url, engine):
        assert requests.get(f"{url}/health", timeout=60).status_code == 200
        with requests.post(f"{url}/v1/completions", json=long, stream=True, timeout=60) as stream:
            lines = stream.iter_lines()
            next(lines)
            assert engine.drain()
            assert requests.get(f"{url}/health", timeout=60).status_code == 503
            refused = requests.post(f"{url}/v1/completions", json=TEXT, timeout=60)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
            assert "about to end" in refused.json()["error"]["message"]
            events = [line for line in lines if line]
    assert events[-1] == b"data: [DONE]"
    assert len(events) > 10
