"""What Helm makes of the chart, and what kustomize makes of config/, as objects."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tools.programs import ROOT

from tests.programs import output, run

CHART = ROOT / "charts/tunesmith"
NAMESPACE = "tunesmith-system"
KINDS = ("evaljobs", "finetunejobs", "modelserves")

Object = dict[str, Any]


def helm_template(*options: str, values: Object | None = None, kubernetes: str = "1.30.0") -> list[Object]:
    """Return the objects of a release called tunesmith; `values` are those of the user."""
    return objects_in(_rendered(_command(options, kubernetes), json.dumps(values or {})))


@cache
def _rendered(command: tuple[str, ...], values: str) -> str:
    return output("helm", *command, text=values)


def helm_refuses(values: Object) -> str:
    """Return what Helm says about values that it does not take."""
    done = run("helm", *_command((), "1.30.0"), text=json.dumps(values))
    assert done.returncode != 0, "Helm takes these values"
    return done.stderr


def kustomize(folder: str) -> list[Object]:
    """Return the objects of a kustomization below the root of the repository."""
    return objects_in(output("kubectl", "kustomize", str(ROOT / folder)))


def objects_in(text: str) -> list[Object]:
    """Return the YAML documents that hold something."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def of_kind(objects: Iterable[Object], kind: str) -> dict[str, Object]:
    """Return the objects of a kind by their names."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def the(objects: Iterable[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = of_kind(objects, kind).values()
    return found


def operator_pod(objects: Iterable[Object]) -> Object:
    """Return the spec of the operator's pods."""
    spec: Object = the(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def rules(role: Object) -> dict[str, set[str]]:
    """Return the verbs of a role by `group/resource`."""
    allowed: dict[str, set[str]] = {}
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}, f"a rule that these tests do not read: {rule}"
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                allowed.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return allowed


def read(path: str) -> str:
    """Return a file of the repository."""
    return Path(ROOT / path).read_text(encoding="utf-8")


def _command(options: tuple[str, ...], kubernetes: str) -> tuple[str, ...]:
    place = ("--namespace", NAMESPACE, "--kube-version", kubernetes)
    return ("template", "tunesmith", str(CHART), *place, "--values", "-", *options)
