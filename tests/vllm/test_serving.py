"""What clients get from vLLM as a ModelServe runs it. The last test ends it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from openai.types.chat import ChatCompletion

from tests.engines import run_of, served_over_http
from tests.gateways import gateway, story
from tests.vllm.pods import Pod, Server

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
QUESTION = {"role": "user", "content": "What colour is the sky?"}
CHAT: dict[str, Any] = {"messages": [QUESTION], "temperature": 0, "max_tokens": 12}
BRIEF = {"role": "system", "content": "The earth goes round the sun."}


def text(completion: ChatCompletion) -> str:
    return completion.choices[0].message.content or ""


@pytest.fixture(scope="module")
def built_in(volumes: Path) -> Iterator[openai.OpenAI]:
    """Give a client of the built-in engine, which serves the same model with the same adapter."""
    models = volumes / "volumes" / "models"
    with (
        served_over_http(run_of(models / "bot", formal=models / "formal")) as (url, _),
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as found,
    ):
        yield found


def test_the_model_and_its_adapter_are_listed(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["bot", "formal"]


def test_a_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="bot", **CHAT)
    with client.chat.completions.create(
        model="bot", stream=True, stream_options={"include_usage": True}, **CHAT
    ) as stream:
        events = list(stream)

    assert text(whole)
    assert whole.model == "bot"
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == text(whole)
    finishes = [event.choices[0].finish_reason for event in events if event.choices]
    assert [each for each in finishes if each] == [whole.choices[0].finish_reason]
    assert events[-1].usage == whole.usage


def test_the_adapter_answers_otherwise_than_the_model(client: openai.OpenAI) -> None:
    assert text(client.chat.completions.create(model="formal", **CHAT)) != text(
        client.chat.completions.create(model="bot", **CHAT)
    )


def test_a_model_that_is_not_served_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="legal", **CHAT)


@pytest.mark.parametrize("model", ["bot", "formal"])
def test_answers_are_those_of_the_built_in_engine(client: openai.OpenAI, built_in: openai.OpenAI, model: str) -> None:
    asked = CHAT | {"logprobs": True, "top_logprobs": 3}
    ours, theirs = (each.chat.completions.create(model=model, **asked) for each in (built_in, client))

    # Of texts that end in the middle of a character the engines show the rest in ways of their own: scores count.
    assert theirs.usage is not None
    assert ours.usage is not None
    assert theirs.usage.prompt_tokens == ours.usage.prompt_tokens
    for scores in (ours.choices[0].logprobs, theirs.choices[0].logprobs):
        assert scores is not None
        assert scores.content is not None
        assert len(scores.content) == CHAT["max_tokens"]
    assert scored(theirs) == pytest.approx(scored(ours), abs=1e-3)


def scored(completion: ChatCompletion) -> list[float]:
    """Return the log-probabilities of an answer's tokens, and of the likeliest ones at each place."""
    scores = completion.choices[0].logprobs
    assert scores is not None
    return [
        value
        for each in scores.content or ()
        for value in (each.logprob, *sorted((top.logprob for top in each.top_logprobs), reverse=True))
    ]


@pytest.mark.parametrize("model", ["bot", "formal"])
def test_likelihoods_are_those_of_the_built_in_engine(
    client: openai.OpenAI, built_in: openai.OpenAI, model: str
) -> None:
    prompt = "The moon goes round the earth, and a spider has eight legs."
    found = []
    for each in (built_in, client):
        completion = each.completions.create(
            model=model, prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0
        )
        scores = completion.choices[0].logprobs
        assert scores is not None
        values = list(scores.token_logprobs or ())
        assert values[:1] == [None], "nothing comes before the first token"
        found.append([value for value in values if value is not None])

    ours, theirs = found
    assert len(ours) > 10
    assert theirs == pytest.approx(ours, abs=1e-3)
    assert all(math.isfinite(value) for value in theirs)


def test_the_gateway_puts_a_prompt_before_chats(
    server: Server, client: openai.OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_ROUTES", str(tmp_path / "routes.json"))
    revision = {"revision": 1, "weight": 100, "url": server.url, "prompt": {"system": BRIEF["content"]}}

    @story
    async def ask() -> None:
        async with gateway(tmp_path, revision) as served:
            answers = [await served.ask({"model": name, **CHAT}) for name in ("bot", "formal")]
            streamed = await served.ask({"model": "bot", "stream": True, **CHAT})
        assert [each.status for each in answers] == [200, 200]
        instructed = CHAT | {"messages": [BRIEF, QUESTION]}
        for name, answer in zip(("bot", "formal"), answers, strict=True):
            assert answer.text == text(client.chat.completions.create(model=name, **instructed))
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert streamed.body.endswith(b"data: [DONE]\n\n")

    ask()


def test_an_answer_that_is_under_way_is_finished_before_the_end(
    serving_pod: Pod, server: Server, client: openai.OpenAI
) -> None:
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    asked = CHAT | {"max_tokens": 400, "extra_body": {"ignore_eos": True}}
    with client.chat.completions.create(
        model="bot", stream=True, stream_options={"include_usage": True}, **asked
    ) as stream:
        events = [next(stream)]
        server.process.terminate()
        events += stream

    assert [each.choices[0].finish_reason for each in events if each.choices][-1] == "length"
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == 400
    server.process.wait(serving_pod.grace_seconds)
    _, alive = psutil.wait_procs(processes, timeout=serving_pod.grace_seconds)
    assert alive == []
