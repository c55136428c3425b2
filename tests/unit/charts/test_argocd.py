"""Argo CD: the health checks, run by Lua on what the planner says, and how they get into argocd-cm."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tools.programs import ROOT

from tests.programs import output
from tests.unit.charts.rendered import kustomize, objects_in, read, the
from tunesmith_api import conditions as c
from tunesmith_api.resources import PLURALS
from tunesmith_operator.planner.situation import (
    ConditionStatus,
    Situation,
    condition,
    conditions_of_job,
    conditions_of_server,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "resource.customizations.health.tunesmith.dev_{}"
# Argo CD's interpreter speaks Lua 5.1.
LUAS = ("lua5.1", "lua5.4")

WORKS = Situation("working", c.RUNNING, "attempt 1 is training")
WAITS = Situation("working", c.WAITING_FOR_FINE_TUNE_JOB, "waits for FineTuneJob a to succeed")
LACKS = Situation("working", c.REFERENCE_NOT_FOUND, "waits for FineTuneJob a, which does not exist; create it")
STUCK = Situation("blocked", c.REFERENCE_CYCLE, "a -> b -> a")
FAILED = Situation("failed", c.DATA_INVALID, 'answers.jsonl: line 3 has no "messages"')
PAUSED = Situation("paused", c.SUSPENDED, "runPolicy.suspend is true; when it is false, training begins")
BETWEEN = Situation("paused", c.WAITING_FOR_NEXT_RUN, "run 2 starts at 2026-01-02 03:00 UTC; Passed the last time")
DONE = Situation("done", c.COMPLETED, "the model is published at pvc://models/a")
GATED = Situation("blocked", c.GATE_FAILED, "EvalJob a gave the verdict Failed")
APPROVAL = Situation("paused", c.WAITING_FOR_APPROVAL, "revision 2, step 1 of 2 (10%): waits for `tunesmith promote`")
SERVES = Situation("done", c.SERVING, "revision 1 answers at http://a:8000")


def job(situation: Situation, seen: int = 2, passed: ConditionStatus | None = None) -> dict[str, Any]:
    """Return a job of generation 2 that the operator has seen in generation `seen`."""
    told = conditions_of_job(situation, (), seen, NOW)
    if passed:
        told += (condition(c.PASSED, passed, situation, (), seen, NOW),)
    if situation is PAUSED:
        told += (condition(c.SUSPENDED, "True", situation, (), seen, NOW),)
    return resource(told, seen)


def server(situation: Situation, ready: bool, seen: int = 2) -> dict[str, Any]:
    return resource(conditions_of_server(situation, ready, (), seen, NOW), seen)


def resource(told: tuple[Any, ...], seen: int) -> dict[str, Any]:
    conditions = [each.to_json() for each in told]
    return {"metadata": {"generation": 2}, "status": {"observedGeneration": seen, "conditions": conditions}}


UNSEEN: dict[str, Any] = {"metadata": {"generation": 1}, "spec": {}}
NOT_YET = "The operator has not looked at the latest spec yet"

JOBS = {
    "new": (UNSEEN, "Progressing", NOT_YET),
    "running": (job(WORKS), "Progressing", WORKS.message),
    "waiting for one that runs": (job(WAITS), "Progressing", WAITS.message),
    "waiting for one that nobody created": (job(LACKS), "Suspended", LACKS.message),
    "stuck": (job(STUCK), "Degraded", STUCK.message),
    "stuck until the mended spec is seen": (job(STUCK, seen=1), "Progressing", NOT_YET),
    "suspended": (job(PAUSED), "Suspended", PAUSED.message),
    "suspended, and the spec changed since": (job(PAUSED, seen=1), "Progressing", NOT_YET),
    "failed": (job(FAILED), "Degraded", FAILED.message),
    "failed, and its retries changed later": (job(FAILED, seen=1), "Degraded", FAILED.message),
    "between two runs": (job(BETWEEN, passed="True"), "Healthy", BETWEEN.message),
    "before its first run": (job(BETWEEN, passed="Unknown"), "Healthy", BETWEEN.message),
    "between two runs, the last not passed": (job(BETWEEN, passed="False"), "Degraded", BETWEEN.message),
    "done": (job(DONE), "Healthy", DONE.message),
    "done, and its resources changed later": (job(DONE, seen=1), "Healthy", DONE.message),
    "evaluating": (job(WORKS, passed="Unknown"), "Progressing", WORKS.message),
    "passed": (job(DONE, passed="True"), "Healthy", DONE.message),
    "not passed": (job(DONE, passed="False"), "Degraded", DONE.message),
    "inconclusive": (job(DONE, passed="Unknown"), "Degraded", DONE.message),
}
SERVERS = {
    "new": (UNSEEN, "Progressing", NOT_YET),
    "starting": (server(WORKS, ready=False), "Progressing", WORKS.message),
    "waiting for one that nobody created": (server(LACKS, ready=False), "Suspended", LACKS.message),
    "serving": (server(SERVES, ready=True), "Healthy", SERVES.message),
    "serving, the next model on its way": (server(WORKS, ready=True), "Progressing", WORKS.message),
    "serving, the next model behind a gate": (server(GATED, ready=True), "Degraded", GATED.message),
    "serving, its rollout waits for a person": (server(APPROVAL, ready=True), "Suspended", APPROVAL.message),
    "behind a gate": (server(GATED, ready=False), "Degraded", GATED.message),
    "serving what an older spec asked for": (server(SERVES, ready=True, seen=1), "Progressing", NOT_YET),
    "behind a gate until the new spec is seen": (server(GATED, ready=True, seen=1), "Progressing", NOT_YET),
    "down and nobody says why": (server(SERVES, ready=False), "Progressing", SERVES.message),
}
CASES = [
    *((kind, name, case) for kind in ("FineTuneJob", "EvalJob") for name, case in JOBS.items()),
    *(("ModelServe", name, case) for name, case in SERVERS.items()),
]


@pytest.fixture(scope="module")
def checks() -> dict[str, str]:
    data: dict[str, str] = the(kustomize("config/argocd"), "ConfigMap")["data"]
    return data


@pytest.mark.parametrize("lua", LUAS)
@pytest.mark.parametrize(("kind", "case"), [pytest.param(k, case, id=f"{k}: {name}") for k, name, case in CASES])
def test_health(kind: str, case: tuple[dict[str, Any], str, str], lua: str, checks: dict[str, str]) -> None:
    obj, health, message = case
    assert judged(checks[KEY.format(kind)], obj, lua) == (health, message)


def judged(check: str, obj: dict[str, Any], lua: str) -> tuple[str, str]:
    """Return health and message that a check gives, with no more of Lua's libraries than Argo CD opens."""
    program = f"""
        local report = io.write
        obj = {as_lua(obj)}
        for name in pairs({{string=1, math=1, io=1, debug=1, coroutine=1, utf8=1, bit32=1}}) do _G[name] = nil end
        getmetatable("").__index = nil
        local function check()
        {check}
        end
        local health = check()
        report(health.status, "\\n", health.message)
    """
    status, _, message = output(lua, "-", text=program).partition("\n")
    return status, message


