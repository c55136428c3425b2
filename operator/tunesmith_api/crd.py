"""CustomResourceDefinitions of the three kinds."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from tunesmith_api.base import GROUP, VERSION, Kind, ResourceName
from tunesmith_api.resources import KINDS, PLURALS, SHORT_NAMES
from tunesmith_api.rules import RULES, Rule
from tunesmith_api.schema import Schema, structural_schema

CATEGORY = "tunesmith"
VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; with priority 1 of `kubectl get -o wide` only."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


_AGE = Column("Age", ".metadata.creationTimestamp", "date")
COLUMNS: dict[Kind, tuple[Column, ...]] = {
    "FineTuneJob": (
        Column("Phase", ".status.phase"),
        Column("Progress", ".status.progress.percent", "integer", "Percent of the steps done."),
        Column("Step", ".status.progress.step", "integer"),
        Column("Loss", ".status.progress.loss", "number"),
        Column("ETA", ".status.progress.eta", "string", "When training is expected to end."),
        Column("Attempt", ".status.attempt", "integer"),
        Column("Tokens/s", ".status.progress.tokensPerSecond", "number", priority=1),
        Column("Model", ".status.output.uri", priority=1),
        _AGE,
    ),
    "EvalJob": (
        Column("Phase", ".status.phase"),
        Column("Verdict", ".status.verdict"),
        Column("Metric", ".status.results[0].metric"),
        Column("Value", ".status.results[0].value", "number"),
        Column("Delta", ".status.results[0].delta", "number", "Value minus the baseline's."),
        Column("Report", ".status.report", priority=1),
        Column("Rating", ".status.ratingUrl", description="The page on which people vote.", priority=1),
        _AGE,
    ),
    "ModelServe": (
        Column("Phase", ".status.phase"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("URL", ".status.url"),
        Column("Revision", ".status.stable.revision", "integer", "The revision that serves."),
        Column("Canary", ".status.canary.revision", "integer", "The revision that is rolled out."),
        Column("Weight", ".status.canary.weight", "integer", "Percent of the requests that it gets."),
        Column("Replicas", ".status.replicas", "integer", "Pods that answer.", priority=1),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", priority=1),
        _AGE,
    ),
}

# What a HorizontalPodAutoscaler, or `kubectl scale`, goes by.
SCALE: dict[Kind, dict[str, Any]] = {
    "ModelServe": {
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    }
}


def custom_resource_definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind as plain values."""
    plural = PLURALS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [SHORT_NAMES[kind]],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}, **SCALE.get(kind, {})},
                    "additionalPrinterColumns": [_column(column) for column in COLUMNS[kind]],
                    "schema": {"openAPIV3Schema": resource_schema(kind)},
                }
            ],
        },
    }


def resource_schema(kind: Kind) -> Schema:
    """Return the schema of a whole resource, with its CEL rules."""
    model = KINDS[kind]
    schema: Schema = {
        "description": model.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object", "properties": {"name": _name()}},
            "spec": _part(model, "spec"),
            "status": _part(model, "status"),
        },
    }
    for rule in RULES[kind]:
        target = _at(schema, rule)
        validation = {"rule": rule.rule, "message": rule.message}
        if rule.field:
            validation["fieldPath"] = f".{rule.field}"
        target.setdefault(VALIDATIONS, []).append(validation)
    return schema


def _name() -> Schema:
    name = TypeAdapter(ResourceName).json_schema()
    return {**name, "description": "Name; shorter than Kubernetes allows, because names of pods are made from it."}


def _part(model: type[BaseModel], name: str) -> Schema:
    annotation = model.model_fields[name].annotation
    assert isinstance(annotation, type)  # noqa: S101 - spec and status are models
    return structural_schema(annotation)


def _at(schema: Schema, rule: Rule) -> Schema:
    for part in filter(None, rule.path.split(".")):
        name = part.removesuffix("[]")
        schema = schema["properties"][name]
        if part.endswith("[]"):
            schema = schema["items"]
    return schema


def _column(column: Column) -> dict[str, Any]:
    printed: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        printed["description"] = column.description
    if column.priority:
        printed["priority"] = column.priority
    return printed
