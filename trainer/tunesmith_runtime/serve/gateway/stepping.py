"""What stands before a client while the model may call tools: it keeps calls that are the gateway's from the client."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from tunesmith_api.serving.tools import HttpTool
from tunesmith_runtime.serve.gateway import reassembling
from tunesmith_runtime.serve.gateway.amending import Events, data_of
from tunesmith_runtime.serve.gateway.outgoing import JSON, Recipient

Message = Mapping[str, Any]
# Of a round that may turn out to be a call. What is longer goes to the client as it is.
_LONGEST_ROUND = 4 * 2**20


class Step:
    """Lets through what is for the client.

    What a model says before it calls goes through at once. From a call on everything is kept until the end: then it is
    either run here, or sent on as it came. `identifier` is that of a stream that has begun with an earlier step.
    """

    def __init__(self, client: Recipient, tools: Mapping[str, HttpTool], identifier: str | None) -> None:
        self._client = client
        self._tools = tools
        self._events = Events()
        self._opening: tuple[int, Mapping[str, str]] | None = None
        self._held: list[bytes] = []
        self._calling = False
        self._seen: list[bytes] = []
        self._seen_bytes = 0
        self._streams = False
        self.identifier = identifier
        # Clients put parts of a stream together: what it has begun with comes once.
        self._goes_on = identifier is not None
        # Set once the model has called tools of ours, and nothing else.
        self.calls: list[Message] = []
        self.message: Message = {}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every answer."""
        return self._client.headers

    @property
    def started(self) -> bool:
        """Whether a part of the answer has been sent."""
        return self._client.started

    @property
    def sends_events(self) -> bool:
        """Whether the answer is a stream of events."""
        return self._client.sends_events

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Keep the first line and the headers until there is something for the client."""
        self._streams = headers.get("content-type", "").startswith("text/event-stream")
        self._opening = (status, headers)
        if not self._streams:
            await self._open()

    async def write(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self._streams:
            await self._client.write(body)
            return
        for event in self._events.take(body):
            await self._take(event)

    async def end(self, body: bytes = b"") -> None:
        """Take the last part of the body."""
        if not self._streams or body:  # with one, the stream was broken off
            await self._open()
            await self._client.end(body)
            return
        if rest := self._events.rest():
            await self._take(rest)
        ours = self._settle(b"".join(self._seen))
        if self.calls:
            return
        await self._let_through(ours)
        await self._client.end()

    async def answer(
        self, status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take a whole answer."""
        ours = self._settle(body) if status == 200 and kind.startswith(JSON) else set()
        if self.calls:
            return
        if self._client.started:  # a stream that an earlier step began
            await self._client.end(b"data: " + body + b"\n\n")
            return
        if ours:
            body = _without_calls(body, ours)
        await self._client.answer(status, body, kind, headers)

    def _settle(self, answer: bytes) -> set[int]:
        """Look at a whole answer: if all its calls are ours, keep them; else return which ones are."""
        if not self._tools or self._seen_bytes > _LONGEST_ROUND:
            return set()
        messages = reassembling.texts(answer)
        calls = listed(messages[0].get("tool_calls")) if messages else []
        ours = {index for index, each in enumerate(calls) if name_of(each) in self._tools}
        if not ours or len(ours) < len(calls):
            return ours
        named = [_complete(each) for each in calls]
        self.calls, self.message = named, {**messages[0], "tool_calls": named}
        return set()

    async def _take(self, event: bytes) -> None:
        self._seen_bytes += len(event)
        if self._tools and self._seen_bytes <= _LONGEST_ROUND:
            self._seen.append(event)
        value = _parsed(data_of(event))
        choices = _choices(value)
        delta = choices[0].get("delta") if choices else None
        says = isinstance(delta, Mapping) and any(
            isinstance(each, str) and each for name, each in delta.items() if name not in {"role", "tool_calls"}
        )
        if isinstance(delta, Mapping) and delta.get("tool_calls"):
            self._calling = bool(self._tools) and self._seen_bytes <= _LONGEST_ROUND
        if self._calling or (not says and self._tools and not self._spoken):
            self._held.append(event)
            return
        await self._let_through(set())
        await self._send(event)

    @property
    def _spoken(self) -> bool:
        return self._opening is None

    async def _let_through(self, ours: set[int]) -> None:
        """Send what was held, without the calls that are ours."""
        held, self._held = self._held, []
        await self._open()
        for event in held:
            if not ours:
                await self._send(event)
            elif (left := _event_without_calls(event, ours)) is not None:
                await self._send(left)

    async def _open(self) -> None:
        if self._opening is not None:
            opening, self._opening = self._opening, None
            if not self._client.started:
                await self._client.start(*opening)

    async def _send(self, event: bytes) -> None:
        """Send an event; all those of one answer have one identifier, whichever step they are from."""
        value = _parsed(data_of(event))
        if self.identifier is None and isinstance(value.get("id"), str):
            self.identifier = value["id"]
        if self._goes_on and "id" in value:
            event = _event(
                {**value, "id": self.identifier, "choices": [_without_role(each) for each in _choices(value)]}
            )
        await self._client.write(event)


def _complete(call: Message) -> Message:
    """Return a call with all that the next request needs of it, whatever the engine has left out."""
    arguments = call["function"].get("arguments")
    return {
        "id": call.get("id") or f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {
            "name": name_of(call),
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        },
    }


def _choices(value: Mapping[str, Any]) -> list[Any]:
    return [each for each in listed(value.get("choices")) if isinstance(each, Mapping)]


def _without_role(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    delta = choice.get("delta")
    if not isinstance(delta, Mapping):
        return choice
    return {**choice, "delta": {name: each for name, each in delta.items() if name != "role"}}


def _without_calls(body: bytes, ours: set[int]) -> bytes:
    value = json.loads(body)
    message = value["choices"][0]["message"]
    message["tool_calls"] = [each for index, each in enumerate(message["tool_calls"]) if index not in ours]
    return json.dumps(value).encode()


def _event_without_calls(event: bytes, ours: set[int]) -> bytes | None:
    """Return an event without the calls that are ours; None when nothing is left of it."""
    value = dict(_parsed(data_of(event)))
    choices = _choices(value)
    delta = choices[0].get("delta") if choices else None
    if not isinstance(delta, Mapping) or not delta.get("tool_calls"):
        return event
    left = [
        {**each, "index": each.get("index", 0) - sum(index < each.get("index", 0) for index in ours)}
        for each in listed(delta["tool_calls"])
        if each.get("index", 0) not in ours
    ]
    rest = {name: each for name, each in delta.items() if name != "tool_calls"}
    if not left and not rest and not choices[0].get("finish_reason"):
        return None
    return _event({**value, "choices": [{**choices[0], "delta": {**rest, **({"tool_calls": left} if left else {})}}]})


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """Return a list, an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def name_of(tool: Any) -> str:
    """Return the name of a tool, or of the one that is called; nothing where there is none."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""
