"""What people said of answers is joined with the answers, and becomes what a method learns from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.data import TrainingData
from tunesmith_api.serving.capture import CaptureFormat
from tunesmith_api.training import MethodType
from tunesmith_runtime.data.feedback import Feedback
from tunesmith_runtime.data.kinds import RecordSource
from tunesmith_runtime.data.records import Completion, Conversation, Message, Preference, Rated, Record
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.serve.gateway import captured

Row = dict[str, Any]


def exchange(request: str, question: str = "When do you open?", answer: str = "At ten.", **more: Any) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": request, "messages": messages, "truncated": False, **more}


def feedback(request: str, rating: float, correction: str | None = None, at: int = 0) -> Row:
    time = f"2026-11-22T10:00:{at:02}.000+00:00"
    return {"requestId": request, "time": time, "rating": rating, "correction": correction, "comment": None}


def chat(*turns: str) -> Conversation:
    roles = ("user", "assistant") * len(turns)
    messages = tuple(Message(role, text) for role, text in zip(roles, turns, strict=False))
    return Conversation(messages, first_scored=len(turns) - 1)


def capture(
    folder: Path, exchanges: Sequence[Row], said: Sequence[Row], file: str = "a", form: CaptureFormat = "jsonl"
) -> None:
    if exchanges:
        captured.write(exchanges, "exchanges", f"file://{folder}", file, form)
    if said:
        captured.write(said, "feedback", f"file://{folder}", file, form)


def source(folder: Path, method: MethodType = "sft", checkpoints: Path | None = None) -> RecordSource:
    dataset = {"name": "said", "uri": f"file://{folder}", "format": "feedback"}
    data = TrainingData.model_validate_json(json.dumps({"train": [dataset]}))
    kept = f"file://{checkpoints}" if checkpoints else None
    return read_training_data(data, feedback=Feedback(method, kept)).train["said"]


def learnt(folder: Path, method: MethodType = "sft", checkpoints: Path | None = None) -> list[Record]:
    return list(source(folder, method, checkpoints))


def refusal(folder: Path, method: MethodType = "sft", checkpoints: Path | None = None) -> str:
    with pytest.raises(DataError) as raised:
        learnt(folder, method, checkpoints)
    assert not raised.value.retryable
    return raised.value.message


ASKED = "When do you open?"
KEPT = [exchange("r1"), exchange("r2", "Do you mend tyres?", "Yes."), exchange("r3", "Who are you?", "No idea.")]
SAID = [feedback("r1", -1, "At nine."), feedback("r2", 1), feedback("r3", -1), feedback("r4", 1)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_each_method_learns_in_its_own_way(tmp_path: Path, form: CaptureFormat) -> None:
    capture(tmp_path, [*KEPT, exchange("r5", "Nobody spoke of this.", "True.")], SAID, form=form)

    corrected, liked = chat(ASKED, "At nine."), chat("Do you mend tyres?", "Yes.")
    assert learnt(tmp_path) == [corrected, liked]
    for method in ("dpo", "orpo", "rm"):
        assert learnt(tmp_path, method) == [Preference(corrected, chat(ASKED, "At ten."))]
    assert learnt(tmp_path, "kto") == [
        Rated(chat(ASKED, "At ten."), False),
        Rated(liked, True),
        Rated(chat("Who are you?", "No idea."), False),
    ]
    records = source(tmp_path)
    assert (len(list(records)), records.empty) == (2, 1)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_completions_beside_chats(tmp_path: Path, form: CaptureFormat) -> None:
    raw = {"id": "r2", "prompt": "We open at", "completion": " ten.", "truncated": False}
    capture(tmp_path, [KEPT[0], raw], [feedback("r1", 1), feedback("r2", -1, " nine.")], form=form)

    assert learnt(tmp_path) == [chat(ASKED, "At ten."), Completion("We open at", " nine.")]


def test_the_newest_feedback_counts_wherever_it_stands(tmp_path: Path) -> None:
    capture(tmp_path, KEPT[:1], [feedback("r1", -1, "At eight.", at=5), feedback("r1", -1, "At nine.", at=40)])
    capture(tmp_path, [], [feedback("r1", 1, "At noon.", at=7)], file="b")

    assert learnt(tmp_path) == [chat(ASKED, "At nine.")]


def test_the_last_exchange_with_an_id_counts(tmp_path: Path) -> None:
    capture(tmp_path, [exchange("mine", "First?", "1"), exchange("mine", "Second?", "2")], [feedback("mine", 1)])

    assert learnt(tmp_path) == [chat("Second?", "2")]


def test_only_the_answer_that_was_spoken_of_is_learnt(tmp_path: Path) -> None:
    talk = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Are you "}, {"type": "text", "text": "there?"}]},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "When do you open?"},
        {"role": "assistant", "content": "At ten."},
    ]
    capture(tmp_path, [exchange("r1", messages=talk)], [feedback("r1", -1, "At nine.")])

    (record,) = learnt(tmp_path)
    assert isinstance(record, Conversation)
    assert [each.content for each in record.messages] == ["Be kind.", "Are you there?", "Yes.", ASKED, "At nine."]
    assert (record.messages[0].role, record.first_scored) == ("system", 4)


def test_what_is_no_whole_text_is_left_out(tmp_path: Path) -> None:
    picture = [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "A cat."}]
    call = [{"role": "user", "content": "Look!"}, {"role": "assistant", "content": "", "tool_calls": [{}]}]
    odd = [
        exchange("r2", messages=picture),
        exchange("r3", messages=call),
        exchange("r4", truncated=True),
        {"id": "r5", "prompt": ["a", "b"], "completion": "c"},
    ]
    capture(tmp_path, [KEPT[0], *odd], [feedback(f"r{number}", 1) for number in range(1, 6)])

    assert learnt(tmp_path) == [chat(ASKED, "At ten.")]


def test_an_empty_answer_can_be_corrected(tmp_path: Path) -> None:
    capture(tmp_path, [exchange("r1", answer="")], [feedback("r1", -1, "At nine.")])

    assert learnt(tmp_path) == [chat(ASKED, "At nine.")]
    assert "a correction that differs from the answer" in refusal(tmp_path, "dpo")


def test_what_was_redacted_stays_so(tmp_path: Path) -> None:
    said = captured.CapturedFeedback(feedback("r1", -1, "Write to ann@example.com."))
    capture(tmp_path, KEPT[:1], [captured.finished(said, redact=True)])

    assert learnt(tmp_path) == [chat(ASKED, "Write to [EMAIL_ADDRESS].")]


def test_folders_without_anything_to_learn_are_refused(tmp_path: Path) -> None:
    capture(tmp_path, KEPT, [])
    assert f"file://{tmp_path}/feedback holds no files: nobody has given feedback yet" in refusal(tmp_path)

    capture(tmp_path, [], [feedback("r9", 1)])
    assert "1 requests have feedback, and of none of them is there an exchange" in refusal(tmp_path)

    capture(tmp_path, [], [feedback("r1", 0)], file="b")
    assert refusal(tmp_path).endswith(
        "none of 1 answers with feedback has a correction or a rating above 0, which is what method sft learns from"
    )
    assert refusal(tmp_path, "kto").endswith("a rating above or below 0, which is what method kto learns from")


def test_a_later_attempt_reads_what_the_first_one_read(tmp_path: Path) -> None:
    folder, checkpoints = tmp_path / "traffic", tmp_path / "checkpoints"
    checkpoints.mkdir()
    capture(folder, KEPT, SAID[:1])
    first = source(folder, checkpoints=checkpoints)
    seen = list(first)

    capture(folder, [exchange("r7", "More?", "Yes.")], [feedback("r7", 1), feedback("r1", 1, "At noon.", at=50)], "b")
    again = source(folder, checkpoints=checkpoints)
    assert (list(again), again.digest) == (seen, first.digest)
    assert len(learnt(folder)) == 2

    next((folder / "feedback").rglob("a.jsonl")).unlink()
    assert "1 files that the first attempt read are gone, such as feedback/" in refusal(folder, checkpoints=checkpoints)
    (tmp_path / "elsewhere").mkdir()
    assert f"the first attempt read the feedback below file://{folder}" in refusal(
        tmp_path / "elsewhere", checkpoints=checkpoints
    )


def test_files_in_the_format_itself(tmp_path: Path) -> None:
    table = tmp_path / "said.csv"
    table.write_text("prompt,completion,rating,correction\nOpen?,Ten.,-1,Nine.\nTyres?,Yes.,0.5,\n")
    assert learnt(table, "kto") == [
        Rated(Completion("Open?", "Ten."), False),
        Rated(Completion("Tyres?", "Yes."), True),
    ]

    table.write_text("prompt,completion,rating\nOpen?,Ten.,7\n")
    assert "line 2: rating is 7.0; it must be a number from -1 to 1" in refusal(table)
    table.write_text("prompt,completion,rating\nOpen?,Ten.,good\n")
    assert "rating is a string; it must be a number from -1 to 1" in refusal(table)
