"""Tool calls in what a model writes, where its tokenizer says by a response template what they look like."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_parsing import ResponseParser

from tunesmith_runtime.serve.engine.questions import Piece, Question
from tunesmith_runtime.serve.engine.replies import ChatReply, Object
from tunesmith_runtime.serve.engine.requests import ChatRequest
from tunesmith_runtime.serve.engine.tokens import TokenTexts


def template_of(request: ChatRequest, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any] | None:
    """Return the template that an answer is read by; None where no calls are asked for, or nobody knows their looks."""
    if not request.tools or request.tool_choice == "none":
        return None
    found: Mapping[str, Any] | None = getattr(tokenizer, "response_template", None)
    return found


@dataclass(frozen=True)
class ToolCalls:
    """How answers are read: the template, the prompt, which may have begun the answer, and the tools."""

    template: Mapping[str, Any]
    prompt: str
    tools: Sequence[Mapping[str, Any]]

    def message(self, text: str) -> Object:
        """Return the message that a text is; what cannot be read as one is its content."""
        parser = ResponseParser(self.template, prefix=self.prompt, tools=list(self.tools))
        try:
            parser.feed(text)
            found, _ = parser.finalize()
        except (ValueError, KeyError, TypeError, AttributeError):
            found = {"content": text}
        content, thought = found.get("content"), found.get("reasoning_content") or found.get("thinking")
        message: Object = {"role": "assistant", "content": content if isinstance(content, str) else None}
        if isinstance(thought, str):
            message["reasoning_content"] = thought
        calls = [_call(each) for each in found.get("tool_calls") or [] if isinstance(each, Mapping)]
        return message | ({"tool_calls": calls} if calls else {})


class CallingReply(ChatReply):
    """The reply to a chat with tools. What a call may be is only known at its end, so a stream has one piece."""

    def __init__(
        self, model: str, question: Question, texts: TokenTexts, calls: ToolCalls, *, with_usage: bool = False
    ) -> None:
        super().__init__(model, question, texts, with_usage=with_usage)
        self._calls = calls
        self._texts_of: dict[int, str] = {}

    def _choice(self, piece: Piece) -> Object:
        message = self._calls.message(piece.text)
        return self._about(_finished(piece, message)) | {"message": message | {"refusal": None}}

    def _delta(self, piece: Piece) -> Object:
        text = self._texts_of[piece.answer] = self._texts_of.get(piece.answer, "") + piece.text
        if piece.finish is None:
            return self._about(piece) | {"delta": {}}
        message = self._calls.message(text)
        delta = {name: value for name, value in message.items() if name != "role" and value}
        if "tool_calls" in delta:
            delta["tool_calls"] = [{"index": index, **each} for index, each in enumerate(delta["tool_calls"])]
        return self._about(_finished(piece, message)) | {"delta": delta}


def _finished(piece: Piece, message: Object) -> Piece:
    return replace(piece, finish="tool_calls") if piece.finish == "stop" and "tool_calls" in message else piece


def _call(found: Mapping[str, Any]) -> Object:
    function = found.get("function", found)
    arguments = function.get("arguments") or {}
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {
            "name": str(function.get("name")),
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        },
    }
