"""Buckets of a real server: what is read, what is written, and what each refusal says."""

import gc
import json
import os
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.s3 import BUSY, DENIED, Answer, S3Server
from tunesmith_api.data import DatasetSource
from tunesmith_runtime import storage
from tunesmith_runtime.data.encoded import EncodedRows
from tunesmith_runtime.data.feedback import Feedback
from tunesmith_runtime.data.reading import open_rows
from tunesmith_runtime.errors import DataError, ModelError, NotWritableError, RunError, StorageFullError
from tunesmith_runtime.storage.objects import StorageUnavailableError
from tunesmith_runtime.train.inputs import TokenisedData

ROW = '{"text": "The sky is blue."}\n'
MODEL = "s3://workshop/models/bot"
OLD = {"config.json": "old", "old.safetensors": "old", "lineage.json": "old"}
NEW = {"config.json": "new", "adapter/weights": "new", "lineage.json": "new"}


def rows(uri: str) -> int:
    return len(list(open_rows(DatasetSource(uri=uri, format="text")).read()))


def publish(files: dict[str, str], uri: str = MODEL) -> None:
    with storage.destination(uri, "lineage.json").published() as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def scratch_files() -> list[Path]:
    return [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file() and path.suffix != ".lock"]


class TestData:
    def test_feedback_in_a_bucket_is_that_of_the_first_attempt(self, s3: S3Server) -> None:
        talk = {"messages": [{"role": "user", "content": "Open?"}, {"role": "assistant", "content": "No."}]}

        def say(number: int) -> None:
            said = {"requestId": f"r{number}", "rating": 1}
            s3.write({f"traffic/exchanges/today/{number}.jsonl": json.dumps({"id": f"r{number}", **talk})})
            s3.write({f"traffic/feedback/today/{number}.jsonl": json.dumps(said)})

        source = DatasetSource(uri="s3://workshop/traffic", format="feedback")
        feedback = Feedback("sft", "s3://workshop/checkpoints")
        say(1)
        first = len(list(feedback.records(source, "said")))
        say(2)
        again = feedback.records(source, "said")
        gc.collect()
        assert (first, len(list(again)), len(list(Feedback().records(source, "said")))) == (1, 1, 2)

    def test_a_file_in_a_bucket_reads_like_a_file_on_disk(self, s3: S3Server, tmp_path: Path) -> None:
        s3.write({"data/train.jsonl": ROW * 3})
        (tmp_path / "train.jsonl").write_text(ROW * 3)

        remote = open_rows(DatasetSource(uri="s3://workshop/data/train.jsonl", format="text"))

        local = open_rows(DatasetSource(uri=f"file://{tmp_path}/train.jsonl", format="text"))
        assert (remote.digest, list(remote.read())) == (local.digest, list(local.read()))
        assert remote.uri == "s3://workshop/data/train.jsonl"
        s3.requests.clear()
        assert len(list(remote.read())) == 3
        assert s3.requests == []
        del remote
        gc.collect()
        assert scratch_files() == []

    @pytest.mark.parametrize(
        ("uri", "count"),
        [
            ("data", 6),
            ("data/", 6),
            ("data/*.jsonl", 1),
            ("data/**/*.jsonl", 3),
            ("data/**", 6),
            ("data/m?re/[b-z].csv", 3),
            ("*/b.jsonl", 0),
        ],
    )
    def test_folders_and_patterns_read_like_those_on_disk(
        self, s3: S3Server, tmp_path: Path, uri: str, count: int
    ) -> None:
        files = {
            "data/a.jsonl": ROW,
            "data/more/b.jsonl": ROW * 2,
            "data/more/c.csv": "text\n1\n2\n3\n",
            "data/README.md": "# Read me",
            "data/.hidden/d.jsonl": ROW,
            "data-2/e.jsonl": ROW,
        }
        s3.write(files | {"data/empty/": ""})
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        if not count:
            with pytest.raises(DataError, match=r"s3://workshop/\*/b\.jsonl: no data file matches the pattern"):
                rows(f"s3://workshop/{uri}")
            return

        remote = open_rows(DatasetSource(uri=f"s3://workshop/{uri}", format="text"))

        local = open_rows(DatasetSource(uri=f"file://{tmp_path}/{uri}", format="text"))
        found = list(remote.read())
        assert len(found) == count
        assert (remote.digest, found) == (local.digest, list(local.read()))
        del remote
        gc.collect()
        assert scratch_files() == []

    def test_a_whole_bucket(self, s3: S3Server) -> None:
        s3.write({"data/a.jsonl": ROW, "b.jsonl": ROW})
        assert rows("s3://workshop") == 2

    def test_the_file_of_a_folder_that_is_broken_is_named(self, s3: S3Server) -> None:
        s3.write({"data/a.jsonl": ROW, "data/b.jsonl": "oops"})
        with pytest.raises(DataError, match=r"s3://workshop/data/b\.jsonl is neither JSON nor JSONL"):
            rows("s3://workshop/data")

    def test_a_folder_that_may_not_be_listed(self, s3: S3Server) -> None:
        s3.write({"data/a.jsonl": ROW})
        s3.refuse(lambda method, path: DENIED if path.rstrip("/") == "/workshop" else None)
        with pytest.raises(DataError, match="may not list it; allow them s3:ListBucket on bucket workshop"):
            rows("s3://workshop/data/*")
        assert scratch_files() == []

    def test_a_folder_that_is_being_published_is_not_read(self, s3: S3Server) -> None:
        s3.write({"data/a.jsonl": ROW, "data/.tunesmith-publishing": ""})
        with pytest.raises(DataError, match="is only half published"):
            rows("s3://workshop/data")

    def test_what_is_wrong_in_it_is_said_of_its_uri(self, s3: S3Server) -> None:
        s3.write({"data/broken.jsonl": f"{ROW}{{oops\n", "data/empty.jsonl": ""})
        with pytest.raises(DataError, match=r"s3://workshop/data/broken\.jsonl: line 2: not JSON"):
            rows("s3://workshop/data/broken.jsonl")
        with pytest.raises(DataError, match=r"s3://workshop/data/empty\.jsonl is empty"):
            rows("s3://workshop/data/empty.jsonl")

    def test_an_object_that_is_not_there(self, s3: S3Server) -> None:
        with pytest.raises(DataError, match=r"s3://workshop/none\.jsonl: no such object in bucket workshop at http"):
            rows("s3://workshop/none.jsonl")

    def test_a_bucket_that_is_not_there(self, s3: S3Server) -> None:
        with pytest.raises(DataError, match=r"s3://nowhere/a\.jsonl: there is no bucket nowhere at .*; create it"):
            rows("s3://nowhere/a.jsonl")

    @pytest.mark.parametrize(
        ("answer", "error", "sentence"),
        [
            (DENIED, DataError, "access denied: the credentials may not read it.*allow them s3:GetObject"),
            (("403 Forbidden", "InvalidAccessKeyId"), DataError, "refuses the credentials.*check AWS_ACCESS_KEY_ID"),
            (("400 Bad Request", "AuthorizationHeaderMalformed"), DataError, "lies in another region.*set AWS_REGION"),
            (("405 Method Not Allowed", "MethodNotAllowed"), DataError, r"refuses to read it \(405 MethodNotAllowed\)"),
            (BUSY, StorageUnavailableError, r"cannot answer now \(503 ServiceUnavailable\)"),
            (("500 Internal Server Error", "InternalError"), StorageUnavailableError, "cannot answer now"),
        ],
    )
    def test_refusals_are_told_apart(self, s3: S3Server, answer: Answer, error: type[RunError], sentence: str) -> None:
        s3.write({"data/train.jsonl": ROW})
        s3.refuse(lambda method, path: answer)
        with pytest.raises(error, match=rf"s3://workshop/data/train\.jsonl: .*{sentence}") as raised:
            rows("s3://workshop/data/train.jsonl")
        assert raised.value.retryable == (error is StorageUnavailableError)

    def test_an_endpoint_that_nobody_answers(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StorageUnavailableError, match=r"S3 cannot be reached at http://127\.0\.0\.1:9") as raised:
            rows("s3://workshop/data/train.jsonl")
        assert raised.value.retryable

    def test_the_endpoint_of_s3_alone_goes_first(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        s3.write({"data/train.jsonl": ROW})
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        assert rows("s3://workshop/data/train.jsonl") == 1

    def test_an_endpoint_that_is_none(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
        with pytest.raises(DataError, match="check AWS_ENDPOINT_URL"):
            rows("s3://workshop/data/train.jsonl")

    def test_no_credentials(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        with pytest.raises(DataError, match="there are no credentials for S3: set AWS_ACCESS_KEY_ID"):
            rows("s3://workshop/data/train.jsonl")


class TestModel:
    def test_a_model_is_downloaded_once(self, s3: S3Server) -> None:
        s3.write({f"models/base/{name}": text for name, text in NEW.items()} | {"models/base2/x": "another"})

        folder = storage.model_path("s3://workshop/models/base")

        assert contents(folder) == NEW
        s3.requests.clear()
        assert storage.model_path("s3://workshop/models/base/") == folder
        assert not [path for method, path in s3.requests if method == "GET" and path.endswith("config.json")]

    def test_a_model_that_has_changed_is_downloaded_anew(self, s3: S3Server) -> None:
        s3.write({"models/base/config.json": "one"})
        assert contents(storage.model_path("s3://workshop/models/base")) == {"config.json": "one"}
        s3.write({"models/base/config.json": "two"})
        assert contents(storage.model_path("s3://workshop/models/base")) == {"config.json": "two"}

    def test_a_model_that_changes_while_it_is_read_is_read_again_later(self, s3: S3Server) -> None:
        s3.write({"models/base/config.json": "{}"})

        def change(method: str, path: str) -> None:
            if path.endswith("config.json"):
                s3.write({"models/base/more.json": "{}"})

        s3.refuse(change)
        with pytest.raises(StorageUnavailableError, match="was changed while it was read") as raised:
            storage.model_path("s3://workshop/models/base")
        assert raised.value.retryable
        assert scratch_files() == []

    def test_what_is_no_model_is_refused(self, s3: S3Server) -> None:
        s3.write({"models/other/weights.bin": "x", "models/folder/": ""})
        for missing in ("none", "folder"):
            with pytest.raises(ModelError, match=f"s3://workshop/models/{missing}: no such folder"):
                storage.model_path(f"s3://workshop/models/{missing}")
        with pytest.raises(ModelError, match=r"not a model in Hugging Face layout: it has no config\.json"):
            storage.model_path("s3://workshop/models/other")
        with pytest.raises(ModelError, match="there is no bucket nowhere"):
            storage.model_path("s3://nowhere/models")

    def test_a_key_that_climbs_out_of_its_folder_is_refused(self, s3: S3Server) -> None:
        s3.write({"models/evil/config.json": "{}", "models/evil/../../escaped": "x"})
        with pytest.raises(ModelError, match=r"models/evil/\.\./\.\./escaped cannot become a file"):
            storage.model_path("s3://workshop/models/evil")

    def test_a_model_that_may_not_be_read(self, s3: S3Server) -> None:
        s3.write({"models/base/config.json": "{}"})
        s3.refuse(lambda method, path: DENIED if path.endswith("config.json") else None)
        with pytest.raises(ModelError, match=r"s3://workshop/models/base: access denied.*s3:GetObject"):
            storage.model_path("s3://workshop/models/base")
        s3.refuse(lambda method, path: DENIED)
        with pytest.raises(ModelError, match="may not list it; allow them s3:ListBucket on bucket workshop"):
            storage.model_path("s3://workshop/models/base")

    def test_scratch_that_is_not_ours_is_not_used(self, s3: S3Server) -> None:
        s3.write({"models/base/config.json": "{}"})
        Path(tempfile.gettempdir(), f"tunesmith-{os.getuid()}").mkdir(mode=0o777)
        Path(tempfile.gettempdir(), f"tunesmith-{os.getuid()}").chmod(0o777)
        with pytest.raises(RunError, match="is open to others"):
            storage.model_path("s3://workshop/models/base")


class TestPublishing:
    def test_a_folder_is_replaced_whole(self, s3: S3Server) -> None:
        publish(OLD)
        assert contents(storage.model_path(MODEL)) == OLD
        publish(NEW)
        assert contents(storage.model_path(MODEL)) == NEW
        assert s3.names("models/bot") == sorted(NEW)
        assert not [path for path in scratch_files() if "staged" in str(path)]

    def test_nothing_is_published_when_something_went_wrong(self, s3: S3Server) -> None:
        publish(OLD)
        with (
            pytest.raises(ZeroDivisionError),
            storage.destination(MODEL, "lineage.json").published() as folder,
        ):
            (folder / "lineage.json").write_text(str(1 / 0))
        assert contents(storage.model_path(MODEL)) == OLD

    def test_wherever_it_is_cut_off_no_reader_takes_a_mixture(self, s3: S3Server) -> None:
        outcomes: list[str] = []
        for cut in count(start=2):  # the first two writes are those of the probe
            s3.empty()
            publish(OLD)
            _allow_writes(s3, cut)
            ended = _ends(lambda: publish(NEW))
            s3.refuse(lambda method, path: None)
            outcomes.append(_seen())
            publish(NEW)  # the next attempt
            assert (_seen(), s3.names("models/bot")) == ("new", sorted(NEW))
            if ended:
                break
        # Old until the first write, refused from then on, and new after the last one.
        refused = "s3://workshop/models/bot is only half published"
        assert outcomes == ["old", *[refused] * (len(outcomes) - 2), "new"]
        assert len(outcomes) > len(OLD | NEW)

    def test_what_was_not_published_here_is_never_replaced(self, s3: S3Server) -> None:
        s3.write({"home/thesis.txt": "years of work"})
        with pytest.raises(
            NotWritableError, match=r"holds objects that were not published here \(there is no lineage\.json\)"
        ):
            publish(NEW, "s3://workshop/home")
        assert s3.read("home/thesis.txt") == "years of work"
        assert s3.names("home") == ["thesis.txt"]

    def test_neighbours_with_a_longer_name_are_let_alone(self, s3: S3Server) -> None:
        s3.write({"models/bot-2/config.json": "{}", "models/bot.txt": "x"})
        publish(NEW)
        assert s3.names("models") == sorted(["bot-2/config.json", "bot.txt", *(f"bot/{name}" for name in NEW)])


class TestWriting:
    def test_the_probe_leaves_nothing(self, s3: S3Server) -> None:
        storage.ensure_writable("s3://workshop/checkpoints")
        assert s3.names("") == []

    @pytest.mark.parametrize(("method", "permission"), [("PUT", "s3:PutObject"), ("DELETE", "s3:DeleteObject")])
    def test_what_may_not_be_written_is_refused(self, s3: S3Server, method: str, permission: str) -> None:
        s3.refuse(lambda wanted, path: DENIED if wanted == method else None)
        with pytest.raises(NotWritableError, match=f"s3://workshop/bot/.* access denied.*{permission} on bucket"):
            storage.ensure_writable("s3://workshop/bot")
        with pytest.raises(NotWritableError, match=permission):
            storage.destination("s3://workshop/bot", "lineage.json")

    def test_a_bucket_that_is_full_can_be_tried_again(self, s3: S3Server) -> None:
        s3.refuse(lambda method, path: ("507 Insufficient Storage", "XMinioStorageFull") if method == "PUT" else None)
        with pytest.raises(StorageFullError, match="no space is left in bucket workshop"):
            storage.ensure_writable("s3://workshop/bot")

    def test_a_bucket_that_is_not_there(self, s3: S3Server) -> None:
        with pytest.raises(NotWritableError, match="there is no bucket nowhere"):
            storage.destination("s3://nowhere/bot", "lineage.json")


class TestSharing:
    def test_a_shared_folder_arrives_as_it_was(self, s3: S3Server, tmp_path: Path) -> None:
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "data.arrow").write_bytes(bytes(range(256)))
        (tmp_path / "state.json").write_text(json.dumps({"rows": 1}))

        storage.share_folder(tmp_path, "s3://workshop/run/.data-a1")

        there = storage.fetch_folder("s3://workshop/run/.data-a1")
        assert (there / "train" / "data.arrow").read_bytes() == bytes(range(256))
        assert json.loads((there / "state.json").read_text()) == {"rows": 1}
        storage.delete_folder("s3://workshop/run/.data-a1")
        assert s3.names("") == []
        with pytest.raises(NotWritableError, match="no such folder"):
            storage.fetch_folder("s3://workshop/run/.data-a1")

    def test_prepared_data_is_fetched_only_where_it_is_not(self, s3: S3Server, tmp_path: Path) -> None:
        (tmp_path / "driver").mkdir()
        for name in ("rows.arrow", "train.indices.arrow", "validation.indices.arrow"):
            (tmp_path / "driver" / name).write_text(name)
        storage.share_folder(tmp_path / "driver", "s3://workshop/run/.data-a1")
        rows = tmp_path / "driver" / "rows.arrow"
        data = TokenisedData(
            task="causal-lm",
            train=EncodedRows(rows, rows.with_name("train.indices.arrow")),
            validation={"all": EncodedRows(rows, rows.with_name("validation.indices.arrow"))},
            labels=None,
            streams=("all",),
            fingerprint="print",
            shared="s3://workshop/run/.data-a1",
        )

        assert data.here() == data
        (tmp_path / "driver").rename(tmp_path / "another machine")
        there = data.here()
        for found in (there.train, there.validation["all"]):
            assert found.file.read_text() == "rows.arrow"
            assert found.indices is not None
            assert found.indices.read_text() == found.indices.name
        assert there.fingerprint == "print"


def _allow_writes(server: S3Server, allowed: int) -> None:
    """Refuse all writes after so many."""
    left = iter(range(allowed))

    def refusal(method: str, path: str) -> Answer | None:
        return DENIED if method in {"PUT", "POST", "DELETE"} and next(left, None) is None else None

    server.refuse(refusal)


def _ends(action: Callable[[], None]) -> bool:
    try:
        action()
    except NotWritableError:
        return False
    return True


def _seen() -> str:
    """Return what a reader takes the model for."""
    try:
        found = contents(storage.model_path(MODEL))
    except ModelError as error:
        return error.message.partition(": it")[0]
    return "old" if found == OLD else "new" if found == NEW else f"a mixture: {found}"
