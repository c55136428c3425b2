"""What a request may be, and how long it may take."""

from pydantic import Field

from tunesmith_api.base import ApiModel


class RequestBounds(ApiModel):
    """What is taken of a request and its answer."""

    max_bytes: int = Field(
        default=10 * 2**20,
        ge=1024,
        le=256 * 2**20,
        description="Size of a request's body; larger ones are refused with 413.",
    )
    body_timeout_seconds: int = Field(
        default=30,
        ge=1,
        le=600,
        description="How long a request's body may take to arrive; then it is refused with 408.",
    )
    timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description="How long an answer may take, to its last byte; then it is broken off.",
    )


class Hold(ApiModel):
    """What happens to requests while nothing can answer them."""

    max_requests: int = Field(
        default=256, ge=0, le=10_000, description="Requests that wait at once; further ones are refused with 503."
    )
    timeout_seconds: int = Field(
        default=300, ge=0, le=3600, description="How long a request waits; then it is refused with 503."
    )
