"""Manifests as people write them, and what is said about their mistakes."""

import io
from pathlib import Path

import pytest

from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe
from tunesmith_operator.manifests import ManifestError, load

JOB = """\
apiVersion: tunesmith.dev/v1alpha1
kind: FineTuneJob
metadata:
  name: bot
spec:
  model: {uri: pvc://models/base}
  data:
    train:
    - {name: answers, uri: pvc://data/train.jsonl, format: messages}
  output: {uri: pvc://models/bot}
"""
SERVE = """\
apiVersion: tunesmith.dev/v1alpha1
kind: ModelServe
metadata: {name: bot}
spec: {model: {fineTuneJob: bot}}
"""


def write(folder: Path, text: str, name: str = "bot.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def refused(*sources: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        load(sources)
    return caught.value.sentences


def job(folder: Path, training: str) -> FineTuneJob:
    (loaded,) = load([write(folder, f"{JOB}  training: {training}\n")])
    assert isinstance(loaded, FineTuneJob)
    return loaded


def test_a_schedule_that_never_comes_is_told_before_it_is_applied(tmp_path: Path) -> None:
    def evaluated(schedule: str) -> str:
        spec = "target: {modelServe: bot}, suites: [{name: a, golden: {uri: pvc://d/x}}], report: {uri: pvc://r/x}"
        head = "apiVersion: tunesmith.dev/v1alpha1\nkind: EvalJob\nmetadata: {name: nightly}\n"
        return write(tmp_path, f"{head}spec: {{{spec}, schedule: '{schedule}'}}\n")

    (sentence,) = refused(evaluated("0 99 * * *"))
    assert "EvalJob nightly): spec.schedule: '0 99 * * *' is not a cron expression" in sentence
    for schedule in ("@daily", "@hourly", "0 3 * * *"):
        assert load([evaluated(schedule)])


def test_a_file_holds_several_documents(tmp_path: Path) -> None:
    loaded = load([write(tmp_path, f"---\n{JOB}---\n# nothing here\n---\n{SERVE}")])
    assert [type(each) for each in loaded] == [FineTuneJob, ModelServe]


def test_a_folder_holds_several_files_in_order_and_nothing_below_it_counts(tmp_path: Path) -> None:
    write(tmp_path, SERVE, "b.yml")
    write(tmp_path, JOB, "a.yaml")
    write(tmp_path, "no manifest", "notes.txt")
    (tmp_path / "more").mkdir()
    write(tmp_path / "more", "kind: Nothing")
    assert [each.kind for each in load([str(tmp_path)])] == ["FineTuneJob", "ModelServe"]


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SERVE))
    (loaded,) = load(["-"])
    assert loaded.metadata.name == "bot"


def test_the_quickstarts_manifests_are_good() -> None:
    folder = Path(__file__).parents[3] / "examples" / "quickstart"
    assert {type(each) for each in load([str(folder)])} == {FineTuneJob, EvalJob, ModelServe}


@pytest.mark.parametrize("written", ["2e-4", "2.0e-4", "0.0002", "+2E-4"])
def test_a_number_is_a_number_however_it_is_written(tmp_path: Path, written: str) -> None:
    assert job(tmp_path, f"{{learningRate: {written}}}").spec.training.learning_rate == 2e-4


@pytest.mark.parametrize(("written", "seed"), [("010", 10), ("0x10", 16), ("0o10", 8), ("7", 7)])
def test_whole_numbers_are_those_of_yaml_1_2(tmp_path: Path, written: str, seed: int) -> None:
    assert job(tmp_path, f"{{seed: {written}}}").spec.training.seed == seed


@pytest.mark.parametrize("written", ["2026-11-21", "yes", "on", "off", "1:30"])
def test_words_stay_words(tmp_path: Path, written: str) -> None:
    text = SERVE.replace("{name: bot}", f"{{name: bot, labels: {{word: {written}}}}}")
    (loaded,) = load([write(tmp_path, text)])
    assert loaded.metadata.labels == {"word": written}


def test_what_belongs_to_the_cluster_is_not_taken_from_a_manifest(tmp_path: Path) -> None:
    text = SERVE.replace("{name: bot}", "{name: bot, uid: abc, generation: 7}") + "status: {phase: Ready}\n"
    (loaded,) = load([write(tmp_path, text)])
    assert (loaded.metadata.uid, loaded.metadata.generation, loaded.status.phase) == ("", 1, "Pending")


