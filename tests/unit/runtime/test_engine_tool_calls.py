"""What a model writes becomes tool calls where its tokenizer says what they look like, and else stays words."""

import json
from typing import Any

import pytest

from tests.tiny import TEXTS, make_tiny_tokenizer
from tunesmith_runtime.serve.engine.questions import Piece, Question
from tunesmith_runtime.serve.engine.requests import ChatRequest, Message
from tunesmith_runtime.serve.engine.tokens import TokenTexts
from tunesmith_runtime.serve.engine.tool_calls import CallingReply, ToolCalls, template_of
from tunesmith_runtime.serve.engine.writing import Writer

TEMPLATE: dict[str, Any] = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "content": {"close": "<|im_end|>"},
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "content": "json",
            "repeats": True,
            "transform": {"type": "function", "function": "{content}"},
        },
    },
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = 'Let me look.<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def reply() -> CallingReply:
    calls = ToolCalls(TEMPLATE, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", TOOLS)
    return CallingReply("bot", Question(((1,),), 9), TokenTexts(make_tiny_tokenizer(TEXTS)), calls)


def test_a_call_is_no_words() -> None:
    (choice,) = reply().whole([Piece(0, CALL[:30]), Piece(0, CALL[30:], finish="stop", tokens=9)])["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "Let me look.")
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}


def test_a_streamed_call_comes_in_one_piece() -> None:
    streaming = reply()
    (first,) = streaming.chunk(Piece(0, CALL[:30]))["choices"]
    assert (first["delta"], first["finish_reason"]) == ({}, None)
    (last,) = streaming.chunk(Piece(0, CALL[30:], finish="stop", tokens=9))["choices"]
    (call,) = last["delta"]["tool_calls"]
    assert (last["finish_reason"], call["index"], call["function"]["name"]) == ("tool_calls", 0, "weather")


@pytest.mark.parametrize("text", ["It rains.", "<tool_call>nonsense</tool_call>"])
def test_what_is_no_call_stays_words(text: str) -> None:
    (choice,) = reply().whole([Piece(0, text, finish="stop")])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


def test_answers_are_read_only_where_calls_are_asked_for_and_known() -> None:
    tokenizer = make_tiny_tokenizer(TEXTS)
    asked: dict[str, Any] = {"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}
    with_tools = ChatRequest.model_validate(asked | {"tools": TOOLS})
    assert template_of(with_tools, tokenizer) is None
    tokenizer.response_template = TEMPLATE
    assert template_of(with_tools, tokenizer) == TEMPLATE
    assert template_of(ChatRequest.model_validate(asked), tokenizer) is None
    assert template_of(ChatRequest.model_validate(asked | {"tools": TOOLS, "tool_choice": "none"}), tokenizer) is None


def test_tokens_around_a_call_are_written_where_they_are_needed() -> None:
    tokenizer = make_tiny_tokenizer(TEXTS)
    (token,) = tokenizer.all_special_ids[:1]
    assert Writer(tokenizer).add(token) == ""
    assert Writer(tokenizer, keeps_special=True).add(token) == tokenizer.decode([token])


def test_templates_get_the_arguments_of_earlier_calls_as_objects() -> None:
    def told(arguments: str) -> Any:
        call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        message = Message.model_validate({"role": "assistant", "content": None, "tool_calls": [call]})
        return message.for_template()["tool_calls"][0]["function"]["arguments"]

    assert told('{"city": "Rome"}') == {"city": "Rome"}
    assert told("nonsense") == "nonsense"
