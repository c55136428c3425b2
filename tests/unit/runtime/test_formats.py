"""Each format reads what it says, and refuses what it cannot read with the place, the field and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.finetunejob import DataFormat, DatasetSource
from tunesmith_runtime.data.formats import FORMATS, ParsedDataset, read_records
from tunesmith_runtime.data.records import Completion, Conversation, Message, PlainText, references, shown_prompt
from tunesmith_runtime.errors import DataError

SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Moon",
            "paragraphs": [
                {
                    "context": "The Moon orbits Earth every 27.3 days.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "What does the Moon orbit?",
                            "answers": [
                                {"text": "Earth", "answer_start": 16},
                                {"text": "Earth", "answer_start": 16},
                                {"text": "orbits Earth", "answer_start": 9},
                            ],
                        },
                        {"id": "2", "question": "Who made it?", "answers": []},
                    ],
                }
            ],
        }
    ],
}


def read(folder: Path, fmt: DataFormat, *rows: Any) -> ParsedDataset:
    path = folder / "records.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return read_records(DatasetSource(uri=f"file://{path}", format=fmt))


def refusal(folder: Path, fmt: DataFormat, *rows: Any) -> str:
    with pytest.raises(DataError) as raised:
        read(folder, fmt, *rows)
    assert not raised.value.retryable
    return raised.value.message.partition("records.jsonl")[2].lstrip(": ")


def asked(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


def test_every_format_of_the_api_is_known() -> None:
    assert set(FORMATS) == set(DatasetSource.model_json_schema()["properties"]["format"]["enum"])


def test_alpaca(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        "alpaca",
        {"instruction": "Add.", "input": "2 and 3", "output": "5"},
        {"instruction": "Greet.", "input": "", "output": "Hello"},
        {"instruction": "Part.", "output": "Bye", "text": "not used"},
    )
    assert parsed.records == (asked("Add.\n\n2 and 3", "5"), asked("Greet.", "Hello"), asked("Part.", "Bye"))


def test_dolly(tmp_path: Path) -> None:
    row = {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada", "category": "closed_qa"}
    assert read(tmp_path, "dolly", row, {**row, "context": ""}).records == (
        asked("Who?\n\nAda wrote it.", "Ada"),
        asked("Who?", "Ada"),
    )


def test_squad_as_published(tmp_path: Path) -> None:
    parsed = read(tmp_path, "squad", SQUAD)
    (record,) = parsed.records
    assert isinstance(record, Conversation)
    assert record.messages[0].content == "What does the Moon orbit?\n\nThe Moon orbits Earth every 27.3 days."
    assert record.messages[1].content == "Earth"
    assert record.references == ("Earth", "orbits Earth")
    assert parsed.empty == 1


def test_messages(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Ciao")]
    parsed = read(tmp_path, "messages", {"messages": [{"role": role, "content": text} for role, text in turns]})
    (record,) = parsed.records
    assert record == Conversation(tuple(Message(*turn) for turn in turns), ("Ciao",))
    assert isinstance(record, Conversation)
    assert shown_prompt(record) == "system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Bye"


def test_prompt_completion_of_strings_is_raw_text(tmp_path: Path) -> None:
    (record,) = read(tmp_path, "promptCompletion", {"prompt": "Q: 1+1\nA:", "completion": " 2"}).records
    assert record == Completion("Q: 1+1\nA:", " 2")
    assert references(record) == (" 2",)
    assert shown_prompt(record) == "Q: 1+1\nA:"


def test_prompt_completion_of_messages_is_a_conversation_scored_from_the_completion_on(tmp_path: Path) -> None:
    prompt = [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "1+1"}]
    parsed = read(
        tmp_path, "promptCompletion", {"prompt": prompt, "completion": [{"role": "assistant", "content": "2"}]}
    )
    turns = (Message("assistant", "Yes?"), Message("user", "1+1"), Message("assistant", "2"))
    assert parsed.records == (Conversation(turns, ("2",), first_scored=2),)


def test_text(tmp_path: Path) -> None:
    assert read(tmp_path, "text", {"text": " As it is.\n"}).records == (PlainText(" As it is.\n"),)


@pytest.mark.parametrize(
    ("fmt", "empty"),
    [
        ("alpaca", {"instruction": "A", "output": " \n"}),
        ("dolly", {"instruction": "A", "context": "", "response": ""}),
        ("messages", {"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": ""}]}),
        ("promptCompletion", {"prompt": "A", "completion": "\t"}),
        ("promptCompletion", {"prompt": [{"role": "assistant", "content": "A"}], "completion": []}),
        ("text", {"text": ""}),
    ],
)
def test_empty_answers_are_left_out_and_counted(tmp_path: Path, fmt: DataFormat, empty: dict[str, Any]) -> None:
    good = {
        "instruction": "A",
        "output": "B",
        "context": "",
        "response": "B",
        "messages": [{"role": "assistant", "content": "B"}],
        "prompt": "A",
        "completion": "B",
        "text": "B",
    }
    parsed = read(tmp_path, fmt, empty, good, empty)
    assert (len(parsed.records), parsed.empty) == (1, 2)
    assert refusal(tmp_path, fmt, empty, empty).startswith("every record (2) has an empty answer or text")


def test_wrong_columns_are_named_with_those_expected_and_the_format_that_fits(tmp_path: Path) -> None:
    row = {"instruction": "A", "context": "", "response": "B", "category": "c"}
    assert refusal(tmp_path, "alpaca", row) == (
        "line 1: the columns are instruction, context, response, category; format alpaca has instruction and output "
        "and optionally input. These look like format: dolly"
    )


@pytest.mark.parametrize(
    ("asked_for", "row", "fitting"),
    [
        ("text", {"prompt": "A", "completion": "B"}, "promptCompletion"),
        ("dolly", {"instruction": "A", "output": "B"}, "alpaca"),
        ("alpaca", SQUAD, "squad"),
        ("squad", {"messages": [{"role": "assistant", "content": "B"}]}, "messages"),
        ("messages", {"text": "A"}, "text"),
    ],
)
def test_the_format_that_fits_is_suggested(
    tmp_path: Path, asked_for: DataFormat, row: dict[str, Any], fitting: str
) -> None:
    assert refusal(tmp_path, asked_for, row).endswith(f". These look like format: {fitting}")


def test_columns_that_fit_no_format_get_no_suggestion(tmp_path: Path) -> None:
    assert refusal(tmp_path, "text", {"question": "A", "answer": "B"}) == (
        "line 1: the columns are question, answer; format text has text"
    )


def test_rows_of_different_columns_are_each_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, "text", {"text": "A"}, {"txt": "B"}, *[{"body": "C"}] * 5)
    assert message.startswith("6 records are not of format text: line 2: the columns are txt; ")
    assert "; line 3, line 4, line 5, line 6: the columns are body; format text has text (and 1 more)" in message


@pytest.mark.parametrize(
    ("fmt", "row", "fault"),
    [
        ("alpaca", {"instruction": "A", "output": 42}, "output is the number 42; it must be a string"),
        ("alpaca", {"instruction": "A", "input": ["x"], "output": "B"}, "input is a list; it must be a string"),
        ("dolly", {"instruction": None, "context": None, "response": "B"}, "instruction is null; it must be a string"),
        ("text", {"text": True}, "text is the boolean true; it must be a string"),
        ("text", {"text": "a\ud800"}, "text holds half a surrogate pair (\\ud800), which is no character"),
        ("messages", {"messages": "Hi"}, "messages is a string; it must be a list"),
        ("messages", {"messages": []}, "there are no messages"),
        ("messages", {"messages": ["Hi"]}, "messages[0] is a string; it must be an object"),
        ("messages", {"messages": [{"content": "Hi"}]}, "messages[0].role is missing"),
        (
            "messages",
            {"messages": [{"role": "assistant", "content": [{"type": "text"}]}]},
            "messages[0].content is a list; it must be a string",
        ),
        (
            "messages",
            {"messages": [{"role": "human", "content": "Hi"}]},
            "messages[0].role is 'human'; it must be system, user or assistant",
        ),
        (
            "messages",
            {"messages": [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]},
            "the last message is from user; it must be from the assistant",
        ),
        (
            "promptCompletion",
            {"prompt": "A", "completion": [{"role": "assistant", "content": "B"}]},
            "prompt is a string and completion is a list; both must be strings, or both lists of messages",
        ),
        (
            "promptCompletion",
            {"prompt": "A", "completion": 7},
            "prompt is a string and completion is the number 7; both must be strings, or both lists of messages",
        ),
        (
            "squad",
            {"paragraphs": [{"context": "C", "qas": [{"id": "1", "question": "Q", "answers": [{"text": 3}]}]}]},
            "paragraphs[0].qas[0].answers[0].text is the number 3; it must be a string",
        ),
        ("squad", {"paragraphs": [{"context": "C"}]}, "paragraphs[0].qas is missing"),
    ],
)
def test_a_wrong_type_is_named_with_line_and_field(
    tmp_path: Path, fmt: DataFormat, row: dict[str, Any], fault: str
) -> None:
    assert refusal(tmp_path, fmt, row) == f"line 1: {fault}"
