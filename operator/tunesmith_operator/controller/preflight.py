"""What the operator needs of a cluster: its kinds and its rights. What is missing is said in sentences."""

from collections.abc import Sequence

from tunesmith_api.base import API_VERSION, GROUP, Kind
from tunesmith_api.queueing import Gang
from tunesmith_api.resources import PLURALS
from tunesmith_operator.controller.client import Api

# Kinds that are deleted some time after their end, if their spec says so.
EXPIRING: tuple[Kind, ...] = ("FineTuneJob", "EvalJob")
_OBJECT_VERBS = ("get", "list", "watch", "create", "patch", "delete")
# group, resource, verbs; the chart's roles hold the same.
Rights = tuple[tuple[str, str, tuple[str, ...]], ...]
NEEDED: Rights = (
    *((GROUP, plural, ("get", "list", "watch")) for plural in PLURALS.values()),
    *((GROUP, f"{plural}/status", ("patch",)) for plural in PLURALS.values()),
    # For ttlSecondsAfterFinished.
    *((GROUP, PLURALS[kind], ("delete",)) for kind in EXPIRING),
    # For the runs of those that repeat.
    (GROUP, PLURALS["EvalJob"], ("create",)),
    ("", "configmaps", _OBJECT_VERBS),
    ("", "services", _OBJECT_VERBS),
    ("", "serviceaccounts", ("get", "create", "patch", "delete")),
    ("", "secrets", ("create",)),
    ("", "pods", ("get", "list", "watch")),
    ("", "events", ("list", "watch", "create", "patch")),
    ("batch", "jobs", _OBJECT_VERBS),
    ("apps", "deployments", _OBJECT_VERBS),
    ("apps", "statefulsets", _OBJECT_VERBS),
    ("policy", "poddisruptionbudgets", ("get", "create", "patch")),
    ("rbac.authorization.k8s.io", "roles", ("get", "create", "patch", "delete")),
    ("rbac.authorization.k8s.io", "rolebindings", ("get", "create", "patch", "delete")),
)

# The policies that keep pods with code of tasks from the network.
TASK_CODE: Rights = (("networking.k8s.io", "networkpolicies", ("get", "create", "patch")),)
GATEWAY_API: Rights = (("gateway.networking.k8s.io", "httproutes", ("get", "create", "patch", "delete")),)
KUBERAY: Rights = (("ray.io", "rayjobs", _OBJECT_VERBS),)
GANGS: dict[Gang, Rights] = {
    "kueue": (("kueue.x-k8s.io", "workloads", ("get", "list", "watch")),),
    "volcano": (("scheduling.volcano.sh", "podgroups", _OBJECT_VERBS),),
    "coscheduling": (("scheduling.x-k8s.io", "podgroups", _OBJECT_VERBS),),
}


def needed(*, kuberay: bool, gangs: frozenset[Gang], task_code: bool = False, gateway_api: bool = False) -> Rights:
    """Return the rights of an operator that uses KubeRay, gangs, sandboxes for code and HTTPRoutes, or does not."""
    return (
        NEEDED
        + (KUBERAY if kuberay else ())
        + sum((GANGS.get(gang, ()) for gang in sorted(gangs)), ())
        + (TASK_CODE if task_code else ())
        + (GATEWAY_API if gateway_api else ())
    )


async def missing(api: Api, namespaces: Sequence[str], rights: Rights = NEEDED) -> list[str]:
    """Return what the cluster lacks, one sentence each. Raises UnreachableError and ApiError as requests do."""
    if sentence := await missing_kinds(api):
        return [sentence]
    return [sentence for namespace in namespaces or [""] for sentence in await _missing_rights(api, namespace, rights)]


async def missing_kinds(api: Api) -> str | None:
    """Return which CustomResourceDefinitions are not there, as a sentence, or None."""
    served = await api.discover(GROUP, API_VERSION.partition("/")[2])
    absent = [f"{plural}.{GROUP}" for plural in PLURALS.values() if plural not in served]
    if not absent:
        return None
    return f"CustomResourceDefinition {', '.join(absent)} is not installed; apply the crds/ of this version"


async def _missing_rights(api: Api, namespace: str, rights: Rights) -> list[str]:
    sentences = []
    for group, resource, verbs in rights:
        denied = [verb for verb in verbs if not await api.may(verb, group, resource, namespace)]
        if denied:
            where = f"namespace {namespace}" if namespace else "all namespaces"
            name = f"{resource}.{group}" if group else resource
            sentences.append(f"may not {', '.join(denied)} {name} in {where}; apply the roles of this version")
    return sentences