def as_lua(value: object) -> str:
    """Return a value of JSON as Lua text."""
    match value:
        case dict():
            return "{" + ", ".join(f"[{as_lua(name)}] = {as_lua(each)}" for name, each in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(as_lua, value)) + "}"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case None:
            return "nil"
    escaped = (f"\\{byte:03d}" if byte < 32 or byte in b'"\\' else chr(byte) for byte in str(value).encode("ascii"))
    return f'"{"".join(escaped)}"'


def test_each_kind_has_its_check_and_nothing_else_is_set(checks: dict[str, str]) -> None:
    assert set(checks) == {KEY.format(kind) for kind in PLURALS}


def test_the_checks_join_an_argocd_cm_that_says_other_things(tmp_path: Any) -> None:
    base = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd"},
        "data": {"url": "https://argocd.example.com"},
    }
    health = tmp_path / "health"
    health.mkdir()
    for path in (ROOT / "config/argocd/health").iterdir():
        (health / path.name).write_text(path.read_text())
    (tmp_path / "argocd-cm.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "kustomization.yaml").write_text("resources: [argocd-cm.yaml]\ncomponents: [health]\n")
    (merged,) = objects_in(output("kubectl", "kustomize", str(tmp_path)))
    assert merged["metadata"]["name"] == "argocd-cm"
    assert merged["data"]["url"] == "https://argocd.example.com"
    assert {KEY.format(kind) for kind in PLURALS} <= set(merged["data"])


@pytest.mark.parametrize("name", ["application.yaml", "applicationset.yaml"])
def test_the_examples_have_nothing_to_ignore(name: str) -> None:
    for each in objects_in(read(f"examples/argocd/{name}")):
        assert each["metadata"]["namespace"] == "argocd"
        assert "ignoreDifferences" not in str(each)


def test_the_operator_s_application_comes_first_and_its_crds_before_the_rest() -> None:
    operator, team = objects_in(read("examples/argocd/application.yaml"))
    assert wave(operator["metadata"]) < wave(team["metadata"])
    values = operator["spec"]["source"]["helm"]["valuesObject"]
    assert (ROOT / operator["spec"]["source"]["path"] / "Chart.yaml").exists()
    rendered = output(
        "helm", "template", "tunesmith", str(ROOT / "charts/tunesmith"), "--values", "-", text=yaml.safe_dump(values)
    )
    for each in objects_in(rendered):
        early = each["kind"] == "CustomResourceDefinition"
        assert wave(each["metadata"]) == (-1 if early else 0), each["metadata"]["name"]
    assert (ROOT / team["spec"]["source"]["path"] / "modelserve.yaml").exists()


def test_the_examples_name_the_project_s_version() -> None:
    chart = yaml.safe_load(read("charts/tunesmith/Chart.yaml"))
    for each in objects_in(read("examples/argocd/application.yaml")):
        assert each["spec"]["source"]["targetRevision"] == f"v{chart['version']}"


def wave(metadata: dict[str, Any]) -> int:
    return int(metadata.get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0"))
