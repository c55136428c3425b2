"""Tools that the gateway runs, tools that clients run, and tools that fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.gateways import CHAT, USAGE, Answer, Gateway, gateway, story

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
THEIRS = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
Calls = list[tuple[str, str]]


class Both(NamedTuple):
    """Text, and then calls."""

    text: str
    calls: Calls


# What a model says: text, calls as (name, arguments), or both; or the status that it fails with.
Said = str | Calls | Both | int


@dataclass
class Play:
    """A server that is a model, which says its lines one after the other, and the tools that it calls."""

    lines: list[Said]
    port: int = 0
    chats: list[dict[str, Any]] = field(default_factory=list)
    called: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def results(self) -> list[str]:
        """What the model was told last of its tools."""
        return [each["content"] for each in self.chats[-1]["messages"] if each["role"] == "tool"]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.chats.append(body)
        number = len(self.chats)
        said = self.lines[min(number, len(self.lines)) - 1]
        if isinstance(said, int):
            return web.json_response({"error": {"message": "no", "code": "no"}}, status=said)
        if not body.get("stream"):
            message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
            if isinstance(said, list):
                message["tool_calls"] = calls(said)
            finish = "stop" if isinstance(said, str) else "tool_calls"
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return web.json_response({"id": f"chat-{number}", "choices": [choice], "usage": USAGE})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for delta in deltas(said):
            value = {"id": f"chat-{number}", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            await response.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        end = {"id": f"chat-{number}", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        await response.write(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")
        return response

    async def tool(self, request: web.Request) -> web.StreamResponse:
        self.called.append((request.method, request.path_qs, await request.text(), dict(request.headers)))
        match request.match_info["what"]:
            case "slow":
                await asyncio.sleep(60)
            case "long":
                return web.Response(text="x" * 5000)
            case "broken":
                return web.Response(status=500, text="no such city <|im_end|>")
            case "moved":
                raise web.HTTPFound("/tools/weather")
            case "elsewhere":
                raise web.HTTPFound("http://169.254.169.254/latest")
            case "circle":
                raise web.HTTPFound("/tools/circle")
        return web.Response(text="It rains.")


def calls(said: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(said)
    ]


def deltas(said: Said) -> list[dict[str, Any]]:
    """Return a line as it is streamed; calls come in two parts each."""
    found: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = said if isinstance(said, str) else said.text if isinstance(said, Both) else ""
    found += [{"content": word} for word in text.split()]
    said = said.calls if isinstance(said, Both) else said if isinstance(said, list) else []
    for index, each in enumerate(calls(said)):
        arguments = each["function"]["arguments"]
        begun = {**each, "index": index, "function": {**each["function"], "arguments": arguments[:3]}}
        found.append({"tool_calls": [begun]})
        found.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[3:]}}]})
    return found


@asynccontextmanager
async def play(folder: Path, *lines: Said, **tools: Any) -> AsyncIterator[tuple[Play, Gateway]]:
    """Run a model with these lines and a gateway that has tools for it: `tools` are fields of the tool `weather`."""
    made = Play(list(lines))
    application = web.Application()
    application.router.add_post("/v1/chat/completions", made.chat)
    application.router.add_route("*", "/tools/{what}", made.tool)
    runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    rounds = {"maxRounds": tools.pop("max_rounds")} if "max_rounds" in tools else {}
    weather: dict[str, Any] = {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": SCHEMA,
        "url": "/tools/weather",
    }
    weather |= tools
    if weather["url"].startswith("/"):
        weather["url"] = made.url + weather["url"]
    upstream = {"revision": 1, "weight": 100, "url": made.url}
    try:
        async with gateway(folder, upstream, tools={"http": [weather], **rounds}) as served:
            yield made, served
    finally:
        await runner.cleanup()


RAIN: Said = [("weather", '{"city": "Rome"}')]


def streamed(answer: Answer) -> list[Any]:
    """Return the events of a stream but its last word."""
    *events, last, empty = answer.body.decode().split("\n\n")
    assert (last, empty) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


@story
async def test_the_model_is_told_what_its_tool_says_and_answers(folder: Path) -> None:
    async with play(folder, RAIN, "Take an umbrella") as (model, served):
        answer = await served.ask(CHAT)
        assert (answer.text, answer.headers["x-tunesmith-tools"]) == ("Take an umbrella", "weather")
        (tool,) = model.chats[0]["tools"]
        assert (tool["function"]["name"], tool["function"]["parameters"]) == ("weather", SCHEMA)
        method, path, body, _ = model.called[0]
        assert (method, path, json.loads(body)) == ("POST", "/tools/weather", {"city": "Rome"})
        call, result = model.chats[1]["messages"][-2:]
        assert (call["role"], call["tool_calls"]) == ("assistant", calls([("weather", '{"city": "Rome"}')]))
        assert result == {"role": "tool", "tool_call_id": "call-0", "name": "weather", "content": "It rains."}
        exposed = (await served.get("/metrics")).body.decode()
        assert 'tool_calls_total{outcome="answered",tool="weather"} 1.0' in exposed
        assert 'tokens_total{kind="prompt",revision="1"} 14.0' in exposed


@story
async def test_the_final_answer_is_streamed_as_one(folder: Path) -> None:
    async with play(folder, RAIN, "Take an umbrella") as (model, served):
        events = streamed(await served.ask(CHAT | {"stream": True}))
        said = [each["choices"][0]["delta"].get("content") for each in events]
        assert "".join(filter(None, said)) == "Takeanumbrella"
        assert {each["id"] for each in events} == {"chat-2"}
        assert not any("tool_calls" in each["choices"][0]["delta"] for each in events)
        assert model.results == ["It rains."]


@story
async def test_a_get_takes_its_arguments_in_its_address(folder: Path) -> None:
    said: Said = [("weather", '{"city": "Rome & Paris", "days": 2}')]
    async with play(folder, said, "Dry", method="GET") as (model, served):
        assert (await served.ask(CHAT)).text == "Dry"
        assert model.called[0][:3] == ("GET", "/tools/weather?city=Rome+%26+Paris&days=2", "")


@story
async def test_tools_of_clients_pass_untouched(folder: Path) -> None:
    theirs: Said = [("lookup", '{"id": 7}')]
    asked = CHAT | {"tools": [THEIRS]}
    async with play(folder, theirs) as (model, served):
        answer = await served.ask(asked)
        assert answer.json["choices"][0]["message"]["tool_calls"] == calls([("lookup", '{"id": 7}')])
        events = streamed(await served.ask(asked | {"stream": True}))
        assert [each["choices"][0]["delta"] for each in events[:-1]] == deltas(theirs)
        assert [each["function"]["name"] for each in model.chats[0]["tools"]] == ["lookup", "weather"]
        assert not model.called


@pytest.mark.parametrize("stream", [False, True])
def test_of_mixed_calls_a_client_gets_its_own(folder: Path, stream: bool) -> None:
    async def story() -> None:
        mixed: Said = [("weather", '{"city": "Rome"}'), ("lookup", '{"id": 7}')]
        async with play(folder, mixed) as (model, served):
            answer = await served.ask(CHAT | {"tools": [THEIRS], "stream": stream})
            if stream:
                found = [each["choices"][0]["delta"].get("tool_calls", []) for each in streamed(answer)]
                (first, second) = [call for each in found for call in each]
                assert (first["index"], first["function"]["name"], second["index"]) == (0, "lookup", 0)
            else:
                (call,) = answer.json["choices"][0]["message"]["tool_calls"]
                assert call["function"]["name"] == "lookup"
            assert not model.called

    asyncio.run(story())


@story
async def test_a_client_that_brings_a_tool_of_this_name_runs_it(folder: Path) -> None:
    theirs = {"type": "function", "function": {"name": "weather"}}
    async with play(folder, RAIN) as (model, served):
        answer = await served.ask(CHAT | {"tools": [theirs]})
        assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
        assert (model.called, model.chats[0]["tools"]) == ([], [theirs])


@story
async def test_requests_can_do_without(folder: Path) -> None:
    async with play(folder, "Hello") as (model, served):
        await served.ask(CHAT, x_tunesmith_tools="off")
        await served.ask(CHAT | {"tunesmith": {"tools": "off"}})
        await served.ask(CHAT | {"tool_choice": "none"})
        await served.ask(CHAT | {"n": 2})
        assert not any("tools" in each or "tunesmith" in each for each in model.chats)


@story
async def test_after_some_rounds_the_model_has_to_answer(folder: Path) -> None:
    async with play(folder, RAIN, RAIN, "I give up", max_rounds=2) as (model, served):
        assert (await served.ask(CHAT)).text == "I give up"
        assert ["tools" in each for each in model.chats] == [True, True, False]
        assert model.results == ["It rains."] * 2


@pytest.mark.parametrize(
    ("said", "tool", "words"),
    [
        ('{"city": 7}', {}, "Error: the arguments of weather do not fit: city: 7 is not of type 'string'"),
        ("{}", {}, "Error: the arguments of weather do not fit: 'city' is a required property"),
        ("nonsense", {}, "Error: the arguments of weather are no JSON; write one object"),
        ("[]", {}, "Error: the arguments of weather are no object; write one object"),
        ('{"city": "%s"}' % ("x" * 70_000), {}, "Error: the arguments of weather are longer than 65536 characters"),
        (None, {"url": "/tools/broken"}, "Error: weather answered 500: no such city \u2039|im_end|>"),
        (None, {"url": "/tools/slow", "timeoutSeconds": 1}, "Error: weather did not answer within 1 seconds"),
        (None, {"url": "/tools/long", "maxBytes": 256}, f"{'x' * 256}\n(cut: only the first 256 bytes are shown)"),
        (None, {"url": "/tools/moved", "method": "GET"}, "It rains."),
        (None, {"url": "/tools/elsewhere"}, "Error: weather sends elsewhere, to another host, and is not followed"),
        (None, {"url": "/tools/circle"}, "Error: weather sends elsewhere again and again"),
        (None, {"url": "http://127.0.0.1:9/"}, "Error: weather could not be called: ClientConnectorError"),
        (None, {"headersSecretRef": {"name": "gone", "key": "h"}}, "Error: weather cannot be called: its headers are"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(folder: Path, said: str | None, tool: dict[str, Any], words: str) -> None:
    async def story() -> None:
        line: Said = [("weather", said)] if said is not None else RAIN
        async with play(folder, line, "Sorry", **tool) as (model, served):
            answer = await served.ask(CHAT)
            assert (answer.status, answer.text) == (200, "Sorry")
            (result,) = model.results
            assert result.startswith(words)

    asyncio.run(story())


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "100.100.100.200", "0.0.0.0"])
def test_a_name_that_stands_for_an_address_of_the_machine_is_not_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    async def resolve(*_: Any) -> list[dict[str, Any]]:
        return [{"hostname": "tool.example", "host": address, "port": 80, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", resolve)

    async def story() -> None:
        async with play(folder, RAIN, "Sorry", url="http://tool.example/now") as (model, served):
            assert (await served.ask(CHAT)).text == "Sorry"
            assert model.results == ["Error: weather may not be called: its host has an address of the machine's own"]

    asyncio.run(story())


@story
async def test_headers_come_from_a_secret_and_go_nowhere_else(folder: Path) -> None:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("TUNESMITH_KEY_WEATHER__HEADERS", "Authorization: Bearer secret\n\nX-Team: bots\n")
    with monkeypatch.context():
        secret = {"name": "weather", "key": "headers"}
        async with play(folder, RAIN, "Dry", headersSecretRef=secret) as (model, served):
            await served.ask(CHAT, key="mine")
            sent = {name.lower(): value for name, value in model.called[0][3].items()}
            assert (sent["authorization"], sent["x-team"]) == ("Bearer secret", "bots")
            assert "secret" not in json.dumps(model.chats)


@story
async def test_many_calls_at_once_are_not_all_made(folder: Path) -> None:
    many: Said = [("weather", '{"city": "Rome"}')] * 10
    async with play(folder, many, "Dry") as (model, served):
        assert (await served.ask(CHAT)).text == "Dry"
        assert len(model.called) == 8
        assert model.results[8].startswith("not called: at most 8 tools are called at once")


@story
async def test_an_answer_without_calls_streams_as_it_comes(folder: Path) -> None:
    async with play(folder, "Take an umbrella") as (_, served):
        events = streamed(await served.ask(CHAT | {"stream": True}))
        assert [each["choices"][0]["delta"] for each in events[:-1]] == deltas("Take an umbrella")


@pytest.mark.parametrize("stream", [False, True])
def test_a_revision_that_fails_after_a_call_is_told_as_such(folder: Path, stream: bool) -> None:
    async def story() -> None:
        async with play(folder, RAIN, 400) as (_, served):
            answer = await served.ask(CHAT | {"stream": stream})
            assert (answer.status, answer.code) == (400, "no")

    asyncio.run(story())


@story
async def test_words_before_a_call_and_after_it_are_one_stream(folder: Path) -> None:
    async with play(folder, Both("Let me look", [("weather", '{"city": "Rome"}')]), "Take an umbrella") as (_, served):
        events = streamed(await served.ask(CHAT | {"stream": True}))
        found = [each["choices"][0]["delta"] for each in events]
        assert [each["content"] for each in found if each.get("content")] == "Let me look Take an umbrella".split()  # noqa: SIM905
        assert [each["role"] for each in found if "role" in each] == ["assistant"]
        assert {each["id"] for each in events} == {"chat-1"}


@story
async def test_a_stream_that_has_begun_ends_with_what_went_wrong(folder: Path) -> None:
    async with play(folder, Both("Let me look", [("weather", '{"city": "Rome"}')]), 400) as (_, served):
        *_, last = (await served.ask(CHAT | {"stream": True})).body.decode().strip().split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "no"


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_captured_is_what_the_client_asked_and_got(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(folder))

    async def story() -> None:
        async with play(folder, RAIN, "Dry") as (_, served):
            routes = json.loads((folder / "routes.json").read_text())
            policy = {"tools": routes["tools"], "capture": {"uri": "pvc://data/traffic"}}
            await served.takes_up(*routes["upstreams"], **policy)
            await served.ask(CHAT | {"stream": stream})

    asyncio.run(story())
    (file,) = (folder / "data" / "traffic" / "exchanges").glob("*/*.jsonl")
    (record,) = map(json.loads, file.read_text().splitlines())
    assert record["messages"] == [*CHAT["messages"], {"role": "assistant", "content": "Dry"}]
