"""A suite's template makes the prompts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.suites import Suite
from tunesmith_runtime.data.formats import BadRecordError
from tunesmith_runtime.data.records import Completion, Conversation, Message
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.suites import read_suite
from tunesmith_runtime.evaluate.templating import PromptTemplate


def read(folder: Path, template: str, *rows: dict[str, Any], **golden: Any) -> tuple[Any, ...]:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = {"name": "facts", "golden": {"uri": f"file://{path}", "template": template, **golden}}
    return read_suite(Suite.model_validate(suite)).records


def test_raw_text_stays_raw_text_and_all_fields_are_there(tmp_path: Path) -> None:
    row = {"prompt": "2+2", "completion": "4", "hints": ["add", "ünits"], "level": 1}
    (record,) = read(tmp_path, "{{ hints | join(', ') }} ({{ level }}): {{ prompt }}=", row)
    assert record == Completion("add, ünits (1): 2+2=", "4")


def test_a_conversation_keeps_what_the_system_says(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi"), ("user", "2+2?"), ("assistant", "4")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    (record,) = read(tmp_path, "<{{ prompt }}> {{ messages | length }}", row, format="messages")
    asked = "<system: Be brief.\n\nuser: Hello\n\nassistant: Hi\n\nuser: 2+2?> 5"
    assert record == Conversation(
        (Message("system", "Be brief."), Message("user", asked), Message("assistant", "4")), first_scored=2
    )


def test_the_answers_that_are_accepted_stay(tmp_path: Path) -> None:
    answers = {"text": ["blue", "Blue sky"], "answer_start": [0, 10]}
    row = {"context": "blue, the Blue sky", "question": "?", "answers": answers}
    (record,) = read(tmp_path, "{{ question }} {{ context }}", row, format="squad")
    assert record.references == ("blue", "Blue sky")
    assert record.messages[0].content == "? blue, the Blue sky"


def test_names_that_a_record_does_not_have_are_told_with_their_lines(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "hint": "c"}, {"prompt": "a", "completion": "b"}] * 2
    with pytest.raises(DataError) as raised:
        read(tmp_path, "{{ hint }} {{ prompt }}", *rows)
    assert (
        "2 records cannot be used: line 2, line 4: the template: 'hint' is undefined; there is prompt, completion"
        in (raised.value.message)
    )


def test_a_prompt_that_comes_out_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: the template gives an empty prompt"):
        read(tmp_path, "{% if prompt == 'b' %}b{% endif %}", {"prompt": "a", "completion": "b"})


@pytest.mark.parametrize(
    "source",
    [
        "{{ prompt.__class__.__mro__ }}",
        "{{ prompt.hint.deeper }}",
        "{{ fields.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ range(10 ** 9) | list }}",
        "{{ prompt + 1 }}",
        "{% include 'a' %}",
        "{{ prompt.format(1, 2) }}{{ prompt[99] }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_what_a_template_must_not_or_cannot_do_is_an_error_of_the_record(source: str) -> None:
    with pytest.raises(BadRecordError, match="template"):
        PromptTemplate(source).render({"prompt": "a", "fields": [1]})
