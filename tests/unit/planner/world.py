"""A small world for the planner: pods that do as they like, and an operator that may die at any moment."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tests.builders import fine_tune_job
from tunesmith_api import conditions as c
from tunesmith_api.contract import ProgressDocument, RunFailure, TrainResult, TrainRun
from tunesmith_api.finetunejob import CheckpointRecord, FineTuneJobStatus, PublishedModel, TrainingProgress
from tunesmith_api.resources import FineTuneJob
from tunesmith_operator.planner import Observed, ObservedWorkload, Plan, Workload, plan
from tunesmith_operator.planner.finished import phase_of

STEPS = 4
BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass
class Pod:
    """An attempt as it really is."""

    name: str
    config: TrainRun
    seen: ObservedWorkload
    # The mirror has not heard of it yet.
    hidden: bool = False

    @property
    def alive(self) -> bool:
        return self.seen.alive

    def becomes(self, **changes: object) -> None:
        self.seen = replace(self.seen, **changes)  # type: ignore[arg-type]

    def says(self, **changes: object) -> None:
        document = (self.seen.progress or ProgressDocument()).model_copy(update=changes)
        at = (document.updated_at or BEGIN) + timedelta(seconds=1)
        self.seen = replace(self.seen, progress=document.model_copy(update={"updated_at": at}))

    def step(self, total: int) -> None:
        training = TrainingProgress(step=total, total_steps=STEPS)
        checkpoint = CheckpointRecord(step=total, uri=f"pvc://x/checkpoint-{total}")
        self.says(state="Running", training=training, checkpoint=checkpoint)


@dataclass
class World:
    """One job, its attempts, and what time it is."""

    job: FineTuneJob = field(default_factory=lambda: fine_tune_job(resources={"gpu": 1}))
    now: datetime = BEGIN
    pods: dict[str, Pod] = field(default_factory=dict)
    leftovers: dict[str, ProgressDocument] = field(default_factory=dict)
    # The names of all attempts that ever ran, and whether a model was published.
    ran: set[str] = field(default_factory=set)
    published: bool = False
    steps: int = 0

    def alive(self) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.alive]

    def observed(self) -> Observed:
        # What should be there and is not mirrored is asked for by name.
        asked = {record.workload for record in self.job.status.attempts if record.ended_at is None}
        seen = {pod.name: pod.seen for pod in self.pods.values() if not pod.hidden or pod.name in asked}
        return Observed(seen, leftovers=self.leftovers)

    def reveal(self) -> None:
        """Let the mirror hear of everything: what neither it nor the status knows, nobody can know."""
        for pod in self.pods.values():
            pod.hidden = False

    def decide(self) -> Plan[FineTuneJobStatus]:
        """Return what the planner says, having checked that it is fit to be carried out."""
        result = plan(self.job, self.observed(), self.now)
        assert isinstance(result.status, FineTuneJobStatus)
        self._check(result)
        return result

    def _check(self, result: Plan[FineTuneJobStatus]) -> None:
        status, names = result.status, [workload.name for workload in result.ensure]
        assert len(names) <= 1
        for name in names:
            others = [pod.name for pod in self.alive() if pod.name != name]
            assert not others, f"{name} would run beside {others}"
            assert name in self.pods or name not in self.ran, f"{name} has been there before"
            assert not self.published, f"{name} would train what is published already"
        # What has ended is left as it is, edited or not.
        records = () if phase_of(self.job.status) else status.attempts
        numbers = [record.number for record in records]
        assert numbers == sorted(set(numbers))
        for record in records[:-1]:
            there = self.pods.get(record.workload)
            assert record.ended_at is not None or (there and there.alive), record
        told = {each.type: each for each in status.conditions}
        if told:
            assert all(told[kind].reason for kind in (c.RECONCILING, c.SUCCEEDED, c.FAILED))
        assert type(status).model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True)) == status

    def write(self, status: FineTuneJobStatus) -> None:
        self.job = self.job.model_copy(update={"status": status})

    def start(self, workload: Workload, *, hidden: bool) -> None:
        if workload.name in self.pods:
            return
        assert isinstance(workload.config, TrainRun)
        self.leftovers.pop(workload.name, None)
        self.pods[workload.name] = Pod(
            workload.name, workload.config, ObservedWorkload(workload.name, "Pending"), hidden=hidden
        )

    def stop(self, name: str) -> None:
        if name in self.pods and self.pods[name].alive:
            self.pods[name].becomes(state="Running", stopping=True)

    def runs(self, pod: Pod) -> None:
        self.ran.add(pod.name)
        pod.hidden = False
        pod.becomes(state="Running", running_since=self.now)
        if pod.seen.progress is None:
            pod.says(state="Starting")

    def trains(self, pod: Pod) -> None:
        self.steps = min(self.steps + 1, STEPS)
        pod.step(self.steps)
        if pod.config.limits.seconds is not None and pod.config.limits.seconds <= 0:
            self.publishes(pod, partial=True)

    def publishes(self, pod: Pod, *, partial: bool = False) -> None:
        self.published = True
        model = PublishedModel(uri="pvc://models/support-bot", partial=partial)
        pod.says(state="Succeeded", result=TrainResult(model=model))
        pod.becomes(state="Succeeded", ended_at=self.now)

    def fails(self, pod: Pod, failure: RunFailure | None) -> None:
        if failure:
            pod.says(state="Failed", failure=failure)
        pod.becomes(state="Failed", message="exit code 1", ended_at=self.now)

    def vanishes(self, pod: Pod) -> None:
        del self.pods[pod.name]
        if pod.seen.progress:
            self.leftovers[pod.name] = pod.seen.progress
