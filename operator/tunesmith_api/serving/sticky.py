"""Who always gets answers from the same revision."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel

StickyBy = Literal["user", "key", "header"]
HEADER_NEEDED = "sticky.header names the header for by: header; set both, or drop header"


class Sticky(ApiModel):
    """Requests that belong together go to the same revision, for as long as its share allows."""

    by: StickyBy = Field(
        description="What belongs together. user: the request's field user. key: its API key. header: what the header "
        "says. A request that does not say goes by the shares alone."
    )
    header: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] | None = Field(
        default=None, description="Name of the header, in small letters."
    )

    @model_validator(mode="after")
    def _header_by_name(self) -> Self:
        if (self.by == "header") != (self.header is not None):
            raise ValueError(HEADER_NEEDED)
        return self


class Traffic(ApiModel):
    """How requests are shared out among revisions."""

    sticky: Sticky | None = Field(
        default=None, description="Keep requests that belong together on one revision. By default each goes by itself."
    )
