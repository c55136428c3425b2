"""What an evaluation may ask of endpoints, and what it has asked."""

from typing import Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, StatusModel


class Limits(ApiModel):
    """The most that is asked of endpoints: of target, baseline and judges together, over all attempts."""

    max_requests: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="Requests, those that are sent again for want of an answer among them.",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000_000,
        description="Tokens of prompts and answers, as the endpoints count them. What is on its way when they are used "
        "up is waited for and counts as well.",
    )

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.max_requests is None and self.max_tokens is None:
            raise ValueError("set maxRequests, maxTokens or both")
        return self


class Spent(StatusModel):
    """What was asked of endpoints, over all attempts."""

    requests: int = Field(default=0, ge=0, description="Requests that were sent.")
    tokens: int = Field(default=0, ge=0, description="Tokens of prompts and answers, where the endpoint tells.")
