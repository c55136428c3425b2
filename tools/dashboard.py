"""The Grafana dashboard of the operator, as a table of panels."""

import json
from dataclasses import dataclass
from typing import Any

from tunesmith_api.resources import PLURALS

OPERATOR = 'job=~"$job"'
RESOURCES = 'job=~"$job", namespace=~"$namespace"'
PER_ROW = 3
WIDTH, HEIGHT = 24 // PER_ROW, 8


@dataclass(frozen=True)
class Panel:
    """A chart: its queries by the legend of their series."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    stacked: bool = False


def _quantiles(metric: str, by: str = "") -> dict[str, str]:
    labels = ", ".join(("le", by) if by else ("le",))
    suffix = f" {{{{{by}}}}}" if by else ""
    return {
        f"p{name}{suffix}": (
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{OPERATOR}}}[$__rate_interval])))"
        )
        for name, q in (("50", 0.5), ("99", 0.99))
    }


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{OPERATOR}}}[$__rate_interval]))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Resources": (
        *(
            Panel(
                title=f"{kind} by phase",
                description=f"{kind}s in the chosen namespaces.",
                unit="none",
                queries={"{{phase}}": f'sum by (phase) (tunesmith_resources{{{RESOURCES}, kind="{kind}"}})'},
                stacked=True,
            )
            for kind in PLURALS
        ),
        Panel(
            title="Stalled",
            description="Nothing will change for these until a person changes something.",
            unit="none",
            queries={
                "{{kind}} {{namespace}}: {{reason}}": "sum by (kind, namespace, reason) "
                f"(tunesmith_stalled_resources{{{RESOURCES}}}) > 0"
            },
            stacked=True,
        ),
    ),
    "Queue": (
        Panel(
            title="Depth",
            description="Resources that wait to be reconciled.",
            unit="none",
            queries={"{{pod}}": f"sum by (pod) (workqueue_depth{{{OPERATOR}}})"},
        ),
        Panel(
            title="Time in the queue",
            description="From being enqueued to being worked on.",
            unit="s",
            queries=_quantiles("workqueue_queue_duration_seconds"),
        ),
        Panel(
            title="Time of work",
            description="From being taken from the queue to being done.",
            unit="s",
            queries=_quantiles("workqueue_work_duration_seconds"),
        ),
        Panel(
            title="Added and retried",
            description="Keys that enter the queue; retries are those after an error.",
            unit="ops",
            queries={
                "added": _rate("workqueue_adds_total", "name"),
                "retried": _rate("workqueue_retries_total", "name"),
            },
        ),
        Panel(
            title="Work under way",
            description="The oldest, and all of it together. A line that climbs is work that does not end.",
            unit="s",
            queries={
                "oldest": f"max(workqueue_longest_running_processor_seconds{{{OPERATOR}}})",
                "together": f"sum(workqueue_unfinished_work_seconds{{{OPERATOR}}})",
            },
        ),
        Panel(
            title="Workers",
            description="Busy ones, and how many there are.",
            unit="none",
            queries={
                "busy": f"sum(controller_runtime_active_workers{{{OPERATOR}}})",
                "limit": f"max(controller_runtime_max_concurrent_reconciles{{{OPERATOR}}})",
            },
        ),
    ),
    "Reconciles": (
        Panel(
            title="By result",
            description="success, requeue_after (looked at again after a delay) or error.",
            unit="ops",
            queries={
                "{{controller}} {{result}}": _rate("controller_runtime_reconcile_total", "controller, result"),
            },
        ),
        Panel(
            title="Errors",
            description="Reconciles that are tried again because they failed.",
            unit="ops",
            queries={"{{controller}}": _rate("controller_runtime_reconcile_errors_total", "controller")},
        ),
        Panel(
            title="Time of a reconcile",
            description="Observing, planning, applying and writing the status.",
            unit="s",
            queries=_quantiles("controller_runtime_reconcile_time_seconds", "controller"),
        ),
    ),
    "Operator": (
        Panel(
            title="Leader",
            description="1 for the pod that leads.",
            unit="none",
            queries={"{{pod}}": f"max by (pod) (leader_election_master_status{{{OPERATOR}}})"},
        ),
        Panel(
            title="Requests to the API server",
            description="By method and answer.",
            unit="reqps",
            queries={"{{method}} {{code}}": _rate("rest_client_requests_total", "method, code")},
        ),
        Panel(
            title="Memory",
            description="Resident memory of each pod.",
            unit="bytes",
            queries={"{{pod}}": f"max by (pod) (process_resident_memory_bytes{{{OPERATOR}}})"},
        ),
    ),
}


def dashboard() -> str:
    """Return the dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
                "panels": [],
            }
        )
        top += 1
        for start in range(0, len(row), PER_ROW):
            for column, panel in enumerate(row[start : start + PER_ROW]):
                place = {"x": column * WIDTH, "y": top, "w": WIDTH, "h": HEIGHT}
                panels.append(_panel(panel, len(panels) + 1, place))
            top += HEIGHT
    return json.dumps(_around(panels), indent=2) + "\n"


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {
                    "fillOpacity": 20 if panel.stacked else 0,
                    "stacking": {"mode": "normal" if panel.stacked else "none"},
                },
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _around(panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uid": "tunesmith",
        "title": "Tunesmith",
        "description": "Resources of Tunesmith and the operator that works on them.",
        "tags": ["tunesmith"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _variable("job", "Operator", 'label_values(workqueue_depth{name="tunesmith"}, job)'),
                _variable("namespace", "Namespace", 'label_values(tunesmith_resources{job=~"$job"}, namespace)'),
            ]
        },
        "panels": panels,
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
