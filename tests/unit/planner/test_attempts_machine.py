"""Whatever happens to its pods, its clock, its spec and its status: a job ends, or says what it waits for."""

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.planner.world import Pod, World
from tunesmith_api import conditions as c
from tunesmith_api.contract import RunFailure
from tunesmith_api.finetunejob import AttemptRecord, FineTuneJobStatus, Recovery

ENDED = {"Succeeded", "Failed"}
REASONS = st.sampled_from([c.DATA_INVALID, c.ACCELERATOR_FAILED, c.NODE_LOST, c.HUNG, c.STORAGE_UNAVAILABLE])
picks = st.integers(0, 9)


class Attempts(RuleBasedStateMachine):
    """The steps may come in any order; `teardown` lets the world come to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.asleep = False

    def pod(self, pick: int, *, running: bool = True) -> Pod | None:
        found = [each for each in self.world.alive() if not running or each.seen.state == "Running"]
        return found[pick % len(found)] if found else None

    # The operator

    @rule()
    def sleep_or_wake(self) -> None:
        self.asleep = not self.asleep

    @invariant()
    def look_again(self) -> None:
        if not self.asleep:
            self.look(late=False)

    @rule(late=st.booleans())
    def look(self, late: bool) -> None:
        before = self.world.job.status.phase
        result = self.world.decide()
        for workload in result.ensure:
            self.world.start(workload, hidden=late)
        self.world.write(result.status)
        for name in result.stop:
            self.world.stop(name)
        if before in ENDED:
            assert (result.status.phase, result.ensure) == (before, ())

    @rule(late=st.booleans())
    def die_before_the_status_is_written(self, late: bool) -> None:
        for workload in self.world.decide().ensure:
            self.world.start(workload, hidden=late)

    @rule()
    def die_before_anything_is_stopped(self) -> None:
        result = self.world.decide()
        if not result.ensure:
            self.world.write(result.status)

    # The pods

    @rule(pick=picks)
    def pod_starts(self, pick: int) -> None:
        if (pod := self.pod(pick, running=False)) and not pod.seen.stopping:
            self.world.runs(pod)

    @rule(pick=picks)
    def pod_trains(self, pick: int) -> None:
        if pod := self.pod(pick):
            self.world.trains(pod)

    @rule(pick=picks)
    def pod_finishes(self, pick: int) -> None:
        if pod := self.pod(pick):
            self.world.publishes(pod)

    @rule(pick=picks, reason=REASONS, retryable=st.booleans(), told=st.booleans())
    def pod_fails(self, pick: int, reason: str, retryable: bool, told: bool) -> None:
        if pod := self.pod(pick):
            failure = RunFailure(reason=reason, message="it broke", retryable=retryable)
            self.world.fails(pod, failure if told else None)

    @rule(pick=picks)
    def pod_is_interrupted(self, pick: int) -> None:
        if pod := self.pod(pick):
            pod.becomes(state="Interrupted", ended_at=self.world.now)

    @rule(pick=picks, back=st.booleans())
    def pod_loses_a_worker(self, pick: int, back: bool) -> None:
        if (pod := self.pod(pick)) and pod.seen.progress:
            loss = Recovery(at=self.world.now, worker="w-0", reason=c.WORKER_LOST, step=self.world.steps)
            loss = loss.model_copy(update={"seconds": 3.0 if back else None})
            pod.says(recoveries=(*pod.seen.progress.recoveries, loss)[-16:])

    @rule(pick=picks)
    def pod_goes(self, pick: int) -> None:
        if (pod := self.pod(pick)) and pod.seen.stopping:
            self.world.vanishes(pod)

    @rule(pick=picks, how=st.sampled_from(["slowly", "at once", "without a trace"]))
    def somebody_deletes_it(self, pick: int, how: str) -> None:
        pod = self.pod(pick)
        if pod and how == "slowly":
            self.world.stop(pod.name)
        elif pod and how == "at once":
            self.world.vanishes(pod)
        elif pod and not self.asleep:  # else nobody has ever seen it run
            del self.world.pods[pod.name]

    @rule(pick=picks)
    @precondition(lambda self: len(self.world.pods) > 1)
    def somebody_deletes_what_has_ended(self, pick: int) -> None:
        ended = [each for each in self.world.pods.values() if not each.alive]
        if ended:
            self.world.vanishes(ended[pick % len(ended)])

    # The clock

    @rule(seconds=st.sampled_from([1, 10, 61, 400]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    @rule(days=st.sampled_from([-400, -1, 1, 400]))
    def clock_leaps(self, days: int) -> None:
        self.world.now += timedelta(days=days)

    # The people

    @rule(
        suspend=st.booleans(),
        most=st.integers(1, 4),
        deadline=st.sampled_from([None, None, 100, 100_000]),
        hours=st.sampled_from([None, None, 0.01, 100.0]),
        timeout=st.sampled_from([30, 3600]),
    )
    def edit_policy(self, suspend: bool, most: int, deadline: int | None, hours: float | None, timeout: int) -> None:
        policy = self.world.job.spec.run_policy.model_copy(
            update={
                "suspend": suspend,
                "max_attempts": most,
                "active_deadline_seconds": deadline,
                "gpu_hours": hours,
                "progress_timeout_seconds": timeout,
            }
        )
        spec = self.world.job.spec.model_copy(update={"run_policy": policy})
        self.world.job = self.world.job.model_copy(update={"spec": spec})

    @rule()
    @precondition(lambda self: self.world.job.status.phase not in ENDED)
    def lose_status(self) -> None:
        self.world.reveal()
        self.world.write(FineTuneJobStatus())
        self.world.ran &= {*self.world.pods, *self.world.leftovers}

    @rule(phase=st.sampled_from(["Pending", "Running", "Recovering", "Suspended"]))
    def edit_phase(self, phase: str) -> None:
        self.world.write(self.world.job.status.model_copy(update={"phase": phase}))

    @rule(order=st.sampled_from(["reversed", "doubled", "without the first", "without the last"]))
    def edit_attempts(self, order: str) -> None:
        self.world.reveal()
        records = self.world.job.status.attempts
        changed = {
            "reversed": records[::-1],
            "doubled": records + records[-1:],
            "without the first": records[1:],
            "without the last": records[:-1],
        }[order]
        self.world.write(self.world.job.status.model_copy(update={"attempts": changed}))

    @rule(reason=st.sampled_from([c.SUSPENDED, c.CRASHED, c.VANISHED]))
    def edit_the_last_attempt_to_have_ended(self, reason: str) -> None:
        self.world.reveal()
        records = self.world.job.status.attempts
        if records and records[-1].ended_at is None:
            last = records[-1].model_copy(update={"ended_at": self.world.now, "reason": reason})
            self.world.write(self.world.job.status.model_copy(update={"attempts": (*records[:-1], last)}))

    @rule(pick=picks, days=st.sampled_from([None, -400, 400]))
    def edit_times(self, pick: int, days: int | None) -> None:
        def edited(record: AttemptRecord) -> AttemptRecord:
            time = self.world.now + timedelta(days=days) if days else None
            changes = {"ended_at": time if record.ended_at else None, "started_at": time or record.started_at}
            return record.model_copy(update=changes)

        self.world.reveal()
        records = list(self.world.job.status.attempts)
        if records:
            records[pick % len(records)] = edited(records[pick % len(records)])
            self.world.write(self.world.job.status.model_copy(update={"attempts": tuple(records)}))

    def teardown(self) -> None:
        """Let everything take its course: it ends, or it stays suspended."""
        world = self.world
        for _ in range(120):
            for pod in list(world.pods.values()):
                pod.hidden = False
                if pod.seen.stopping:
                    world.vanishes(pod)
                elif pod.seen.state == "Pending":
                    world.runs(pod)
                elif pod.alive and pod.seen.progress and world.steps == 4 and pod.seen.progress.training:
                    world.publishes(pod)
                elif pod.alive:
                    world.trains(pod)
            self.look(late=False)
            if world.job.status.phase in {*ENDED, "Suspended"} and not world.alive():
                break
            world.now += timedelta(seconds=30)
        assert not world.alive()
        status = world.job.status
        assert status.phase in {*ENDED, "Suspended"}, status
        assert (status.phase == "Suspended") <= world.job.spec.run_policy.suspend
        told = {each.type: each for each in status.conditions}
        kind = {"Succeeded": c.SUCCEEDED, "Failed": c.FAILED, "Suspended": c.SUSPENDED}[status.phase]
        assert told[kind].status == "True"
        assert told[kind].message


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
