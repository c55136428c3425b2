"""What chat requests are told before their own messages."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tunesmith_api.base import ApiModel

LONGEST_SYSTEM_PROMPT = 32_768
LONGEST_TURN = 8_192

Turn = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TURN)]
ChainOfThought = Literal["stepByStep", "planFirst", "checkAnswer"]


class FewShot(ApiModel):
    """A question and its answer, as they should be."""

    user: Turn = Field(description="What somebody might ask.")
    assistant: Turn = Field(description="What the model should answer to that.")


class Prompt(ApiModel):
    """What is put in front of the messages of a chat request that brings no system or developer message of its own."""

    system: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_SYSTEM_PROMPT)] | None = Field(
        default=None, description="The system message."
    )
    few_shot: tuple[FewShot, ...] = Field(
        default=(),
        max_length=32,
        description="Questions with their answers, between the system message and the request's own messages.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    chain_of_thought: ChainOfThought | None = Field(
        default=None,
        description="Ends the system message with a request to think aloud. stepByStep: step by step, the answer on a "
        "line of its own. planFirst: a plan, then what it asks for. checkAnswer: an answer, a check of it, and the "
        "answer again.",
    )
