"""What a request must be for the gateway to send it on; what else is in it is the engine's business."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Words = Annotated[str, Field(min_length=1)]
Texts = Annotated[str, Field()] | Annotated[list[Any], Field(min_length=1)]


class Shape(BaseModel):
    """A request's body: fields that the gateway does not know are sent on as they are."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Asked(Shape):
    """What all requests for a model have."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    user: Annotated[str, Field(max_length=512)] | None = None

    @property
    def answer_tokens(self) -> int | None:
        """How long the answer may become; None: as long as the engine lets it."""
        return None


class Generating(Asked):
    """What requests for texts have."""

    stream: bool | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None

    @property
    def answer_tokens(self) -> int | None:
        """How long the answers may become, all together."""
        return None if self.max_tokens is None else self.max_tokens * (self.n or 1)


class Message(Shape):
    """A turn of a conversation."""

    role: Words


class Own(BaseModel):
    """What a request asks of the gateway itself; nothing of it is sent on."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    retrieval: Literal["on", "off"] = "on"
    tools: Literal["on", "off"] = "on"


class ChatRequest(Generating):
    """`POST /v1/chat/completions`."""

    tunesmith: Own = Own()
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None

    @property
    def answer_tokens(self) -> int | None:
        """How long the answers may become, all together."""
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return None if most is None else most * (self.n or 1)


class CompletionRequest(Generating):
    """`POST /v1/completions`."""

    prompt: Texts


class EmbeddingRequest(Asked):
    """`POST /v1/embeddings`."""

    input: Texts

    @property
    def answer_tokens(self) -> int | None:
        """It has none."""
        return 0


class Feedback(BaseModel):
    """`POST /v1/feedback`: what somebody says of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    # As the header x-request-id of the answer has it.
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
    rating: Literal["up", "down"] | Annotated[float, Field(ge=-1, le=1)]
    # What the answer should have been.
    correction: Annotated[str, Field(max_length=32_768)] | None = None
    comment: Annotated[str, Field(max_length=8_192)] | None = None

    @property
    def value(self) -> float:
        """The rating as a number."""
        if isinstance(self.rating, str):
            return 1.0 if self.rating == "up" else -1.0
        return float(self.rating)
