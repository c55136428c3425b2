"""What answers the requests of a ModelServe."""

from typing import Literal

from pydantic import Field

from tunesmith_api.base import ApiModel


class Engine(ApiModel):
    """What answers requests."""

    type: Literal["transformers"] = Field(
        default="transformers", description="transformers: `transformers serve`, for development and small models."
    )