def test_every_mistake_of_every_document_is_said(tmp_path: Path) -> None:
    first = write(tmp_path, f"{JOB}  trainnig: {{}}\n---\n{SERVE.replace('fineTuneJob', 'fineTune')}", "a.yaml")
    second = write(tmp_path, SERVE.replace("name: bot", "name: Bot"), "b.yaml")
    said = refused(first, second)
    assert said[0] == f"{first}:document 1 (FineTuneJob bot): spec.trainnig: unknown field; did you mean training?"
    assert said[1].startswith(f"{first}:document 2 (ModelServe bot): spec.model.fineTune: unknown field; did you mean")
    assert said[-1].startswith(f"{second}:document 1 (ModelServe Bot): metadata.name: 'Bot' does not match")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, JOB + "  output: {uri: pvc://models/other}\n")
    assert f"{path}:document 1 (FineTuneJob bot): line 11: the key 'output' is there twice" in refused(path)
    path = write(tmp_path, '{"kind": "FineTuneJob", "kind": "EvalJob"}', "bot.json")
    assert f"{path}:document 1 (EvalJob without a name): the key 'kind' is there twice" in refused(path)


def test_broken_yaml_is_refused_with_its_line_and_what_came_before_is_still_checked(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SERVE.replace('bot}}', '3}}')}---\nkind: [\n")
    said = refused(path)
    assert said[0].startswith(f"{path}:document 1 (ModelServe bot): spec.model.fineTuneJob: 3 is not a string")
    assert said[1].startswith(f"{path}: line 7, column 1: not YAML: ")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", '{"kind":', "line 1, column 9: not JSON: Expecting value"),
        ("a.yaml", "", "the file is empty; it should hold FineTuneJob, EvalJob, ModelServe manifests"),
        ("a.yaml", "# only a comment\n", "the file is empty"),
        ("a.yaml", "- a\n- b\n", "document 1 (no manifest): a manifest is a mapping with apiVersion, kind"),
        (
            "a.yaml",
            "kind: FineTuneJob\n",
            "(FineTuneJob without a name): apiVersion: missing; use tunesmith.dev/v1alpha1",
        ),
        ("a.yaml", "apiVersion: v1\nkind: Pod\n", "Pod of v1 is not a resource of Tunesmith"),
        (
            "a.yaml",
            SERVE.replace("ModelServe", "Server"),
            "kind: 'Server' is not a kind of tunesmith.dev/v1alpha1; use",
        ),
        (
            "a.yaml",
            SERVE + "more: !!python/name:os.system ''\n",
            "line 5: the tag tag:yaml.org,2002:python/name:os.system",
        ),
        ("a.yaml", SERVE + "more: &all [*all]\n", "it holds itself through an alias; write it out"),
        ("a.yaml", "[" * 5000, "not usable: it is nested too deeply"),
        ("a.yaml", "a: \x07\n", "not YAML: "),
        ("a.yaml", f"{JOB}  training: {{learningRate: .inf}}\n", "spec.training.learningRate"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = write(tmp_path, text, name)
    said = "\n".join(refused(path))
    assert said.startswith(path)
    assert sentence in said


def test_what_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "a.yaml"
    binary.write_bytes(b"kind: \xff\xfe")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(str(tmp_path / "none.yaml"), str(binary), str(empty)) == (
        f"{tmp_path}/none.yaml: no such file or folder",
        f"{binary}: not a text in UTF-8 (byte 6)",
        f"{empty}: the folder has no manifests (.yaml, .yml, .json)",
    )


def test_one_resource_in_two_documents_is_refused(tmp_path: Path) -> None:
    one, two = write(tmp_path, SERVE, "a.yaml"), write(tmp_path, SERVE, "b.yaml")
    assert refused(one, two) == (
        f"{two}:document 1 (ModelServe bot): ModelServe bot of namespace default is also in "
        f"{one}:document 1 (ModelServe bot); keep one of them",
    )


def test_the_same_name_in_another_namespace_or_kind_is_another_resource(tmp_path: Path) -> None:
    elsewhere = SERVE.replace("{name: bot}", "{name: bot, namespace: team}")
    assert len(load([write(tmp_path, f"{SERVE}---\n{elsewhere}---\n{JOB}")])) == 3


def test_a_cycle_of_base_models_is_refused_once(tmp_path: Path) -> None:
    def based_on(name: str, base: str) -> str:
        return JOB.replace("name: bot", f"name: {name}").replace("pvc://models/base", f"finetunejob://{base}")

    ring = "---\n".join([based_on("a", "b"), based_on("b", "c"), based_on("c", "a")])
    (sentence,) = refused(write(tmp_path, ring))
    assert sentence == (
        "these FineTuneJobs wait for each other's models in a cycle, so that none can ever start: "
        "a -> b -> c -> a; change one of the URIs in their spec.model and spec.method"
    )
