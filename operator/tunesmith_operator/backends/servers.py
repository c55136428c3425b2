"""The pods of servers: what fetches their model first, and what serves it where that is not ours."""

from copy import deepcopy

from tunesmith_api.contract import MODEL_CACHE_VARIABLE, MODEL_LINKS_VARIABLE, ServeRun
from tunesmith_api.serving.engine import Engine
from tunesmith_operator.backends.engines import command_line, custom_environment
from tunesmith_operator.backends.objects import Object
from tunesmith_operator.backends.shared import RenderError
from tunesmith_operator.planner import Workload

CACHE_FOLDER = "/models-cache"
# On a volume that all containers of the pod have.
LINKS_FOLDER = "/tmp/served"  # noqa: S108 - an emptyDir of the pod's own
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - in memory, and the pod's own
_DOWNLOADED = ("hf://", "s3://")


def arrange(spec: Object, workload: Workload, settings_image: str) -> None:
    """Change the pod spec of the built-in engine to what the workload's engine and its model cache ask for.

    | engine         | model cache | containers                                           |
    |----------------|-------------|------------------------------------------------------|
    | transformers   | none        | the engine, which fetches what it serves             |
    | transformers   | a claim     | fetch, which fills the cache; the engine             |
    | vllm, custom   | either      | fetch, which also leaves links; the server           |

    Raises RenderError for vLLM without an image.
    """
    config, engine = workload.config, workload.engine
    assert isinstance(config, ServeRun)  # noqa: S101 - only servers have engines
    (container,) = spec["containers"]
    remote = any(uri.startswith(_DOWNLOADED) for uri in (config.model, *(each.uri for each in config.adapters)))
    cached = workload.model_cache is not None and remote
    if cached:
        claim = {"claimName": workload.model_cache}
        spec["volumes"].append({"name": "model-cache", "persistentVolumeClaim": claim})
        container["env"].append({"name": MODEL_CACHE_VARIABLE, "value": CACHE_FOLDER})
        container["volumeMounts"].append({"name": "model-cache", "mountPath": CACHE_FOLDER, "readOnly": True})
    if cached or engine.type != "transformers":
        spec["initContainers"] = [_fetching(container, settings_image)]
    if engine.type != "transformers":
        _replace(container, workload, config, engine)
        # The processes of a server on several GPUs talk through it; the default of 64 MiB is too small for them.
        if all(mount.get("mountPath") != _SHARED_MEMORY for mount in container["volumeMounts"]):
            spec["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory"}})
            container["volumeMounts"].append({"name": "shm", "mountPath": _SHARED_MEMORY})
    # Spread, where it costs nothing: whatever else a node serves, a revision should not be all on one.
    labels = {"app.kubernetes.io/instance": workload.name}
    spec["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
    ]


def _fetching(container: Object, image: str) -> Object:
    """Return the container that runs before a server and has its model on this node, or on its volume, afterwards."""
    fetching = deepcopy(container)
    for name in ("ports", "startupProbe", "readinessProbe", "lifecycle"):
        fetching.pop(name, None)
    fetching |= {"name": "fetch", "image": image, "command": ["python", "-m", "tunesmith_runtime", "fetch"]}
    fetching["env"].append({"name": MODEL_LINKS_VARIABLE, "value": LINKS_FOLDER})
    for mount in fetching["volumeMounts"]:
        if mount["name"] == "model-cache":
            mount["readOnly"] = False
    for amounts in fetching["resources"].values():
        amounts.pop("nvidia.com/gpu", None)
    return fetching


def _replace(container: Object, workload: Workload, config: ServeRun, engine: Engine) -> None:
    """Let the container run a server that is not ours, on the files that were fetched."""
    model = f"{LINKS_FOLDER}/model"
    adapters = {each.name: f"{LINKS_FOLDER}/adapters/{each.name}" for each in config.adapters}
    # Nothing is fetched, and nobody is told: vLLM would send its makers statistics.
    variables = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    if engine.custom is not None:
        variables |= custom_environment(engine.custom, model=model, name=config.run.name)
        port, path = engine.custom.port, engine.custom.health_path
        container["image"] = engine.custom.image
        container |= {"command": list(engine.custom.command)} if engine.custom.command else {}
        container["args"] = list(engine.custom.args)
        if not engine.custom.command:
            del container["command"]
    else:
        port, path = config.port, "/health"
        if workload.pod_template.image is None:
            raise RenderError("engine vllm needs an image that has vLLM; name it in spec.podTemplate.image")
        container["command"] = command_line(
            engine,
            model=model,
            name=config.run.name,
            port=port,
            grace_seconds=config.grace_seconds,
            adapters=adapters,
        )
        # It needs no storage: what it serves is there.
        container.pop("envFrom", None)
    container["env"] += [{"name": name, "value": value} for name, value in variables.items()]
    health = {"httpGet": {"path": path, "port": "http"}}
    container["ports"] = [{"name": "http", "containerPort": port, "protocol": "TCP"}]
    container["startupProbe"] = health | {"periodSeconds": 2, "failureThreshold": 1800}
    container["readinessProbe"] = health | {"periodSeconds": 5}
