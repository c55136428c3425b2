"""Who may ask, and how much."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, ObjectName, Time

# The key of the Secret that lists the API keys.
KEYS_FILE = "keys.yaml"

Scope = Literal["chat", "completions", "embeddings", "models", "feedback"]
SCOPES: tuple[Scope, ...] = ("chat", "completions", "embeddings", "models", "feedback")


class Limits(ApiModel):
    """How much may be asked. What is not set has no limit."""

    requests_per_minute: int | None = Field(
        default=None, ge=1, le=100_000, description="Requests within any 60 seconds; further ones are refused with 429."
    )
    tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Tokens of prompts and answers within any 60 seconds. A request takes what it may need when it "
        "comes (its prompt and its max_tokens) and gives back what it did not use when it has been answered.",
    )
    max_concurrent_requests: int | None = Field(
        default=None, ge=1, le=10_000, description="Requests that are answered at the same time."
    )


class SecretName(ApiModel):
    """A Secret of the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class Auth(ApiModel):
    """Who may ask."""

    api_keys_secret_ref: SecretName = Field(
        description="The Secret whose key keys.yaml lists the API keys, by their SHA-256; `tunesmith keys new` makes "
        "entries for it. Requests without a key that is listed there are refused. Changes count within about a minute."
    )


class ApiKey(ApiModel):
    """An entry of keys.yaml: a key, by its digest, and what it is good for."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=63)]
    # Keys are 256 random bits, which nobody can guess from a digest: a salt would protect nothing.
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...] = Field(default=SCOPES, min_length=1, max_length=len(SCOPES))
    expires_at: Time | None = None
    # In place of the ModelServe's own, as a whole.
    limits: Limits | None = None


class ApiKeys(ApiModel):
    """All of keys.yaml."""

    keys: tuple[ApiKey, ...] = Field(max_length=1000)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        for what, values in (
            ("name", [key.name for key in self.keys]),
            ("sha256", [key.sha256 for key in self.keys]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two keys have the same {what}")
        return self
