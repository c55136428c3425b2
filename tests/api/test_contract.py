"""What operator and runtime say to each other survives the trip; URIs come apart; started jobs do not change."""

import pytest
from pydantic import ValidationError

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api import uris
from tunesmith_api.contract import ProgressDocument, RunIdentity, ServeRun, run_config
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import FineTuneJobStatus
from tunesmith_api.immutability import changed_fields


def test_a_run_config_survives_the_trip() -> None:
    run = RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1)
    config = ServeRun(run=run, model="pvc://models/bot", port=8000)
    assert run_config.validate_json(config.model_dump_json(by_alias=True)) == config


def test_a_run_config_of_another_version_is_refused() -> None:
    with pytest.raises(ValidationError, match="version"):
        run_config.validate_json('{"type": "serve", "version": 2, "model": "pvc://a/b", "port": 8000}')


def test_a_progress_document_of_a_newer_runtime_can_be_read() -> None:
    assert ProgressDocument.model_validate_json('{"version": 2, "state": "Running", "gpuHours": 3}').state == "Running"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("pvc://models/a/b", ("pvc", "models", "a/b")),
        ("file:///a/b", ("file", "", "/a/b")),
        ("hf://org/name@v1", ("hf", "org/name", "v1")),
        ("hf://org/name", ("hf", "org/name", "")),
        ("finetunejob://bot", ("finetunejob", "bot", "")),
    ],
)
def test_a_uri_comes_apart(uri: str, parts: tuple[str, str, str]) -> None:
    assert uris.split(uri) == parts


@pytest.mark.parametrize("uri", ["models/a", "pvc://", "file://a/b", "pvc://models/../../etc"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URI|must name an absolute path|must not contain"):
        uris.split(uri)


def test_a_job_that_has_not_started_may_change() -> None:
    assert changed_fields(fine_tune_job(), fine_tune_job(model={"uri": "hf://a/b"})) == []


def test_a_started_job_may_not_change_what_its_result_depends_on() -> None:
    started = fine_tune_job(status=FineTuneJobStatus(phase="Running"))
    changed = fine_tune_job(model={"uri": "hf://a/b"}, training={"seed": 1}, runPolicy={"maxAttempts": 9})
    assert changed_fields(started, changed) == ["spec.model", "spec.training"]
    judged = eval_job(status=EvalJobStatus(phase="Succeeded"))
    assert changed_fields(judged, eval_job(gates=[{"metric": "facts/f1", "min": 0.0}])) == ["spec.gates"]


def test_a_server_may_always_change() -> None:
    assert changed_fields(model_serve(), model_serve(port=9000)) == []
