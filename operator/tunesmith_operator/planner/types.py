"""What goes into a plan and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from tunesmith_api.base import Resources
from tunesmith_api.contract import AdapterReport, AdapterSet, ProgressDocument, RunConfig, RunIdentity
from tunesmith_api.endpoint import SecretKey
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import FineTuneJobStatus
from tunesmith_api.meta import Reference
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.queueing import Backend, Queue
from tunesmith_api.resources import EvalJob, Resource
from tunesmith_api.serving.engine import Engine
from tunesmith_api.serving.traffic import HttpRoute
from tunesmith_api.traffic import GatewayReport, Routes

Status = FineTuneJobStatus | EvalJobStatus | ModelServeStatus
StatusT = TypeVar("StatusT", FineTuneJobStatus, EvalJobStatus, ModelServeStatus)

# Interrupted: it was stopped, or its host went away, through no fault of its own.
WorkloadState = Literal["Pending", "Running", "Succeeded", "Failed", "Interrupted"]


@dataclass(frozen=True)
class Workload:
    """Something that should run: a training or evaluation attempt, or a server. Its name is its identity."""

    name: str
    namespace: str
    config: RunConfig
    resources: Resources
    replicas: int = 1
    pod_template: PodTemplate = field(default_factory=PodTemplate)
    # All of whose keys become environment variables; and single keys that do.
    secrets: tuple[str, ...] = ()
    keys: tuple[SecretKey, ...] = ()
    # From SIGTERM to SIGKILL; None: what the backend gives.
    grace_seconds: int | None = None
    # Nodes that its pods keep away from where there are others.
    avoid_nodes: tuple[str, ...] = ()
    backend: Backend = "auto"
    queue: Queue | None = None
    # Of a server: what answers, and the claim that keeps models for all of its pods.
    engine: Engine = field(default_factory=Engine)
    model_cache: str | None = None
    # Of a gateway: where it sends requests. They may change while it runs.
    routes: Routes | None = None
    # Of a server whose adapters may change while it runs: which ones it should have.
    adapters: AdapterSet | None = None


@dataclass(frozen=True)
class Front:
    """The one address of a ModelServe, and whose pods are behind it: a workload's, or those of all its revisions.

    With a `route`, requests also come by Gateways, and go to workloads by `weights`, in percent. `unroute`: there was
    one before.
    """

    owner: RunIdentity
    port: int
    workload: str | None
    gateway: bool = False
    route: HttpRoute | None = None
    weights: tuple[tuple[str, int], ...] = ()
    unroute: bool = False


@dataclass(frozen=True)
class ObservedWorkload:
    """What a backend sees of a workload.

    `reason` is one of the conditions' reasons, when something is wrong with it. `ready`, `ready_replicas` and `url` are
    for servers: whether it answers completions, how many of its pods do, and where; `gateways` is what those of a
    gateway say of the traffic, and `adapters` what those of a server say of theirs, one for each that is ready.
    `stopping`: it has been told to end, and is not gone yet; its state is Running until then. `running_since` is when
    its first pod ran, `pod` the one that it died of, and `nodes` where its pods are or were: only that pod's node when
    the node is to blame.
    """

    name: str
    state: WorkloadState
    message: str = ""
    progress: ProgressDocument | None = None
    ended_at: datetime | None = None
    ready: bool = False
    url: str | None = None
    ready_replicas: int = 0
    gateways: tuple[GatewayReport, ...] = ()
    adapters: tuple[AdapterReport, ...] = ()
    reason: str = ""
    stopping: bool = False
    running_since: datetime | None = None
    pod: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether anything of it may still run."""
        return self.state in {"Pending", "Running"}


@dataclass(frozen=True)
class Observed:
    """The world as far as a plan may depend on it: the resource's own workloads, and the resources of its namespace.

    `leftovers` are the last words of workloads that are gone, by name, as far as they are known. `address` is the URL
    of the resource's `Front`, where there is such a thing: on one machine there is not, and whoever listens on the
    resource's port is its own front.
    """

    workloads: Mapping[str, ObservedWorkload] = field(default_factory=dict)
    resources: Mapping[Reference, Resource] = field(default_factory=dict)
    leftovers: Mapping[str, ProgressDocument] = field(default_factory=dict)
    address: str | None = None


@dataclass(frozen=True)
class Event:
    """A transition that people may want to know of."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan(Generic[StatusT]):
    """What follows from a resource and what is observed.

    `ensure` should run and is started when it does not; `stop` should not run; every other workload is left alone.
    What is stopped has its grace period, and stays observed until it is gone. `requeue_after` says when to look again
    if nothing happens before. `delete`: the resource itself is to be deleted. `create` are resources of its own that
    should be there, each created once and never written again; `retire` names EvalJobs of its own to delete.
    """

    status: StatusT
    ensure: tuple[Workload, ...] = ()
    stop: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: timedelta | None = None
    delete: bool = False
    create: tuple[EvalJob, ...] = ()
    retire: tuple[str, ...] = ()
    front: Front | None = None
