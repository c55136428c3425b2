"""A judge makes preferences of pairs: asked in both orders, and never twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.judge import JudgeServer, judge_server, longer
from tests.s3 import BUCKET, S3Server
from tunesmith_api.data import Dataset, TrainingData, ValidationData
from tunesmith_api.finetunejob import DataSummary
from tunesmith_api.judging import API_KEY_VARIABLE, Judge
from tunesmith_runtime.data.judging import Judging, verdicts
from tunesmith_runtime.data.judging.questions import questions, read_verdict
from tunesmith_runtime.data.quality.redaction import redact
from tunesmith_runtime.data.quality.texts import telling, texts
from tunesmith_runtime.data.records import Completion, Conversation, Message, Pair, Preference, Record
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.endpoint import EndpointUnavailableError
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.progress import ProgressReporter

KEY = "sk-very-secret"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", API_KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with judge_server() as running:
        yield running


def rows(count: int) -> list[dict[str, Any]]:
    """Return pairs of which every odd one has its longer answer first, and every fourth a tie."""
    made = []
    for number in range(count):
        short, long = f"Yes, {number}.", f"Yes, that is so for {number}."
        answers = [long, short] if number % 2 else [short, long]
        tie = [f"Yes {number}", f"No. {number}"]
        made.append({"prompt": f"Is it so for {number}?", "responses": tie if number % 4 == 2 else answers})
    return made


def data(folder: Path, pairs: list[dict[str, Any]], **more: Any) -> TrainingData:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return TrainingData(train=(Dataset(name="answers", uri=f"file://{file}", format="pairs"),), **more)


def judging(server: JudgeServer, folder: Path, **settings: Any) -> Judging:
    return Judging(
        Judge(url=server.url, model="wise", **settings),
        f"file://{folder}/checkpoints",
        ProgressReporter(folder / "progress.json"),
    )


def judged(judge: Judging, folder: Path, count: int = 12) -> list[Record]:
    return list(read_training_data(data(folder, rows(count)), judge).train["answers"])


def test_the_better_answer_comes_first_and_ties_are_left_out(server: JudgeServer, tmp_path: Path) -> None:
    judge = judging(server, tmp_path)
    found = judged(judge, tmp_path)

    expected = [
        Preference(
            Completion(f"Is it so for {number}?", f"Yes, that is so for {number}."),
            Completion(f"Is it so for {number}?", f"Yes, {number}."),
        )
        for number in range(12)
        if number % 4 != 2
    ]
    assert found == expected
    summary = judge.counted(DataSummary(records=9))
    assert (summary.judged, summary.dropped.undecided, summary.records) == (12, 3, 9)
    assert ProgressReporter(tmp_path / "progress.json").read().stage == "preparing the data"


def test_a_pair_is_shown_in_both_orders_with_the_criteria(server: JudgeServer, tmp_path: Path) -> None:
    list(judged(judging(server, tmp_path, criteria="Politeness alone.", max_tokens=3), tmp_path, count=2))

    one, other = sorted(question for question in server.questions if "Is it so for 1?" in question)
    assert one.index("Yes, 1.") < one.index("Yes, that is so for 1.")
    assert other.index("Yes, 1.") > other.index("Yes, that is so for 1.")
    assert all("What makes an answer the better one: Politeness alone." in each for each in server.questions)
    assert all(
        {name: value for name, value in request.items() if name != "messages"}
        == {"model": "wise", "temperature": 0.0, "max_tokens": 3}
        for request in server.requests
    )


def test_a_judge_that_always_names_the_first_place_decides_nothing(server: JudgeServer, tmp_path: Path) -> None:
    server.rule = lambda first, second: "A"
    with pytest.raises(DataError, match=r"the judge wise names no better answer in any of 12 pairs\. Give"):
        judged(judging(server, tmp_path), tmp_path)


def test_a_judge_that_talks_is_quoted(server: JudgeServer, tmp_path: Path) -> None:
    server.rule = lambda first, second: "I prefer answer A, as it is longer."
    with pytest.raises(DataError, match=r"It said, for one: 'I prefer answer A, as it is longer\.'"):
        judged(judging(server, tmp_path), tmp_path)


def test_the_order_is_that_of_the_file_however_many_are_asked_at_once(server: JudgeServer, tmp_path: Path) -> None:
    alone = judged(judging(server, tmp_path / "a", max_concurrency=1), tmp_path, count=40)
    together = judged(judging(server, tmp_path / "b", max_concurrency=16), tmp_path, count=40)
    assert alone == together


def test_no_question_is_asked_twice(server: JudgeServer, tmp_path: Path) -> None:
    first = judging(server, tmp_path)
    once = judged(first, tmp_path)
    asked = len(server.questions)
    assert asked == 9 * 2 + 3  # after a tie nobody asks the other way round

    again = judging(server, tmp_path)
    assert judged(again, tmp_path) == once
    assert len(server.questions) == asked
    assert again.counted(DataSummary()) == first.counted(DataSummary())


def test_other_criteria_or_another_model_are_another_question(server: JudgeServer, tmp_path: Path) -> None:
    judged(judging(server, tmp_path), tmp_path, count=2)
    judged(judging(server, tmp_path, criteria="Length."), tmp_path, count=2)
    assert len(server.questions) == 8
    other = Judging(Judge(url=server.url, model="other"), f"file://{tmp_path}/checkpoints")
    judged(other, tmp_path, count=2)
    assert len(server.questions) == 12


def test_a_judge_that_gives_up_in_between_is_asked_for_the_rest_only(server: JudgeServer, tmp_path: Path) -> None:
    server.budget = 10
    with pytest.raises(EndpointUnavailableError, match=r"cannot answer now \(503\): the budget is spent") as raised:
        judged(judging(server, tmp_path, max_retries=1), tmp_path)
    assert raised.value.retryable

    server.budget = None
    assert len(judged(judging(server, tmp_path), tmp_path)) == 9
    assert len(server.questions) == len(set(server.questions)) == 21


def test_a_line_that_was_cut_off_is_asked_again(server: JudgeServer, tmp_path: Path) -> None:
    once = judged(judging(server, tmp_path), tmp_path)
    file = tmp_path / "checkpoints" / verdicts.VERDICTS
    file.write_bytes(file.read_bytes()[:-20])
    for _ in range(2):
        assert judged(judging(server, tmp_path), tmp_path) == once
    assert len(server.questions) == 22


def test_what_passes_is_asked_again(server: JudgeServer, tmp_path: Path) -> None:
    server.refusals = [503, 429, 500]
    assert len(judged(judging(server, tmp_path, max_retries=3), tmp_path)) == 9


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, r"refuses to answer \(401\): no, for the reason 401 .*; give the endpoint's key as TUNESMITH_JUDGE_API"),
        (404, r"refuses to answer \(404\): .*; check spec\.data\.judge\.url and that it has the model wise"),
        (400, r"refuses to answer \(400\): no, for the reason 400"),
    ],
)
def test_a_refusal_ends_the_run_at_once_in_the_judges_words(
    server: JudgeServer, tmp_path: Path, status: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    server.refusals = [status] * 9
    with pytest.raises(ConfigError, match=sentence) as raised:
        judged(judging(server, tmp_path, max_concurrency=1), tmp_path)
    assert raised.value.message.startswith(f"spec.data.judge: {server.url} ")
    assert server.keys == {f"Bearer {KEY}"}
    assert KEY not in raised.value.message  # the endpoint has repeated it


def test_a_judge_that_is_not_there_is_named(server: JudgeServer, tmp_path: Path) -> None:
    gone = Judging(Judge(url="http://127.0.0.1:9/v1", model="wise", max_retries=0), f"file://{tmp_path}/c")
    with pytest.raises(EndpointUnavailableError, match=r"the judge cannot be reached at http://127\.0\.0\.1:9/v1: "):
        judged(gone, tmp_path)


def test_a_page_that_is_no_endpoint_is_told(server: JudgeServer, tmp_path: Path) -> None:
    elsewhere = Judging(Judge(url=server.url.removesuffix("/v1"), model="wise"), f"file://{tmp_path}/checkpoints")
    with pytest.raises(ConfigError, match=r"refuses to answer \(404\): there is no /chat/completions; check"):
        judged(elsewhere, tmp_path)


def test_a_pair_that_the_judge_cannot_read_is_undecided(server: JudgeServer, tmp_path: Path) -> None:
    server.refusals = [413]
    judge = judging(server, tmp_path, max_concurrency=1)
    assert len(judged(judge, tmp_path)) == 8
    assert judge.counted(DataSummary()).dropped.undecided == 4


def test_other_verdicts_are_other_data(server: JudgeServer, tmp_path: Path) -> None:
    def digest(folder: str) -> str:
        records = read_training_data(data(tmp_path, rows(12)), judging(server, tmp_path / folder)).train["answers"]
        list(records)
        return records.digest

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = digest("a")
    assert digest("a") == before
    server.rule = lambda first, second: longer(second, first)
    assert digest("a") == before
    assert digest("b") != before


def test_validation_pairs_are_judged_and_other_formats_are_left_alone(server: JudgeServer, tmp_path: Path) -> None:
    known = tmp_path / "known.jsonl"
    known.write_text(json.dumps({"prompt": "1+1=", "chosen": "2", "rejected": "3"}) + "\n")
    held = data(tmp_path, rows(4)).train[0]
    both = TrainingData(
        train=(Dataset(name="known", uri=f"file://{known}", format="preference"),),
        validation=ValidationData(dataset=Dataset(name="held", uri=held.uri, format="pairs")),
    )
    records = read_training_data(both, judging(server, tmp_path))
    assert records.validation is not None
    assert len(list(records.validation)) == 3
    assert list(records.train["known"]) == [Preference(Completion("1+1=", "2"), Completion("1+1=", "3"))]


def test_verdicts_in_a_bucket(server: JudgeServer, s3: S3Server, tmp_path: Path) -> None:
    def judge() -> Judging:
        return Judging(Judge(url=server.url, model="wise"), f"s3://{BUCKET}/bot-checkpoints")

    once = judged(judge(), tmp_path)
    assert judged(judge(), tmp_path) == once
    assert len(server.questions) == 21


class TestQuestions:
    def test_a_conversation_is_shown_turn_by_turn(self) -> None:
        asked = (Message("system", "Be brief."), Message("user", "Who?"))
        first = Conversation((*asked, Message("assistant", "Ada.")), first_scored=2)
        second = Conversation(
            (*asked, Message("assistant", "What?"), Message("user", "Who!"), Message("assistant", "Bob.")),
            first_scored=2,
        )
        shown, _ = questions(Pair(first, second), "Brevity.")
        assert "<prompt>\nsystem: Be brief.\n\nuser: Who?\n</prompt>" in shown
        assert "<answer_a>\nAda.\n</answer_a>" in shown
        assert "<answer_b>\nassistant: What?\n\nuser: Who!\n\nassistant: Bob.\n</answer_b>" in shown

    @pytest.mark.parametrize(
        ("reply", "verdict"),
        [
            ("A", "A"),
            (" b.\n", "B"),
            ("**TIE**", "TIE"),
            ("(A)", "A"),
            ("<think>B is longer.\nYet A is right.</think>\n\nA", "A"),
            ("", "?"),
            ("A or B", "?"),
            ("A is better", "?"),
            ("Answer B", "?"),
            ("<think>A", "?"),
            ("C", "?"),
        ],
    )
    def test_only_a_single_word_is_a_verdict(self, reply: str, verdict: str) -> None:
        assert read_verdict(reply) == verdict


def test_quality_reads_pairs_as_it_reads_preferences() -> None:
    asked = Completion("Write to me@example.com", " Yes."), Completion("Write to me@example.com", " No.")
    for made in (Pair(*asked), Preference(*asked)):
        assert texts(made) == ("Write to me@example.com", " Yes.", " No.")
        assert telling(made) == " Yes.\n No."
    redacted, _ = redact(Pair(*asked))
    assert redacted == Pair(
        Completion("Write to [EMAIL_ADDRESS]", " Yes."), Completion("Write to [EMAIL_ADDRESS]", " No.")
    )
