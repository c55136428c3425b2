"""Exchanges and feedback land on storage, without personal data, and cost nobody time."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.gateways import CHAT, engine, gateway, story, upstream
from tests.s3 import BUCKET, S3Server, use
from tunesmith_runtime.data.formats import parse
from tunesmith_runtime.data.rows import Row
from tunesmith_runtime.serve.gateway import captured, reassembling, writing
from tunesmith_runtime.serve.gateway.logs import say
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.records import Records

MAIL = {"role": "user", "content": "I am jane@example.com"}


@pytest.fixture(autouse=True)
def _volumes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(folder))


def kept(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((folder / "data" / "traffic" / kind).glob("*/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@story
async def test_whole_and_streamed_answers_are_kept_alike(folder: Path) -> None:
    capture = {"uri": "pvc://data/traffic"}
    async with engine() as stable, gateway(folder, upstream(4, stable), capture=capture) as served:
        await served.ask(CHAT | {"messages": [MAIL], "temperature": 0.5}, x_request_id="first")
        await served.ask(CHAT | {"messages": [MAIL], "stream": True}, x_request_id="second")
        await served.ask({"model": "bot", "prompt": "Once"}, path="/v1/completions")
        await served.ask({"model": "bot", "input": "Once"}, path="/v1/embeddings")
        await served.ask({"model": "bot"})
    first, second, completed = kept(folder, "exchanges")
    messages = [
        {"role": "user", "content": "I am [EMAIL_ADDRESS]"},
        {"role": "assistant", "content": "stable answers you"},
    ]
    assert (first["id"], second["id"]) == ("first", "second")
    assert first["messages"] == second["messages"] == messages
    assert (first["revision"], first["status"], first["key"]) == (4, 200, None)
    assert (first["promptTokens"], first["completionTokens"]) == (7, 3)
    assert first["request"] == {"model": "bot", "temperature": 0.5}
    assert (completed["prompt"], completed["completion"]) == ("Once", "stable answers you")
    # A FineTuneJob can learn from them as they are.
    assert parse("messages", Row("line 1", first))[0] is not None


@story
async def test_feedback_is_kept_by_the_id_of_the_answer(folder: Path) -> None:
    capture = {"uri": "pvc://data/traffic", "sample": 0}
    async with engine() as stable, gateway(folder, upstream(1, stable), capture=capture) as served:
        identifier = (await served.ask()).headers["x-request-id"]
        given = {"request_id": identifier, "rating": "up", "correction": "Ask bob@example.com"}
        taken = await served.ask(given, path="/v1/feedback")
        assert (taken.status, taken.json["request_id"]) == (202, identifier)
        await served.ask({"request_id": "unknown-1", "rating": -0.5}, path="/v1/feedback")
        for wrong in ({"request_id": "a b", "rating": "up"}, {"request_id": "a", "rating": 2}, {"rating": "up"}):
            assert (await served.ask(wrong, path="/v1/feedback")).status == 400
    assert not kept(folder, "exchanges")
    first, second = kept(folder, "feedback")
    assert (first["requestId"], first["rating"], first["correction"]) == (identifier, 1.0, "Ask [EMAIL_ADDRESS]")
    assert (second["requestId"], second["rating"]) == ("unknown-1", -0.5)


@story
async def test_without_capture_feedback_has_no_place(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        refused = await served.ask({"request_id": "a", "rating": "up"}, path="/v1/feedback")
        assert (refused.status, refused.code) == (404, "feedback_not_kept")


@story
async def test_parquet_has_a_column_for_each_field(folder: Path) -> None:
    capture = {"uri": "pvc://data/traffic", "format": "parquet", "redactPii": False}
    async with engine() as stable, gateway(folder, upstream(1, stable), capture=capture) as served:
        await served.ask(CHAT | {"messages": [MAIL]})
        await served.ask(CHAT | {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]})
        await served.ask(CHAT | {"messages": [{"role": "user", "content": "\ud800"}]})
        await served.ask({"request_id": "a", "rating": 1}, path="/v1/feedback")
    (file,) = (folder / "data" / "traffic" / "exchanges").glob("*/*.parquet")
    first, second, third = parquet.read_table(file).to_pylist()
    assert first["messages"][0] == MAIL
    assert json.loads(second["messages"][0]["content"]) == [{"type": "text", "text": "Hi"}]
    assert third["messages"][0]["content"] == "?"
    assert json.loads(first["request"]) == {"model": "bot"}


def test_exchanges_land_in_buckets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3Server()
    server.start()
    use(monkeypatch, server)
    folder_uri = f"s3://{BUCKET}/traffic"
    captured.write([{"id": "first"}], "exchanges", folder_uri, "part-1", "jsonl")
    (name,) = server.names("traffic")
    assert name.startswith("exchanges/20")
    assert name.endswith("/part-1.jsonl")
    assert json.loads(server.read(f"traffic/{name}")) == {"id": "first"}
    server.empty()
    server.stop()


@story
async def test_what_cannot_be_written_is_tried_again_and_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tunesmith_runtime.serve.gateway.records.MOST_BYTES", 3000)
    (folder / "data").write_text("in the way")
    capture = {"uri": "pvc://data/traffic"}
    async with engine() as stable, gateway(folder, upstream(1, stable), capture=capture) as served:
        for _ in range(5):
            assert (await served.ask()).status == 200
        exposed = (await served.get("/metrics")).body.decode()
        assert 'capture_records_total{outcome="dropped"} 3.0' in exposed
    said = capsys.readouterr().out
    assert "what is captured cannot be written to pvc://data/traffic, trying again" in said
    assert "records were lost: they could not be written before the end" in said


def test_parts_are_written_as_they_fill_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_runtime.serve.gateway.records.PART_BYTES", 2000)

    async def story() -> None:
        capture = {"uri": "pvc://data/traffic"}
        async with engine() as stable, gateway(folder, upstream(1, stable), capture=capture) as served:
            for _ in range(4):
                await served.ask()
            async with asyncio.timeout(10):
                while len(kept(folder, "exchanges")) < 2:
                    await asyncio.sleep(0.01)

    asyncio.run(story())
    assert len(kept(folder, "exchanges")) == 4
    assert Records(Metrics(), say).wants(None) is False


@story
async def test_contents_are_logged_only_when_asked_and_without_personal_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        await served.ask(CHAT | {"messages": [MAIL]})
        await served.takes_up(upstream(1, stable), logContents=True)
        said = capsys.readouterr().out
        assert "I am" not in said
        assert "answers you" not in said
        await served.ask(CHAT | {"messages": [MAIL]})
    said = capsys.readouterr().out
    assert "I am [EMAIL_ADDRESS]" in said
    assert "stable answers you" in said
    assert "jane@" not in said


def test_records_that_cannot_be_written_do_not_keep_others_back(folder: Path) -> None:
    def part(body: str) -> bytes:
        head = {"kind": "exchanges", "capture": {"uri": "pvc://data/traffic"}, "file": "part", "records": 1}
        return b"".join(json.dumps(each).encode() + b"\n" for each in (head, {"facts": {}, "body": body, "answer": ""}))

    answers = io.BytesIO()
    writing.carry_out(io.BytesIO(part("nonsense") + part('{"prompt": "Once"}')), answers)
    first, second = map(json.loads, answers.getvalue().splitlines())
    assert (first["again"], first["error"][:15]) == (False, "JSONDecodeError")
    assert second["error"] is None
    assert [each["prompt"] for each in kept(folder, "exchanges")] == ["Once"]


def test_streamed_tool_calls_and_several_answers_are_put_together() -> None:
    def event(*choices: Any) -> bytes:
        return b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"

    def call(**parts: Any) -> dict[str, Any]:
        return {"index": 0, "delta": {"tool_calls": [{"index": 0, **parts}]}}

    stream = (
        event({"index": 1, "delta": {"role": "assistant", "content": "b"}})
        + event(call(id="c1", function={"name": "look", "arguments": '{"a'}))
        + event(call(function={"arguments": '": 1}'}))
        + event({"index": 1, "delta": {"content": "c"}})
        + b": a comment\n\ndata: nonsense\n\ndata: [DONE]\n\n"
    )
    called, said = reassembling.texts(stream)
    assert said == {"role": "assistant", "content": "bc"}
    assert called["tool_calls"] == [
        {"type": "function", "id": "c1", "function": {"name": "look", "arguments": '{"a": 1}'}}
    ]
