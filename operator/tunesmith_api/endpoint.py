"""OpenAI-compatible endpoints, of models that are evaluated and of models that judge."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tunesmith_api.base import ApiModel, ObjectName

# A name and a password have no place in it: specs are no secrets.
EndpointUrl = Annotated[
    str,
    StringConstraints(
        max_length=1024,
        pattern=r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%+=/-]*)?$",
    ),
]


class Endpoint(ApiModel):
    """A model behind an OpenAI-compatible endpoint."""

    url: EndpointUrl = Field(description="Base URL of the endpoint, such as http://my-bot.default.svc/v1.")
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="Name of the model there."
    )
    max_concurrency: int = Field(default=8, ge=1, le=256, description="Questions that are asked at the same time.")
    timeout_seconds: int = Field(default=60, ge=1, le=3600, description="How long one answer may take.")
    max_retries: int = Field(
        default=5,
        ge=0,
        le=100,
        description="How often a question that was not answered is asked again, each time after a longer pause.",
    )


class SecretKey(ApiModel):
    """A key of a Secret of the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in it."
    )

    @property
    def variable(self) -> str:
        """The environment variable that brings it into a pod; in the local shell people set it themselves."""
        return (
            "TUNESMITH_KEY_" + "".join(each if each.isalnum() else "_" for each in f"{self.name}__{self.key}").upper()
        )


class KeyedEndpoint(Endpoint):
    """An endpoint that may want a key."""

    api_key_secret_ref: SecretKey | None = Field(
        default=None,
        description="Where its API key is kept. The local shell takes it from the environment variable "
        "TUNESMITH_KEY_NAME__KEY, all in capitals and with _ for all but letters and digits.",
    )
