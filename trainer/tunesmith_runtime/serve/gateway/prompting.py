"""What chat requests are told before their own messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith_api.serving.prompt import ChainOfThought, Prompt

CHAIN_OF_THOUGHT: Mapping[ChainOfThought, str] = {
    "stepByStep": "Think step by step: write down each step before the next one. Then give the answer on a line of its "
    'own that begins with "Answer:".',
    "planFirst": "First write a short plan of what has to be found out and in which order. Then carry out the plan, "
    'point by point. Give the answer on a line of its own that begins with "Answer:".',
    "checkAnswer": "Work out an answer. Then check it: look for a mistake in each step, and mend what you find. Give "
    'the answer that stands the check on a line of its own that begins with "Answer:".',
}
_INSTRUCTIONS = {"system", "developer"}


def prompted(prompt: Prompt | None, messages: Sequence[Any]) -> list[Any] | None:
    """Return the messages with the prompt before them; None when they are to stay as they are.

    Whoever brings a system message, or a developer message, has said all there is to say: then nothing is added.
    """
    if prompt is None or any(message.get("role") in _INSTRUCTIONS for message in messages):
        return None
    thinking = CHAIN_OF_THOUGHT[prompt.chain_of_thought] if prompt.chain_of_thought else None
    system = "\n\n".join(part for part in (prompt.system, thinking) if part)
    before = [{"role": "system", "content": system}] if system else []
    for shot in prompt.few_shot:
        before += [{"role": "user", "content": shot.user}, {"role": "assistant", "content": shot.assistant}]
    return [*before, *messages] if before else None
