"""Each format reads what it says, and refuses what it cannot read with the place, the field and what to do."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tunesmith_api.data import DataFormat, DatasetSource
from tunesmith_runtime.data.formats import FORMATS
from tunesmith_runtime.data.records import (
    Answer,
    Completion,
    Conversation,
    LabelledText,
    Message,
    Pair,
    PlainText,
    Preference,
    Question,
    Rated,
    Record,
    TaggedTokens,
    references,
    shown_prompt,
)
from tunesmith_runtime.data.streams import ParsedDataset, RecordStream, TextRecord, open_records, read_records
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


def source(folder: Path, fmt: DataFormat, *rows: Any, **columns: str) -> DatasetSource:
    path = folder / "records.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return DatasetSource(uri=f"file://{path}", format=fmt, columns=columns)


def stream(folder: Path, fmt: DataFormat, *rows: Any, **columns: str) -> RecordStream:
    return open_records(source(folder, fmt, *rows, **columns))


def records(folder: Path, fmt: DataFormat, *rows: Any, **columns: str) -> list[Record]:
    return list(stream(folder, fmt, *rows, **columns))


def table(folder: Path, fmt: DataFormat, content: str) -> list[Record]:
    (folder / "records.csv").write_text(content)
    return list(open_records(DatasetSource(uri=f"file://{folder}/records.csv", format=fmt)))


def read(folder: Path, fmt: DataFormat, *rows: Any) -> ParsedDataset[TextRecord]:
    return read_records(source(folder, fmt, *rows))


def refusal(folder: Path, fmt: DataFormat, *rows: Any, **columns: str) -> str:
    with pytest.raises(DataError) as raised:
        records(folder, fmt, *rows, **columns)
    assert not raised.value.retryable
    return raised.value.message.partition("records.jsonl")[2].lstrip(": ")


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user" if text.endswith("?") else "assistant", "content": text} for text in texts]


def turns(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(**turn) for turn in said(*texts))


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


MOON = "The Moon orbits Earth every 27.3 days."
ORBIT = Question(
    "1", "What does the Moon orbit?", MOON, (Answer("Earth", 16), Answer("Earth", 16), Answer("orbits Earth", 9))
)


def test_squad_as_published(tmp_path: Path) -> None:
    assert records(tmp_path, "squad", SQUAD) == [ORBIT, Question("2", "Who made it?", MOON, ())]


def test_squad_2_with_questions_that_have_no_answer(tmp_path: Path) -> None:
    unanswerable = {
        "id": "3",
        "question": "What does Earth orbit?",
        "is_impossible": True,
        "answers": [],
        "plausible_answers": [{"text": "Moon", "answer_start": 4}],
    }
    article = {"title": "Moon", "paragraphs": [{"context": MOON, "qas": [unanswerable]}]}
    assert records(tmp_path, "squad", {"version": "v2.0", "data": [article]}) == [
        Question("3", "What does Earth orbit?", MOON, ())
    ]


def test_squad_one_question_to_a_row(tmp_path: Path) -> None:
    row = {"id": "1", "title": "Moon", "context": MOON, "question": ORBIT.question}
    columns = {"text": ["Earth", "Earth", "orbits Earth"], "answer_start": [16, 16, 9]}
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    objects = [{"text": answer.text, "answer_start": answer.start} for answer in ORBIT.answers]
    rows = [row | {"answers": answers} for answers in (columns, objects, none)]
    assert records(tmp_path, "squad", *rows) == [ORBIT, ORBIT, Question("1", ORBIT.question, MOON, ())]
    quoted = json.dumps(columns).replace('"', '""')
    lines = f'id,context,question,answers\n1,{MOON},{ORBIT.question},"{quoted}"\n'
    assert table(tmp_path, "squad", lines) == [ORBIT]


def test_squad_for_evaluation_is_a_chat_with_all_answers_as_references(tmp_path: Path) -> None:
    parsed = read(tmp_path, "squad", SQUAD)
    (record,) = parsed.records
    assert isinstance(record, Conversation)
    assert record.messages[0].content == "What does the Moon orbit?\n\nThe Moon orbits Earth every 27.3 days."
    assert record.messages[1].content == "Earth"
    assert record.references == ("Earth", "orbits Earth")
    assert parsed.empty == 1


def test_squad_without_any_answer_cannot_be_evaluated(tmp_path: Path) -> None:
    row = {"context": MOON, "question": "Why?", "answers": []}
    with pytest.raises(DataError, match=r"every record \(1\) has an empty answer or text"):
        read(tmp_path, "squad", row)


def test_messages(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Ciao")]
    parsed = read(tmp_path, "messages", {"messages": [{"role": role, "content": text} for role, text in turns]})
    (record,) = parsed.records
    assert record == Conversation(tuple(Message(*turn) for turn in turns), ("Ciao",))
    assert isinstance(record, Conversation)
    assert shown_prompt(record) == "system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Bye"


def test_sharegpt(tmp_path: Path) -> None:
    speakers = ["system", "human", "gpt", "user", "chatgpt", "human", "assistant"]
    row = {"id": "1", "conversations": [{"from": speaker, "value": speaker} for speaker in speakers]}
    roles = ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert records(tmp_path, "sharegpt", row) == [
        Conversation(tuple(Message(role, text) for role, text in zip(roles, speakers, strict=True)))
    ]


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


class TestPairs:
    def test_two_answers_to_raw_text(self, tmp_path: Path) -> None:
        expected = Pair(Completion("1+1=", "2"), Completion("1+1=", "3"))
        named = {"prompt": "1+1=", "answerA": "2", "answerB": "3"}
        assert records(tmp_path, "pairs", named, {"prompt": "1+1=", "responses": ["2", "3"]}) == [expected] * 2
        assert table(tmp_path, "pairs", "prompt,answerA,answerB\n1+1=,2,3\n") == [expected]
        assert table(tmp_path, "pairs", 'prompt,responses\n1+1=,"[""2"", ""3""]"\n') == [expected]
        renamed = {"question": "1+1=", "response_a": "2", "response_b": "3"}
        columns = {"prompt": "question", "answerA": "response_a", "answerB": "response_b"}
        assert records(tmp_path, "pairs", renamed, **columns) == [expected]

    def test_messages_are_conversations_scored_from_the_answer_on(self, tmp_path: Path) -> None:
        expected = Pair(
            Conversation(turns("Hi?", "Yes.", "1+1?", "2"), first_scored=3),
            Conversation(turns("Hi?", "Yes.", "1+1?", "3"), first_scored=3),
        )
        prompt = said("Hi?", "Yes.", "1+1?")
        assert (
            records(
                tmp_path,
                "pairs",
                {"prompt": prompt, "responses": [said("2"), said("3")]},
                {"prompt": prompt, "answerA": "2", "answerB": "3"},
            )
            == [expected] * 2
        )

    @pytest.mark.parametrize("answers", [["2", "2"], ["", "2"], ["2", " \n"]])
    def test_answers_that_are_empty_or_the_same_are_left_out(self, tmp_path: Path, answers: list[str]) -> None:
        found = stream(
            tmp_path, "pairs", {"prompt": "A", "responses": answers}, {"prompt": "A", "responses": ["2", "3"]}
        )
        assert (len(list(found)), found.empty) == (1, 1)

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            ({"prompt": "A", "responses": ["2", "3", "4"]}, "responses has 3 answers; a pair has two"),
            ({"prompt": "A", "responses": "2"}, "responses is a string; it must be a list"),
            ({"prompt": " ", "responses": ["2", "3"]}, "prompt is empty"),
            ({"prompt": [], "responses": ["2", "3"]}, "prompt is empty"),
            (
                {"prompt": "A", "answerA": "2", "answerB": 3},
                "prompt is a string and answerB is the number 3; both must be strings, or the prompt a "
                "list of messages",
            ),
            (
                {"prompt": [{"role": "user", "content": "A"}], "responses": ["2", [{"role": "user", "content": "B"}]]},
                "the last message of responses[1] is from user; it must be from the assistant",
            ),
            (
                {"prompt": "A", "answerA": "2"},
                "the columns are prompt, answerA; format pairs has prompt, answerA and answerB, or prompt and "
                "responses,",
            ),
        ],
    )
    def test_what_is_no_pair(self, tmp_path: Path, row: dict[str, Any], fault: str) -> None:
        assert refusal(tmp_path, "pairs", row) == f"line 1: {fault}"

    def test_preferences_are_suggested_to_those_who_have_them(self, tmp_path: Path) -> None:
        row = {"prompt": "A", "answerA": "2", "answerB": "3"}
        assert refusal(tmp_path, "preference", row).endswith(". These look like format: pairs")


class TestPreference:
    def test_strings_are_raw_text(self, tmp_path: Path) -> None:
        row = {"prompt": "1+1=", "chosen": "2", "rejected": "3", "margin": 1}
        assert records(tmp_path, "preference", row) == [Preference(Completion("1+1=", "2"), Completion("1+1=", "3"))]
        assert table(tmp_path, "preference", "prompt,chosen,rejected\n1+1=,2,3\n") == [
            Preference(Completion("1+1=", "2"), Completion("1+1=", "3"))
        ]

    def test_messages_are_conversations_scored_from_the_answer_on(self, tmp_path: Path) -> None:
        row = {"prompt": said("Hi?", "Yes.", "1+1?"), "chosen": said("2"), "rejected": said("3", "Sure?", "No.")}
        assert records(tmp_path, "preference", row) == [
            Preference(
                Conversation(turns("Hi?", "Yes.", "1+1?", "2"), first_scored=3),
                Conversation(turns("Hi?", "Yes.", "1+1?", "3", "Sure?", "No."), first_scored=3),
            )
        ]

    @pytest.mark.parametrize("prompt", [{}, {"prompt": None}, {"prompt": "1+1?"}])
    def test_whole_conversations_share_their_prompt(self, tmp_path: Path, prompt: dict[str, Any]) -> None:
        row = prompt | {"chosen": said("Hi?", "Yes.", "1+1?", "2"), "rejected": said("Hi?", "Yes.", "1+1?", "3")}
        assert records(tmp_path, "preference", row) == [
            Preference(
                Conversation(turns("Hi?", "Yes.", "1+1?", "2"), first_scored=3),
                Conversation(turns("Hi?", "Yes.", "1+1?", "3"), first_scored=3),
            )
        ]

    def test_whole_texts_share_their_prompt_up_to_a_whole_word(self, tmp_path: Path) -> None:
        row = {"chosen": "Human: Sky?\n\nAssistant: It is blue.", "rejected": "Human: Sky?\n\nAssistant: It is bland."}
        asked = "Human: Sky?\n\nAssistant: It is"
        assert records(tmp_path, "preference", row) == [
            Preference(Completion(asked, " blue."), Completion(asked, " bland."))
        ]

    @pytest.mark.parametrize(
        "row",
        [
            {"prompt": "A", "chosen": "B", "rejected": "B"},
            {"prompt": "A", "chosen": " ", "rejected": "B"},
            {"prompt": "A", "chosen": "B", "rejected": ""},
            {"prompt": said("A?"), "chosen": said("B"), "rejected": said("B")},
            {"prompt": said("A?"), "chosen": said("B"), "rejected": said(" ")},
            {"chosen": said("A?", "B"), "rejected": said("A?", "B")},
        ],
    )
    def test_answers_that_are_empty_or_the_same_are_left_out(self, tmp_path: Path, row: dict[str, Any]) -> None:
        good = {"prompt": "A", "chosen": "B", "rejected": "C"}
        found = stream(tmp_path, "preference", row, good)
        assert (len(list(found)), found.empty) == (1, 1)

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            (
                {"prompt": "A", "chosen": "B", "rejected": said("C")},
                "prompt is a string, chosen is a string and rejected is a list; "
                "all must be strings, or all lists of messages",
            ),
            (
                {"chosen": 1, "rejected": "C"},
                "chosen is the number 1 and rejected is a string; all must be strings, or all lists of messages",
            ),
            (
                {"prompt": "A?", "chosen": said("B"), "rejected": said("C")},
                "prompt is a string, and chosen and rejected do not both begin with it as a message; "
                "write prompt as a list of messages, or leave it out of whole conversations",
            ),
            (
                {"chosen": said("A?", "B"), "rejected": said("B?", "C")},
                "there is no prompt: the column is missing or empty, and chosen and rejected begin differently",
            ),
            (
                {"chosen": "yes", "rejected": "no"},
                "there is no prompt: the column is missing or empty, and chosen and rejected begin differently",
            ),
            (
                {"prompt": said("A?"), "chosen": said("B"), "rejected": said("C?")},
                "the last message of rejected is from user; it must be from the assistant",
            ),
            (
                {"prompt": said("A?"), "chosen": [{"role": "tool", "content": "B"}], "rejected": said("C")},
                "chosen[0].role is 'tool'; it must be system, user or assistant",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, row: dict[str, Any], fault: str) -> None:
        assert refusal(tmp_path, "preference", row) == f"line 1: {fault}"


class TestKto:
    def test_an_answer_is_wanted_or_not(self, tmp_path: Path) -> None:
        rows = [
            {"prompt": "1+1=", "completion": "2", "label": True},
            {"prompt": said("1+1?"), "completion": said("3"), "label": False},
        ]
        assert records(tmp_path, "kto", *rows) == [
            Rated(Completion("1+1=", "2"), desirable=True),
            Rated(Conversation(turns("1+1?", "3"), first_scored=1), desirable=False),
        ]

    def test_in_a_csv_file(self, tmp_path: Path) -> None:
        rows = table(tmp_path, "kto", "prompt,completion,label\na,b,True\na,c,0\n")
        assert rows == [Rated(Completion("a", "b"), desirable=True), Rated(Completion("a", "c"), desirable=False)]
        with pytest.raises(DataError, match="line 2: label is a string; it must be true or false"):
            table(tmp_path, "kto", "prompt,completion,label\na,b,good\n")

    def test_empty_answers_are_left_out(self, tmp_path: Path) -> None:
        row = {"prompt": "A", "completion": "B", "label": True}
        found = stream(tmp_path, "kto", row, row | {"completion": ""})
        assert (len(list(found)), found.empty) == (1, 1)

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            ({"label": 1}, "label is the number 1; it must be true or false"),
            ({"label": "good"}, "label is a string; it must be true or false"),
            (
                {"prompt": []},
                "prompt is a list and completion is a string; both must be strings, or both lists of messages",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, row: dict[str, Any], fault: str) -> None:
        good = {"prompt": "A", "completion": "B", "label": True}
        assert refusal(tmp_path, "kto", good | row) == f"line 1: {fault}"


class TestTextClassification:
    @pytest.mark.parametrize(
        ("label", "found"),
        [
            ("good", "good"),
            (3, "3"),
            (True, "true"),
            (0.5, 0.5),
            (4.0, 4.0),
            (["a", "b"], ("a", "b")),
            ([2, 0], ("2", "0")),
            ([], ()),
        ],
    )
    def test_a_label_is_a_class_several_or_a_number(self, tmp_path: Path, label: object, found: object) -> None:
        (record,) = records(tmp_path, "textClassification", {"text": "A", "label": label})
        assert isinstance(record, LabelledText)
        assert (record.text, record.text_pair, record.label) == ("A", None, found)
        assert type(record.label) is type(found)

    def test_a_pair_of_texts(self, tmp_path: Path) -> None:
        row = {"text": "A", "text_pair": "B", "label": "same"}
        assert records(tmp_path, "textClassification", row, row | {"text_pair": None}) == [
            LabelledText("A", "B", "same"),
            LabelledText("A", None, "same"),
        ]

    def test_in_a_csv_file_a_decimal_point_makes_a_number(self, tmp_path: Path) -> None:
        lines = "text,label\na,1\nb,4.5\nc,-.5\nd,1.0e3\ne,v1.0\nf,nan\n1.5,x\n"
        found = [each for each in table(tmp_path, "textClassification", lines) if isinstance(each, LabelledText)]
        assert [(each.text, each.label) for each in found] == [
            ("a", "1"),
            ("b", 4.5),
            ("c", -0.5),
            ("d", 1000.0),
            ("e", "v1.0"),
            ("f", "nan"),
            ("1.5", "x"),
        ]

    def test_empty_texts_are_left_out(self, tmp_path: Path) -> None:
        found = stream(tmp_path, "textClassification", {"text": " ", "label": 1}, {"text": "A", "label": 1})
        assert (len(list(found)), found.empty) == (1, 1)

    @pytest.mark.parametrize(
        ("label", "fault"),
        [
            (None, "label is null; it must be a string or a whole number"),
            ("", "label is empty; it must name a class"),
            (float("nan"), "label is nan; it must be a number that is finite"),
            ({"a": 1}, "label is an object; it must be a string or a whole number"),
            (["a", 0.5], "label[1] is the number 0.5; it must be a string or a whole number"),
            ([0, 1, 0], "label names 0 twice; a list holds the classes of the text, each once"),
        ],
    )
    def test_what_is_no_label_is_named(self, tmp_path: Path, label: object, fault: str) -> None:
        assert refusal(tmp_path, "textClassification", {"text": "A", "label": label}) == f"line 1: {fault}"

    def test_texts_are_strings(self, tmp_path: Path) -> None:
        row = {"text": "A", "text_pair": 3, "label": "x"}
        assert refusal(tmp_path, "textClassification", row) == "line 1: text_pair is the number 3; it must be a string"


class TestTokenClassification:
    def test_each_token_has_a_tag(self, tmp_path: Path) -> None:
        rows = [{"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}, {"tokens": ["Ada"], "tags": [1]}]
        assert records(tmp_path, "tokenClassification", *rows) == [
            TaggedTokens(("Ada", "wrote"), ("B-PER", "O")),
            TaggedTokens(("Ada",), ("1",)),
        ]
        lines = 'tokens,tags\n"[""Ada"", ""wrote""]","[1, 0]"\n'
        assert table(tmp_path, "tokenClassification", lines) == [TaggedTokens(("Ada", "wrote"), ("1", "0"))]

    def test_sentences_without_words_are_left_out(self, tmp_path: Path) -> None:
        found = stream(tmp_path, "tokenClassification", {"tokens": [], "tags": []}, {"tokens": ["A"], "tags": ["O"]})
        assert (len(list(found)), found.empty) == (1, 1)

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            ({"tokens": ["A", "B"], "tags": ["O"]}, "there are 2 tokens and 1 tags; give each token one tag"),
            ({"tokens": "A B", "tags": ["O"]}, "tokens is a string; it must be a list"),
            ({"tokens": ["A", 2], "tags": ["O", "O"]}, "tokens[1] is the number 2; it must be a string"),
            ({"tokens": ["A"], "tags": [None]}, "tags[0] is null; it must be a string or a whole number"),
            ({"tokens": ["A"], "tags": [""]}, "tags[0] is empty; it must name a class"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, row: dict[str, Any], fault: str) -> None:
        assert refusal(tmp_path, "tokenClassification", row) == f"line 1: {fault}"


class TestColumns:
    def test_columns_are_read_by_the_files_own_names(self, tmp_path: Path) -> None:
        row = {"ask": "A", "say": "B", "more": 1}
        assert records(tmp_path, "alpaca", row, instruction="ask", output="say") == [asked("A", "B")]

    def test_two_columns_can_change_places(self, tmp_path: Path) -> None:
        row = {"instruction": "B", "output": "A"}
        assert records(tmp_path, "alpaca", row, instruction="output", output="instruction") == [asked("A", "B")]

    def test_a_column_of_the_formats_name_gives_way(self, tmp_path: Path) -> None:
        row = {"text": "old", "body": "new"}
        assert records(tmp_path, "text", row, text="body") == [PlainText("new")]

    def test_parquet_and_csv_know_them_too(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("body,id\nnew,1\n")
        parquet.write_table(pyarrow.table({"id": [1], "body": ["new"]}), tmp_path / "b.parquet")
        source = DatasetSource(uri=f"file://{tmp_path}", format="text", columns={"text": "body"})
        assert list(open_records(source)) == [PlainText("new")] * 2

    def test_a_column_that_the_format_does_not_have_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as raised:
            stream(tmp_path, "alpaca", {"answer": "A"}, answer="output", instruction="question")
        assert raised.value.message.endswith(
            "columns names answer, and format alpaca has instruction, output and input; "
            "write the format's column first, then the dataset's"
        )

    def test_a_column_that_the_file_does_not_have_is_refused(self, tmp_path: Path) -> None:
        message = refusal(tmp_path, "messages", {"dialog": [], "id": 1}, messages="turns")
        assert message == "line 1: there is no column turns, which columns reads as messages; there are dialog, id"

    def test_an_optional_column_must_be_in_one_record_at_least(self, tmp_path: Path) -> None:
        rows = [{"instruction": "A", "output": "B"}, {"instruction": "A", "output": "B", "ctx": "C"}]
        assert records(tmp_path, "alpaca", *rows, input="ctx") == [asked("A", "B"), asked("A\n\nC", "B")]
        message = refusal(tmp_path, "alpaca", rows[0], input="ctx")
        assert message == "columns names ctx, and no record has it; there are instruction, output"

    def test_only_the_columns_that_are_needed_are_read_from_parquet(self, tmp_path: Path) -> None:
        # The year 38,500 cannot become a value of Python.
        far = pyarrow.array([2**60], pyarrow.int64()).cast(pyarrow.timestamp("us"))
        parquet.write_table(pyarrow.table({"text": ["A"], "when": far}), tmp_path / "a.parquet")
        assert list(open_records(DatasetSource(uri=f"file://{tmp_path}/a.parquet", format="text"))) == [PlainText("A")]

    def test_of_parquet_all_columns_are_named_when_those_needed_are_not_there(self, tmp_path: Path) -> None:
        parquet.write_table(
            pyarrow.table({"input": ["A"], "prompt": ["B"], "completion": ["C"]}), tmp_path / "a.parquet"
        )
        with pytest.raises(DataError) as raised:
            list(open_records(DatasetSource(uri=f"file://{tmp_path}/a.parquet", format="alpaca")))
        assert raised.value.message.endswith(
            "row 1: the columns are input, prompt, completion; format alpaca has instruction and output and optionally "
            "input. These look like format: promptCompletion"
        )


def test_a_stream_is_read_anew_each_time_and_counts_when_it_is_through(tmp_path: Path) -> None:
    found = stream(tmp_path, "text", {"text": "A"}, {"text": ""}, {"text": "B"})
    assert next(iter(found)) == PlainText("A")
    assert found.empty == 0
    for _ in range(2):
        assert list(found) == [PlainText("A"), PlainText("B")]
        assert found.empty == 1
    assert found.format == "text"
    assert len(found.digest) == 64


def test_records_come_before_the_faults_that_are_named_at_the_end(tmp_path: Path) -> None:
    found = iter(stream(tmp_path, "text", {"text": 1}, {"text": "A"}, {"text": 2}))
    assert next(found) == PlainText("A")
    with pytest.raises(DataError, match=r"2 records are not of format text: line 1: text is the number 1.*; line 3: "):
        next(found)


def test_what_has_no_text_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="records of format kto have no text to evaluate"):
        read(tmp_path, "kto", {"prompt": "A", "completion": "B", "label": True})


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
    found = stream(tmp_path, fmt, empty, good, empty)
    assert (len(list(found)), found.empty) == (1, 2)
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
        ("messages", {"conversations": [{"from": "gpt", "value": "B"}]}, "sharegpt"),
        ("text", {"prompt": "A", "completion": "B", "label": True}, "kto"),
        ("messages", {"text": "A", "label": 1}, "textClassification"),
        ("text", {"tokens": ["A"], "tags": ["O"]}, "tokenClassification"),
        ("messages", {"prompt": "A", "chosen": "B", "rejected": "C"}, "preference"),
        ("text", {"context": "A", "question": "B", "answers": []}, "squad"),
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
            {"paragraphs": [{"context": "C", "qas": [{"question": "Q", "answers": [{"text": 3, "answer_start": 0}]}]}]},
            "paragraphs[0].qas[0].answers[0].text is the number 3; it must be a string",
        ),
        ("squad", {"paragraphs": [{"context": "C"}]}, "paragraphs[0].qas is missing"),
        (
            "squad",
            {"context": "A bee", "question": "Q", "answers": {"text": ["bee"], "answer_start": [1]}},
            "answers[0]: the context has ' be' at answer_start 1, not 'bee'; answer_start counts characters from 0",
        ),
        (
            "squad",
            {"context": "A bee", "question": "Q", "answers": {"text": ["bee" * 20], "answer_start": [-1]}},
            f"answers[0]: the context has nothing at answer_start -1, not '{('bee' * 20)[:40]}...'; "
            "answer_start counts characters from 0",
        ),
        (
            "squad",
            {"context": "A bee", "question": "Q", "answers": {"text": ["bee"], "answer_start": ["2"]}},
            "answers[0].answer_start is a string; it must be a whole number",
        ),
        (
            "squad",
            {"context": "A bee", "question": "Q", "answers": {"text": ["bee"], "answer_start": []}},
            "answers has 1 in text and 0 in answer_start; give one for each",
        ),
        (
            "squad",
            {"context": "A bee", "question": "Q", "answers": [{"text": "bee"}]},
            "answers[0].answer_start is missing",
        ),
        ("squad", {"context": "A bee", "question": "Q", "answers": "bee"}, "answers is a string; it must be a list"),
        (
            "sharegpt",
            {"conversations": [{"from": "tool", "value": "4"}]},
            "conversations[0].from is 'tool'; it must be system, human, user, gpt, chatgpt or assistant",
        ),
        ("sharegpt", {"conversations": [{"from": "gpt"}]}, "conversations[0].value is missing"),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "Hi"}]},
            "the last message is from user; it must be from the assistant",
        ),
    ],
)
def test_a_wrong_type_is_named_with_line_and_field(
    tmp_path: Path, fmt: DataFormat, row: dict[str, Any], fault: str
) -> None:
    assert refusal(tmp_path, fmt, row) == f"line 1: {fault}"
