"""What clients send: the parts of OpenAI's requests that are understood here. Anything else is refused by name."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

# Answers to one prompt.
MOST_ANSWERS = 16
# Prompts of one request.
MOST_PROMPTS = 256
# Tokens of a continuation whose request does not say.
USUAL_TOKENS = 16
# What a request may not tell the chat template: it would be another template, or no text for the model.
_NOT_FOR_TEMPLATES = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "conversation", "tokenize", "tools"}
)
# Of the likeliest tokens beside each one.
MOST_LOGPROBS = 20
_MOST_STOPS = 16


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _texts_or_tokens(value: Any) -> list[str] | list[list[int]]:
    """Return a list of texts or of token ids, from one of either or several."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(each, str) for each in value):
            return value
        if _are_tokens(value):
            return [value]
        if all(_are_tokens(each) for each in value):
            return value
    raise ValueError("must be a text, a list of texts, a list of token ids, or a list of such lists")


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


_Stop = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
TextsOrTokens = Annotated[list[str] | list[list[int]], BeforeValidator(_texts_or_tokens)]


class Body(BaseModel):
    """What every request has. Of what concerns a service rather than a model, nothing is made."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str = Field(max_length=512)
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class StreamOptions(BaseModel):
    """How a stream is to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool | None = None


class Generating(Body):
    """What requests for answers have in common. What is left out is as the model's makers want it."""

    n: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=1_000_000)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    stop: Annotated[list[_Stop] | None, BeforeValidator(_listed)] = Field(default=None, max_length=_MOST_STOPS)
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(default=None, max_length=1024)
    ignore_eos: bool = False
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for streams; set stream, or leave it out")
        return self

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the numbers of its tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


def _text_of(value: Any) -> Any:
    """Return the text of a message's content, which may come in parts."""
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise ValueError(f"has a part of type {str(kind)[:40]!r}; only text is understood here")
        texts.append(part["text"])
    return "\n".join(texts)


class Message(BaseModel):
    """A turn. Of tool calls and the like, the model's chat template makes what it can."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_text_of)] = None

    def for_template(self) -> dict[str, Any]:
        """Return it as chat templates take it."""
        role = "system" if self.role == "developer" else self.role
        more = dict(self.model_extra or {})
        if isinstance(more.get("tool_calls"), list):
            more["tool_calls"] = [_with_object(each) for each in more["tool_calls"]]
        return {**more, "role": role, "content": self.content or ""}


def _with_object(call: Any) -> Any:
    """Return a tool call with its arguments as an object, which is how templates take them; OpenAI's are JSON."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}


class NamedSchema(BaseModel):
    """A JSON schema, and how it is called."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    name: str = Field(max_length=64)
    description: str | None = None
    content: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """What an answer has to look like: any text, a JSON object, or JSON that fits a schema."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema is required for type json_schema, and for no other")
        return self

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The JSON schema that answers have to fit; None: any text."""
        if self.json_schema is not None:
            return self.json_schema.content
        return {"type": "object"} if self.type == "json_object" else None


class ChatRequest(Generating):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=4096)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.response_format is not None and self.response_format.wanted is not None:
            if self.tools and self.tool_choice != "none":
                raise ValueError("response_format leaves no room for tool calls; leave out tools, or response_format")
            if self.ignore_eos:
                raise ValueError("response_format needs answers to end; leave out ignore_eos, or response_format")
        if ours := sorted(_NOT_FOR_TEMPLATES & (self.chat_template_kwargs or {}).keys()):
            raise ValueError(f"chat_template_kwargs must not have {', '.join(ours)}: the model's own template counts")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self


class CompletionRequest(Generating):
    """POST /v1/completions."""

    prompt: TextsOrTokens
    max_tokens: int | None = Field(default=None, ge=0)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    echo: bool | None = None
    best_of: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    suffix: Literal[""] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.prompt) > MOST_PROMPTS:
            raise ValueError(f"prompt has {len(self.prompt)} prompts; a request takes at most {MOST_PROMPTS}")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of is not supported by this engine; leave it out")
        return self


class EmbeddingRequest(Body):
    """POST /v1/embeddings."""

    input: TextsOrTokens
    encoding_format: Literal["float", "base64"] = "float"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.input) > MOST_PROMPTS:
            raise ValueError(f"input has {len(self.input)} texts; a request takes at most {MOST_PROMPTS}")
        return self
