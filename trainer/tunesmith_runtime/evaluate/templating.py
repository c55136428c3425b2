"""A suite's own prompts: templates over the fields of its records."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunesmith_runtime.data.formats import BadRecordError
from tunesmith_runtime.data.records import Answerable, Completion, Message, shown_prompt


class PromptTemplate:
    """A Jinja template, in a sandbox: it reads the fields that it is given, and nothing else of this process."""

    def __init__(self, source: str) -> None:
        """Take a template that the spec's own check has found to be one."""
        self._template = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(source)

    def render(self, fields: Mapping[str, Any]) -> str:
        """Return the prompt. Raises BadRecordError for a name that is no field, and for one that comes out empty."""
        try:
            prompt = self._template.render(fields)
        except UndefinedError as error:
            raise BadRecordError(f"the template: {error.message}; there is {', '.join(fields)}") from error
        except (
            TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise BadRecordError(f"the template cannot be filled in: {error}") from error
        if not prompt.strip():
            raise BadRecordError("the template gives an empty prompt")
        return prompt


def asked(template: PromptTemplate, fields: Mapping[str, Any], record: Answerable) -> Answerable:
    """Return the record with what the template makes of its fields, and of {{ prompt }}, in place of its prompt.

    Raw text stays raw text. Of a conversation the system's turns stay, and all others before the answer become one.
    Raises BadRecordError.
    """
    prompt = template.render({**fields, "prompt": shown_prompt(record)})
    if isinstance(record, Completion):
        return replace(record, prompt=prompt)
    before = tuple(turn for turn in record.messages[:-1] if turn.role == "system")
    turns = (*before, Message("user", prompt), record.messages[-1])
    return replace(record, messages=turns, first_scored=len(turns) - 1)
