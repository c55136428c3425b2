"""What every workload needs whatever runs its pods: its config, a place for its progress, and leave to report it."""

from tunesmith_api.contract import PROGRESS_KEY, GatewayRun
from tunesmith_operator.backends.objects import (
    BACKEND_ANNOTATION,
    CONFIG,
    PROGRESS,
    Object,
    in_sandbox,
    make,
    progress_name,
    routes_name,
)
from tunesmith_operator.planner import Workload
from tunesmith_operator.storage import uris_of


class RenderError(ValueError):
    """A workload that cannot run in a cluster, with a sentence that says what to change."""


class UnavailableError(RenderError):
    """A workload that cannot run before the cluster has what it needs."""


def surroundings(workload: Workload, backend: str | None = None) -> tuple[list[Object], str | None]:
    """Return the objects that a workload's pods need, and the ServiceAccount that runs them.

    The progress tells which backend an attempt was started on, unless it is the native one. A sandbox reports nothing
    and has no ServiceAccount. Raises RenderError for storage that only the local shell has.
    """
    if local := [uri for uri in uris_of(workload) if uri.startswith("file://")]:
        raise RenderError(f"{', '.join(local)}: file:// is for the local shell; use pvc:// or s3:// in a cluster")
    if in_sandbox(workload):
        return [_config(workload)], None
    account = workload.pod_template.service_account_name
    parts = [_config(workload), _progress(workload, backend)]
    if account is None:
        account = workload.name
        parts.append(make(workload, "v1", "ServiceAccount", account, CONFIG))
    parts.extend(_permission(workload, account))
    return parts, account


def progress_in(config_map: Object) -> str | None:
    """Return the progress document, as JSON, that a run has left in its ConfigMap."""
    text = (config_map.get("data") or {}).get(PROGRESS_KEY)
    return text if isinstance(text, str) else None


def _config(workload: Workload) -> Object:
    text = workload.config.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return make(workload, "v1", "ConfigMap", workload.name, CONFIG, immutable=True, data={"config.json": text})


def _progress(workload: Workload, backend: str | None) -> Object:
    # Without data of its own an apply leaves alone what the run has filled in.
    made = make(workload, "v1", "ConfigMap", progress_name(workload.name), PROGRESS)
    if backend is not None:
        made["metadata"]["annotations"] = {BACKEND_ANNOTATION: backend}
    return made


def _permission(workload: Workload, account: str) -> tuple[Object, Object]:
    """Let the run's account do one thing: report progress; and a gateway's read its routes."""
    group = "rbac.authorization.k8s.io"
    rules = [_rule(progress_name(workload.name), "get", "patch")]
    if isinstance(workload.config, GatewayRun):
        rules.append(_rule(routes_name(workload.name), "get", "list", "watch"))
    role = make(workload, f"{group}/v1", "Role", workload.name, CONFIG, rules=rules)
    binding = make(
        workload,
        f"{group}/v1",
        "RoleBinding",
        workload.name,
        CONFIG,
        roleRef={"apiGroup": group, "kind": "Role", "name": workload.name},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": workload.namespace}],
    )
    return role, binding


def _rule(config_map: str, *verbs: str) -> Object:
    return {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [config_map], "verbs": list(verbs)}
