"""What manifests would become in a cluster now, as YAML."""

from collections.abc import Sequence
from datetime import datetime

import yaml

from tunesmith_api import conditions as c
from tunesmith_api.resources import ModelServe, Resource, reference
from tunesmith_operator.backends import choice, fronts, native
from tunesmith_operator.backends.kuberay import Offer
from tunesmith_operator.planner import Observed, plan
from tunesmith_operator.planner.situation import find

# There is no cluster to ask: KubeRay is there for those who name it.
_OFFER = Offer(served=True, recent=True)


def rendered(resources: Sequence[Resource], settings: native.Settings, now: datetime) -> str:
    """Return the objects of each resource as YAML documents; of one that waits, a comment that says for what.

    Raises native.RenderError for what cannot run in a cluster.
    """
    parts: list[str] = []
    for resource in resources:
        namespace = resource.metadata.namespace
        neighbours = {reference(each): each for each in resources if each.metadata.namespace == namespace}
        address = fronts.address_of(resource) if isinstance(resource, ModelServe) else None
        decision = plan(resource, Observed(resources=neighbours, address=address), now)
        title = f"# {resource.kind} {namespace}/{resource.metadata.name}"
        if not decision.ensure:
            told = find(decision.status.conditions, c.RECONCILING)
            parts.append(f"{title}: nothing yet: {told.message if told else decision.status.phase}\n")
        for workload in decision.ensure:
            documents = choice.render(workload, settings, _OFFER, choice.choose(workload, settings, _OFFER))
            parts.extend(f"---\n{title}\n{_yaml(document)}" for document in documents)
        if decision.front:
            parts.extend(f"---\n{title}\n{_yaml(document)}" for document in fronts.objects(decision.front))
    return "".join(parts)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, for people to read."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(document: native.Object) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120)
