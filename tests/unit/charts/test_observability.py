"""Alerts and dashboard, over the metrics that the operator really has."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import prometheus_client
import pytest
import yaml

from tests.programs import output
from tests.unit.charts.rendered import Object, helm_template, of_kind, read, the
from tunesmith_operator.controller import metrics

JOB = 'job="tunesmith-operator"'
HERE = f'{JOB}, namespace="tunesmith-system", pod="a"'
RUNBOOK = "https://github.com/tunesmith/tunesmith/blob/main/docs/runbook.md"
NAMES = [each["alert"] for each in yaml.safe_load(read("charts/tunesmith/files/alerts.yaml"))]
WORDS_OF_PROMQL = {"absent", "by", "max", "min", "sum", "and", "or", "on", "offset", "unless", "up"}


def rendered_rule(**values: object) -> Object:
    return the(helm_template(values={"metrics": {"prometheusRule": {"enabled": True, **values}}}), "PrometheusRule")


def alerts() -> dict[str, Object]:
    (group,) = rendered_rule()["spec"]["groups"]
    return {each["alert"]: each for each in group["rules"]}


def exported() -> set[str]:
    """Return the names of all series that the operator's process has."""
    assert metrics.QUEUE == "tunesmith"
    names: set[str] = set()
    for family in prometheus_client.REGISTRY.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def named_in(expression: str) -> set[str]:
    """Return the names of the series in an expression: words that are no label, function, string or duration."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on) ?\([^)]*\)", "", expression)
    return {word for word in re.findall(r"[a-z_]{2,}\b(?! ?\()", bare) if word not in WORDS_OF_PROMQL}


@dataclass(frozen=True)
class Story:
    """Series in steps of a minute, and the alerts that are out at a time."""

    at: str
    series: dict[str, str]
    out: set[str] = field(default_factory=set)


def resources(phase: str, values: str, kind: str = "FineTuneJob") -> dict[str, str]:
    return {f'tunesmith_resources{{{JOB}, kind="{kind}", namespace="team-a", phase="{phase}"}}': values}


UP = {f"up{{{HERE}}}": "1x120"}
LEADS = {f'leader_election_master_status{{{HERE}, name="tunesmith-operator"}}': "1x120"}
WELL = UP | LEADS
STORIES = {
    "all is well": Story("60m", WELL | resources("Running", "3x120")),
    "it was never there": Story("6m", {}, {"TunesmithOperatorDown"}),
    "its pod is down": Story("6m", {f"up{{{HERE}}}": "0x120"}, {"TunesmithOperatorDown"}),
    "nobody leads": Story(
        "6m",
        UP | {f'leader_election_master_status{{{HERE}, name="tunesmith-operator"}}': "0x120"},
        {"TunesmithNoLeader"},
    ),
    "a standby does not lead": Story(
        "60m", WELL | {f'leader_election_master_status{{{JOB}, namespace="tunesmith-system", pod="b"}}': "0x120"}
    ),
    "work hangs": Story(
        "60m",
        WELL | {f"workqueue_longest_running_processor_seconds{{{HERE}}}": "0+60x120"},
        {"TunesmithQueueStalled"},
    ),
    "keys wait and none is done": Story(
        "60m",
        WELL | {f"workqueue_depth{{{HERE}}}": "5x120", f"workqueue_work_duration_seconds_count{{{HERE}}}": "7x120"},
        {"TunesmithQueueStalled"},
    ),
    "keys wait and some are done": Story(
        "60m",
        WELL | {f"workqueue_depth{{{HERE}}}": "5x120", f"workqueue_work_duration_seconds_count{{{HERE}}}": "7+9x120"},
    ),
    "the operator starts again and again": Story(
        "35m",
        WELL | {f"process_start_time_seconds{{{HERE}}}": "1000x8 1500x8 2000x8 2500x60"},
        {"TunesmithQueueStalled"},
    ),
    "it was upgraded": Story("35m", WELL | {f"process_start_time_seconds{{{HERE}}}": "1000x20 2000x60"}),
    "every fifth reconcile fails": Story(
        "60m",
        WELL
        | {
            f'controller_runtime_reconcile_errors_total{{{HERE}, controller="EvalJob"}}': "0+1x120",
            f'controller_runtime_reconcile_total{{{HERE}, controller="EvalJob", result="error"}}': "0+1x120",
            f'controller_runtime_reconcile_total{{{HERE}, controller="EvalJob", result="success"}}': "0+4x120",
        },
        {"TunesmithReconcileErrors"},
    ),
    "one in fifty fails": Story(
        "60m",
        WELL
        | {
            f'controller_runtime_reconcile_errors_total{{{HERE}, controller="EvalJob"}}': "0+1x120",
            f'controller_runtime_reconcile_total{{{HERE}, controller="EvalJob", result="success"}}': "0+49x120",
        },
    ),
    "a second job has failed": Story("61m", WELL | resources("Failed", "1x60 2x60"), {"TunesmithJobFailed"}),
    "the first job has failed": Story("61m", WELL | resources("Failed", "_x60 1x60"), {"TunesmithJobFailed"}),
    "a job failed an hour ago": Story("119m", WELL | resources("Failed", "_x60 1x60")),
    "an operator finds old failures when it starts": Story(
        "61m",
        {
            f"up{{{HERE}}}": "_x58 1x60",
            f'leader_election_master_status{{{HERE}, name="tunesmith-operator"}}': "_x58 1x60",
        }
        | resources("Failed", "_x60 1x60"),
    ),
    "a ModelServe that fails is stalled and no failed job": Story(
        "61m", WELL | resources("Failed", "_x60 1x60", "ModelServe")
    ),
    "stalled for long": Story(
        "61m",
        WELL
        | {f'tunesmith_stalled_resources{{{JOB}, kind="ModelServe", namespace="a", reason="GateFailed"}}': "1x120"},
        {"TunesmithResourceStalled"},
    ),
    "stalled for half an hour": Story(
        "90m",
        WELL
        | {f'tunesmith_stalled_resources{{{JOB}, kind="ModelServe", namespace="a", reason="GateFailed"}}': "0x60 1x60"},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_alerts_are_out_when_they_should_be_and_only_then(name: str, tmp_path: Path) -> None:
    story = STORIES[name]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": rendered_rule()["spec"]["groups"]}))
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in story.series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": story.at,
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(story.out)],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]})
    )
    output("promtool", "test", "rules", str(tmp_path / "test.yaml"))


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": rendered_rule(stalledFor="2h30m")["spec"]["groups"]}))
    assert "SUCCESS: 6 rules found" in output("promtool", "check", "rules", str(path))


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_tells_what_it_means_and_links_to_its_paragraph(name: str) -> None:
    alert = alerts()[name]
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
    assert f"### {name}\n" in read("docs/runbook.md")


def test_every_name_has_a_story() -> None:
    assert set().union(*(story.out for story in STORIES.values())) == set(alerts())


def test_alerts_and_dashboard_read_only_what_the_operator_exports() -> None:
    queries = [each["expr"] for each in alerts().values()]
    board = json.loads(read("charts/tunesmith/files/dashboard.json"))
    queries += [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    read_by = {query: named_in(query) for query in queries}
    assert all(read_by[query] or "up{" in query for query in queries)
    assert {name: query for query, names in read_by.items() for name in names - exported()} == {}


def test_the_dashboard_comes_as_a_config_map_for_grafana_s_sidecar() -> None:
    values: Object = {"grafana": {"dashboard": {"enabled": True, "annotations": {"grafana_folder": "ML"}}}}
    found = the(helm_template(values=values), "ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "ML"}
    board = json.loads(found["data"]["tunesmith.json"])
    assert board == json.loads(read("charts/tunesmith/files/dashboard.json"))
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_panels_do_not_overlap() -> None:
    board = json.loads(read("charts/tunesmith/files/dashboard.json"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_service_monitor_scrapes_the_operator_s_service() -> None:
    values = {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"}}}
    objects = helm_template(values=values)
    monitor = the(objects, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    service = the(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "15s", "honorLabels": True}
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


def test_the_user_s_runbook_is_linked() -> None:
    (group,) = rendered_rule(runbookUrl="https://wiki.example.com/tunesmith")["spec"]["groups"]
    assert group["rules"][0]["annotations"]["runbook_url"].startswith("https://wiki.example.com/tunesmith#")


def test_nothing_of_it_is_there_unless_asked() -> None:
    objects = helm_template()
    assert not {"ServiceMonitor", "PrometheusRule", "ConfigMap"} & {each["kind"] for each in objects}
    assert of_kind(objects, "ConfigMap") == {}
