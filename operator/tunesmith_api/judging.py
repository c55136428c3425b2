"""Who says which of two answers is the better one, where no person has: an endpoint that judges."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tunesmith_api.endpoint import Endpoint, EndpointUrl

# The environment variable that holds the endpoint's key, as a key of a Secret of spec.secretRefs makes it.
API_KEY_VARIABLE = "TUNESMITH_JUDGE_API_KEY"


class Judge(Endpoint):
    """A model behind an OpenAI-compatible endpoint that compares the two answers of each pair."""

    url: EndpointUrl = Field(
        description="Base URL of the endpoint, such as http://judge.default.svc/v1. Its key, if it wants one, is the "
        f"environment variable {API_KEY_VARIABLE}, which a Secret of spec.secretRefs brings."
    )
    criteria: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        default="The better answer is more correct, more helpful and easier to understand, and no longer than it needs "
        "to be.",
        description="What makes an answer the better one, in words for the judge.",
    )
    temperature: float = Field(default=0.0, ge=0, le=10, description="Temperature that verdicts are drawn at.")
    max_tokens: int = Field(
        default=16,
        ge=1,
        le=131_072,
        description="Tokens of a verdict at most. It is a single letter; a judge that thinks first needs more.",
    )
    max_retries: int = Field(
        default=5,
        ge=0,
        le=100,
        description="How often a question that was not answered is asked again, each time after a longer pause. After "
        "that the attempt fails; the next one keeps all verdicts.",
    )
