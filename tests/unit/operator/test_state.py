"""The state directory takes manifests over and keeps what is known of them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api.finetunejob import FineTuneJobStatus
from tunesmith_operator.local.state import State, StateError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_a_new_resource_gets_a_uid_and_its_first_generation(state: State) -> None:
    assert state.apply([fine_tune_job(), model_serve()], NOW) == ("created", "created")
    job, serve = state.resources()
    assert job.metadata.uid
    assert job.metadata.uid != serve.metadata.uid
    assert (job.metadata.generation, job.metadata.creation_timestamp) == (1, NOW)


def test_the_same_spec_again_changes_nothing(state: State) -> None:
    state.apply([fine_tune_job()], NOW)
    (before,) = state.resources()
    assert state.apply([fine_tune_job()], NOW) == ("unchanged",)
    assert state.resources() == (before,)


def test_another_spec_is_another_generation_of_the_same_object(state: State) -> None:
    state.apply([model_serve()], NOW)
    (before,) = state.resources()
    assert state.apply([model_serve(port=9000)], NOW) == ("configured",)
    (after,) = state.resources()
    assert (after.metadata.uid, after.metadata.generation) == (before.metadata.uid, 2)
    assert after.spec == model_serve(port=9000).spec


def test_when_one_change_is_refused_nothing_is_changed(state: State) -> None:
    state.apply([fine_tune_job()], NOW)
    (job,) = state.resources()
    state.write(job.model_copy(update={"status": FineTuneJobStatus(phase="Running")}))
    changed = fine_tune_job(training={"learningRate": 0.5}, output={"uri": "pvc://models/other"})
    with pytest.raises(StateError) as caught:
        state.apply([changed, eval_job()], NOW)
    assert str(caught.value).splitlines() == [
        f"FineTuneJob support-bot: {field} may not change once it has started; change it back, or run "
        "`tunesmith delete ftj/support-bot` and apply it again"
        for field in ("spec.training", "spec.output")
    ]
    assert [each.kind for each in state.resources()] == ["FineTuneJob"]


def test_a_claim_is_a_folder_until_a_volume_is_given(state: State, tmp_path: Path) -> None:
    state.ensure_claim("models")
    assert (state.volumes / "models").is_dir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        state.link_volume("models", tmp_path / name)
        assert (state.volumes / "models").resolve() == tmp_path / name


def test_a_claim_with_files_does_not_make_way_for_a_volume(state: State, tmp_path: Path) -> None:
    state.ensure_claim("models")
    (state.volumes / "models" / "weights").touch()
    with pytest.raises(StateError, match="is a folder with files already; move them, then run again"):
        state.link_volume("models", tmp_path)


def test_a_volume_that_is_gone_is_said(state: State, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    state.link_volume("models", tmp_path / "mine")
    (tmp_path / "mine").rmdir()
    with pytest.raises(StateError, match=r"volume models is .*mine, which is gone; pass --volume models=FOLDER"):
        state.ensure_claim("models")


def test_a_state_that_cannot_be_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StateError, match="file/state: cannot be used as state directory: Not a directory"),
        State(tmp_path / "file" / "state").locked(),
    ):
        pass


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"kind": "FineTuneJob"}', "\x00\x00"])
def test_a_damaged_file_is_named(state: State, damage: str) -> None:
    state.apply([fine_tune_job()], NOW)
    path = state.resource_file("FineTuneJob", "default", "support-bot")
    path.write_text(damage)
    with pytest.raises(StateError, match=rf"{path} does not hold a FineTuneJob \(.+\); delete that file"):
        state.resources()


def test_nobody_holds_a_state_that_nobody_uses(state: State) -> None:
    assert state.holder() is None
    with state.locked():
        pass
    assert state.holder() is None
