"""A small world for ModelServes: pods that get ready or not, gateways that lag behind, evaluations, an operator."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.builders import model_serve
from tunesmith_api import conditions as c
from tunesmith_api.contract import AdapterReport, AdapterSet, ProgressDocument, RefusedAdapter, RunFailure
from tunesmith_api.evaljob import EvalJobStatus, Verdict
from tunesmith_api.meta import Condition
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import EvalJob, ModelServe, Resource, reference
from tunesmith_api.serving.watch import WatchReport
from tunesmith_api.traffic import GatewayReport, RevisionTraffic, Routes
from tunesmith_operator.planner import Observed, ObservedWorkload, Plan, plan

BEGIN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GATEWAY = "support-bot-gateway"


@dataclass
class Deployment:
    """Pods of a revision, or of the gateway."""

    name: str
    wanted: int
    ready: int = 0
    # It never gets ready, for this reason.
    hindered: str = ""
    failure: RunFailure | None = None
    routes: Routes | None = None
    # What its pods should have loaded, what they have, and what they cannot load.
    adapters: AdapterSet | None = None
    loaded: tuple[str, ...] = ()
    refuses: dict[str, str] = field(default_factory=dict)


@dataclass
class ServingWorld:
    """One ModelServe and what is there of it."""

    serve: ModelServe
    now: datetime = BEGIN
    deployments: dict[str, Deployment] = field(default_factory=dict)
    jobs: dict[str, EvalJob] = field(default_factory=dict)
    others: tuple[Resource, ...] = ()
    # What the gateways go by; and what they have seen of revisions.
    routes: Routes | None = None
    traffic: dict[int, RevisionTraffic] = field(default_factory=dict)
    # What each gateway has watched.
    watched: tuple[WatchReport, ...] = ()
    hindered: set[int] = field(default_factory=set)
    lagging: bool = False
    front: str | None = None

    @property
    def status(self) -> ModelServeStatus:
        return self.serve.status

    def observed(self) -> Observed:
        workloads = {each.name: self._seen(each) for each in self.deployments.values()}
        resources = {reference(each): each for each in (*self.jobs.values(), *self.others)}
        return Observed(workloads, resources, address="http://support-bot.default.svc:8000")

    def _seen(self, each: Deployment) -> ObservedWorkload:
        progress = ProgressDocument(state="Failed", failure=each.failure) if each.failure else None
        if each.name == GATEWAY:
            seen = [self.traffic[number] for number in sorted(self.traffic)]
            generation = self.routes.generation if self.routes else 0
            report = GatewayReport(generation=generation, revisions=tuple(seen))
            watched = tuple(report.model_copy(update={"watch": watch}) for watch in self.watched)
            said = (watched or (report,)) if each.ready else ()
            return ObservedWorkload(
                each.name, "Running", ready=each.ready > 0, ready_replicas=each.ready, gateways=said
            )
        url = f"http://{each.name}.default.svc:8000" if each.ready else None
        refused = tuple(RefusedAdapter(name=name, message=why) for name, why in each.refuses.items())
        generation = each.adapters.generation if each.adapters else 0
        loaded = AdapterReport(generation=generation, loaded=each.loaded, refused=refused)
        return ObservedWorkload(
            each.name,
            "Failed" if each.failure else "Running" if each.ready else "Pending",
            each.failure.message if each.failure else each.hindered and "no node has room",
            progress=progress,
            ready=each.ready > 0,
            ready_replicas=each.ready,
            url=url,
            adapters=(loaded,) * each.ready,
            reason=each.failure.reason if each.failure else each.hindered,
        )

    def decide(self) -> Plan[ModelServeStatus]:
        result = plan(self.serve, self.observed(), self.now)
        assert isinstance(result.status, ModelServeStatus)
        text = result.status.model_dump_json(by_alias=True, exclude_none=True)
        assert ModelServeStatus.model_validate_json(text) == result.status
        self._check(result)
        return result

    def _check(self, result: Plan[ModelServeStatus]) -> None:
        """Nobody whom a gateway sends requests to is stopped, or has no pods left."""
        left = {each.name: each.replicas for each in result.ensure}
        if self.routes is not None and GATEWAY in left:
            for upstream in self.routes.upstreams:
                name = f"support-bot-v{upstream.revision}"
                there = self.deployments.get(name)
                if upstream.weight and upstream.url and there and there.ready:
                    assert name not in result.stop, f"{name} is stopped while gateways send requests there"
                    assert name not in left or left[name] > 0, f"{name} has no pods left"
        before = {each.number: each.state for each in self.status.revisions}
        for each in result.status.revisions:
            if each.state == "Promoted":
                assert before.get(each.number, "RollingOut") in {"RollingOut", "Promoted"}
        assert sum(each.state == "Promoted" for each in result.status.revisions) <= 1
        assert sum(each.state == "RollingOut" for each in result.status.revisions) <= 1

    def write(self, result: Plan[ModelServeStatus]) -> None:
        self.serve = self.serve.model_copy(update={"status": result.status})

    def carry_out(self, result: Plan[ModelServeStatus]) -> None:
        for workload in result.ensure:
            there = self.deployments.setdefault(workload.name, Deployment(workload.name, workload.replicas))
            there.wanted, there.routes, there.adapters = workload.replicas, workload.routes, workload.adapters
            there.ready = min(there.ready, there.wanted)
        for name in result.stop:
            self.deployments.pop(name, None)
        for job in result.create:
            self.jobs.setdefault(job.metadata.name, job)
        for name in result.retire:
            self.jobs.pop(name, None)
        self.front = result.front.workload if result.front else None

    def reconcile(self) -> Plan[ModelServeStatus]:
        result = self.decide()
        self.carry_out(result)
        self.write(result)
        return result

    def pods_start(self) -> None:
        """One more pod of each gets ready."""
        for each in self.deployments.values():
            number = int(each.name.rpartition("-v")[2]) if each.name != GATEWAY else 0
            if number not in self.hindered and not each.hindered and not each.failure:
                each.ready = min(each.wanted, each.ready + 1)

    def engines_hear(self) -> None:
        """The pods load and unload adapters."""
        for each in self.deployments.values():
            wanted = each.adapters.adapters if each.adapters else ()
            each.loaded = tuple(adapter.name for adapter in wanted if adapter.name not in each.refuses)

    def gateways_hear(self) -> None:
        there = self.deployments.get(GATEWAY)
        if there and there.ready and not self.lagging:
            self.routes = there.routes

    def settle(self, rounds: int = 12) -> None:
        """Let everything happen that happens by itself without time."""
        for _ in range(rounds):
            self.reconcile()
            self.pods_start()
            self.engines_hear()
            self.gateways_hear()
        self.reconcile()

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def judge(self, name: str, verdict: Verdict) -> None:
        job = self.jobs[name]
        status = EvalJobStatus(phase="Succeeded", verdict=verdict)
        self.jobs[name] = job.model_copy(update={"status": status})

    def sees(self, number: int, **changes: object) -> None:
        """Let the gateways see of a revision."""
        before = self.traffic.get(number, RevisionTraffic(revision=number))
        self.traffic[number] = before.model_copy(update=changes)

    def change(self, **spec: object) -> None:
        """Apply another spec: fields replace those of the one before."""
        meta = self.serve.metadata
        changed = model_serve(**{**self.serve.spec.to_json(), **spec})
        self.serve = changed.model_copy(
            update={
                "metadata": meta.model_copy(update={"generation": meta.generation + 1}),
                "status": self.serve.status,
            }
        )

    def annotate(self, name: str, value: str) -> None:
        meta = self.serve.metadata
        annotations = {**meta.annotations, name: value}
        self.serve = self.serve.model_copy(update={"metadata": meta.model_copy(update={"annotations": annotations})})

    def told(self, kind: str = c.RECONCILING) -> Condition:
        return next(each for each in self.status.conditions if each.type == kind)

    def weights(self) -> dict[int, int]:
        """Return what the gateways go by."""
        return {each.revision: each.weight for each in self.routes.upstreams} if self.routes else {}
