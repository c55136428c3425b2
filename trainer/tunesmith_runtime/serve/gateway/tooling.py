"""Tools that the gateway runs: the model calls them, is told what they say, and is asked again until it answers."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith_api.serving.tools import HttpTool, Tools
from tunesmith_runtime.serve.gateway.calling import Caller, ToolError
from tunesmith_runtime.serve.gateway.exchange import Exchange
from tunesmith_runtime.serve.gateway.forwarding import Forwarder, Parcel
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.outgoing import Recipient
from tunesmith_runtime.serve.gateway.refusals import Refusal
from tunesmith_runtime.serve.gateway.routing import Ready
from tunesmith_runtime.serve.gateway.stepping import Message, Step, listed, name_of

# Names the tools that were run for an answer.
HEADER = "x-tunesmith-tools"
# Calls of one round; the model is told of further ones that they were not made.
MOST_CALLS = 8
_LONGEST_HEADER = 512


def offered(tools: Tools | None, value: Mapping[str, Any]) -> dict[str, HttpTool]:
    """Return the tools of the gateway that a chat is offered, by name. What a client brings goes before."""
    if tools is None or value.get("tool_choice") == "none" or (value.get("n") or 1) > 1:
        return {}
    theirs = {name_of(each) for each in listed(value.get("tools"))}
    return {each.name: each for each in tools.http if each.name not in theirs}


def with_tools(value: Mapping[str, Any], tools: Mapping[str, HttpTool]) -> dict[str, Any]:
    """Return a chat that offers these tools besides its own."""
    if not tools:
        return dict(value)
    ours = [
        {
            "type": "function",
            "function": {"name": each.name, "description": each.description, "parameters": each.parameters},
        }
        for each in tools.values()
    ]
    return {**value, "tools": [*listed(value.get("tools")), *ours]}


@dataclass(frozen=True)
class Tooling:
    """Asks a revision as often as it takes."""

    forwarder: Forwarder
    caller: Caller
    metrics: Metrics

    async def answer(
        self,
        tools: Mapping[str, HttpTool],
        most_rounds: int,
        parcel: Callable[[Sequence[Message], Mapping[str, HttpTool]], Parcel],
        ready: Ready,
        client: Recipient,
        exchange: Exchange,
        seconds: float,
    ) -> None:
        """Send the answer to the client, or the calls that are for it. Raises Refusal.

        `parcel` makes a request that goes on with some messages and offers some tools.
        """
        ends = time.monotonic() + seconds
        said: list[Message] = []
        ran: list[str] = []
        identifier: str | None = None
        for rounds_left in reversed(range(most_rounds + 1)):
            now = tools if rounds_left else {}
            step = Step(client, now, identifier)
            left = ends - time.monotonic()
            if left <= 0:
                raise Refusal(504, "timeout", f"the answer was not complete within {seconds:g} seconds")
            await self.forwarder.forward(parcel(said, now), ready, step, exchange, left)
            if not step.calls:
                return
            identifier = step.identifier
            said += [step.message, *await self._results(step.calls, tools)]
            ran += [name_of(each) for each in step.calls]
            client.headers[HEADER] = ",".join(ran)[:_LONGEST_HEADER]
            if exchange.tally is not None:
                exchange.tally.next_round()

    async def _results(self, calls: Sequence[Message], tools: Mapping[str, HttpTool]) -> list[Message]:
        results = await asyncio.gather(*(self._result(each, tools) for each in calls[:MOST_CALLS]))
        refused = f"not called: at most {MOST_CALLS} tools are called at once; call again what you still need"
        results += [refused] * len(calls[MOST_CALLS:])
        return [
            {"role": "tool", "tool_call_id": call["id"], "name": name_of(call), "content": result}
            for call, result in zip(calls, results, strict=True)
        ]

    async def _result(self, call: Message, tools: Mapping[str, HttpTool]) -> str:
        tool = tools[name_of(call)]
        outcome = "answered"
        try:
            return await self.caller.call(tool, call["function"]["arguments"])
        except ToolError as error:
            outcome = "failed"
            return f"Error: {error}"
        finally:
            self.metrics.tool_calls.labels(tool.name, outcome).inc()
