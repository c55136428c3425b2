"""What the objects of a cluster say about workloads: their state, and in the pods' own words what is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from tunesmith_api import conditions as c
from tunesmith_api.contract import AdapterReport, PartResult, ProgressDocument
from tunesmith_api.traffic import GatewayReport
from tunesmith_operator.backends import endings, presence, waiting
from tunesmith_operator.backends.children import Children, group
from tunesmith_operator.backends.objects import ROLE_LABEL, SANDBOX_LABEL, SERVER, Object
from tunesmith_operator.backends.shared import progress_in
from tunesmith_operator.planner import ObservedWorkload

__all__ = ["Children", "Problem", "crash_loop", "group", "hindrance", "last_words", "observe", "outdated", "report_of"]

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONTAINER_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# That a pod could not be made: Kubernetes' own word, and KubeRay's.
_NO_POD = {"FailedCreate", "FailedToCreateHeadPod", "FailedToCreateWorkerPod"}
_LONGEST = 2048
_LONG_GONE = timedelta(minutes=10)


@dataclass(frozen=True)
class Problem:
    """What is wrong: a reason of the conditions, and the cluster's words."""

    reason: str
    message: str
    pod: str = ""
    node: str = ""


def observe(children: Children, now: datetime | None = None) -> ObservedWorkload | None:
    """Return what is to be seen of a workload, or None when there is nothing that runs it.

    `now` tells pods that take long to end from those that never will.
    """
    if children.attempt is not None:
        return presence.placed(_run(children, children.attempt, now), children.pods)
    if children.deployment is not None:
        return _server(children, children.deployment)
    if children.stateful_set is None and presence.linger(children.pods, now):
        # Whoever deletes a Job need not wait for its pods; they may work until their grace period is over.
        seen = ObservedWorkload(children.name, "Running", progress=report_of(children), stopping=True)
        return presence.placed(seen, children.pods)
    return None


def _run(children: Children, starter: Object, now: datetime | None) -> ObservedWorkload:
    """Return what is to be seen of an attempt.

    | Job or RayJob    | pods                         | state             |
    |------------------|------------------------------|-------------------|
    | is being deleted | one may still be at work     | Running, stopping |
    | ended well       |                              | Succeeded         |
    | failed           | the driver has yet to end    | Running, stopping |
    | failed           |                              | Failed            |
    | is being deleted |                              | Running, stopping |
    | held by a queue  |                              | Pending           |
    | none of these    | all of them run              | Running           |
    | none of these    | one has not started          | Pending           |
    """
    name, progress = children.name, report_of(children)
    end = endings.ending(starter)
    if starter["metadata"].get("deletionTimestamp") and (end is None or presence.linger(children.pods, now)):
        return ObservedWorkload(name, "Running", progress=progress, stopping=True)
    if end and end.state == "Succeeded":
        if _in_sandbox(starter):  # it could not say so itself
            progress = ProgressDocument(state="Succeeded", result=PartResult())
        return ObservedWorkload(name, "Succeeded", progress=progress, ended_at=end.at)
    if end and presence.driver_lingers(children.pods, now):
        return ObservedWorkload(name, "Running", progress=progress, stopping=True)
    if end:
        words = last_words(children.pods) or Problem("", end.message)
        nodes = (words.node,) if words.node else ()
        failed = ObservedWorkload(name, "Failed", words.message, progress, ended_at=end.at, reason=words.reason)
        return replace(failed, pod=words.pod, nodes=nodes)
    if waits := waiting.for_kueue(starter, children.admission):
        return _unended(name, progress, _problem(c.WAITING_IN_QUEUE, waits), running=False)
    if progress and progress.state in {"Succeeded", "Failed"}:
        # The Job's own word follows within moments; what the run said last stands until then.
        return ObservedWorkload(name, "Running", progress=progress)
    problem = hindrance(children)
    started = [pod for pod in children.pods if _phase(pod) not in {"Pending", "Unknown"}]
    if len(started) < len(children.pods) and (problem is None or problem.reason == c.UNSCHEDULABLE):
        waits = waiting.for_gang(children.pod_group)
        problem = _problem(c.WAITING_IN_QUEUE, waits) if waits else problem
    running = bool(started) and len(started) == len(children.pods) and problem is None
    return _unended(name, progress, problem, running=running)


def _server(children: Children, deployment: Object) -> ObservedWorkload:
    name, said = children.name, _of_pods(children)
    progress = next((each for _, each in said if each.failure), said[0][1] if said else None)
    ready = int(deployment.get("status", {}).get("availableReplicas") or 0)
    service = next((each for each in children.services if _labels(each).get(ROLE_LABEL) == SERVER), None)
    if ready and _is_gateway(deployment):
        # One that says nothing goes by no routes.
        reports = tuple(each.gateway or GatewayReport() for pod, each in said if _is_ready(pod))
        return ObservedWorkload(name, "Running", ready=True, ready_replicas=ready, gateways=reports)
    if ready and service is not None:
        loaded = tuple(each.adapters or AdapterReport() for pod, each in said if _is_ready(pod))
        return ObservedWorkload(
            name, "Running", progress=progress, ready=True, url=_url(service), ready_replicas=ready, adapters=loaded
        )
    problem = hindrance(children) or crash_loop(children.pods)
    failure = progress.failure if progress else None
    if failure and problem and problem.reason == c.CRASH_LOOP:
        return ObservedWorkload(name, "Failed", failure.message, progress, reason=failure.reason)
    running = any(_phase(pod) == "Running" for pod in children.pods)
    return _unended(name, progress, problem, running=running)


def _is_gateway(deployment: Object) -> bool:
    return _labels(deployment).get("app.kubernetes.io/name") == "tunesmith-gateway"


def _of_pods(children: Children) -> list[tuple[Object, ProgressDocument]]:
    """Return the pods of a server, each with what it says of itself."""
    data = (children.progress.get("data") or {}) if children.progress else {}
    documents = ((pod, _document(data.get(f"{pod['metadata']['name']}.json"))) for pod in _by_name(children.pods))
    return [(pod, document or ProgressDocument()) for pod, document in documents]


def outdated(children: Children, now: datetime) -> tuple[str, ...]:
    """Return the keys of a server's progress that pods have left which are long gone."""
    if children.deployment is None or children.progress is None:
        return ()
    alive = {f"{pod['metadata']['name']}.json" for pod in children.pods}
    left = ((key, _document(text)) for key, text in (children.progress.get("data") or {}).items() if key not in alive)
    # A pod may be heard of later than what it says.
    return tuple(key for key, said in left if not said or not said.updated_at or now - said.updated_at > _LONG_GONE)


def _is_ready(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _unended(
    name: str, progress: ProgressDocument | None, problem: Problem | None, *, running: bool
) -> ObservedWorkload:
    message, reason = (problem.message, problem.reason) if problem else ("", "")
    return ObservedWorkload(name, "Running" if running else "Pending", message, progress, reason=reason)


def hindrance(children: Children) -> Problem | None:
    """Return why a pod of a workload does not start, if the cluster says so."""
    for pod in _by_name(children.pods):
        if problem := _of_pod(pod):
            return problem
    return _of_events(children)


def _of_pod(pod: Object) -> Problem | None:
    name = pod["metadata"]["name"]
    for status in _containers(pod):
        waiting = status.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason"), waiting.get("message", "")
        if reason in _IMAGE_REASONS:
            # The kubelet's own words name the image; its pauses between two tries are not the cause.
            return _problem(c.IMAGE_PULL_FAILED, f"pod {name}: image {status['image']} cannot be pulled: {message}")
        if reason in _CONTAINER_REASONS:
            return _problem(c.CONTAINER_NOT_STARTED, f"pod {name}: {reason}: {message}")
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _problem(c.UNSCHEDULABLE, f"pod {name}: {condition.get('message') or condition.get('reason', '')}")
    return None


def _of_events(children: Children) -> Problem | None:
    """Return what Warning events say about pods that are not there, or that wait for their volumes."""
    pending = {pod["metadata"]["name"] for pod in children.pods if _phase(pod) == "Pending"}
    for event in sorted(children.troubles, key=_last_seen, reverse=True):
        about, said = event["involvedObject"], event.get("message", "")
        if event["reason"] == "FailedMount" and about["name"] in pending:
            return _problem(c.VOLUME_NOT_MOUNTED, f"pod {about['name']}: {said}")
        if event["reason"] in _NO_POD and _lacks_pods(children, about):
            reason = c.QUOTA_EXCEEDED if "exceeded quota" in said else c.POD_REFUSED
            return _problem(reason, f"{about['kind']} {about['name']}: {said}")
    return None


def _lacks_pods(children: Children, about: Mapping[str, Any]) -> bool:
    match about["kind"]:
        case "Job":
            return not any(_labels(pod).get("job-name") == about["name"] for pod in children.pods)
        case "StatefulSet" if children.stateful_set is not None:
            made = [pod for pod in children.pods if pod["metadata"]["name"].startswith(f"{about['name']}-")]
            return len(made) < int(children.stateful_set["spec"].get("replicas", 1))
        case "ReplicaSet":
            return not children.pods
        case "RayCluster" if children.ray_job is not None:
            return len(children.pods) < endings.pods_of(children.ray_job)
        case _:
            return False


def last_words(pods: Sequence[Object]) -> Problem | None:
    """Return why the pods of an attempt ended: killed for memory first, then what the driver said."""
    ended = [(pod, status) for pod in _by_name(pods) for status in _terminated(pod)]
    for pod, state in ended:
        if state.get("reason") == "OOMKilled":
            return _problem(
                c.OUT_OF_MEMORY,
                f"pod {pod['metadata']['name']} was killed (OOMKilled): it used more than its memory limit; raise "
                "spec.resources.memory, or lower the batch size or maxLength",
                pod,
            )
    for pod in _by_name(pods):
        if pod.get("status", {}).get("reason") == "Evicted":
            words = f"pod {pod['metadata']['name']} was evicted: {pod['status'].get('message', '')}"
            return _problem(c.EVICTED, words, pod)
    for pod in _by_name(pods):
        if lost := presence.lost(pod):
            reason, words = lost
            return replace(_problem(reason, words, pod), node=presence.node_of(pod) if reason == c.NODE_LOST else "")
    for pod, state in ended:
        if state.get("exitCode"):
            said = (state.get("message") or "").strip() or state.get("reason", "")
            words = f"pod {pod['metadata']['name']} ended with exit code {state['exitCode']}: {said}"
            return _problem(c.CRASHED, words, pod)
    return None


def crash_loop(pods: Sequence[Object]) -> Problem | None:
    """Return the last words of a container that ends again and again."""
    for pod in _by_name(pods):
        for status in _containers(pod):
            before = (status.get("lastState") or {}).get("terminated") or status.get("state", {}).get("terminated")
            if status.get("restartCount", 0) and before:
                if before.get("reason") == "OOMKilled":
                    return last_words([pod])
                said = (before.get("message") or "").strip() or before.get("reason", "")
                return _problem(
                    c.CRASH_LOOP,
                    f"pod {pod['metadata']['name']} ended with exit code {before.get('exitCode')} and is started "
                    f"again: {said}",
                )
    return None


def _terminated(pod: Object) -> Iterator[Mapping[str, Any]]:
    for status in _containers(pod):
        for state in (status.get("state"), status.get("lastState")):
            if state and state.get("terminated"):
                yield state["terminated"]


def _containers(pod: Object) -> Sequence[Mapping[str, Any]]:
    return pod.get("status", {}).get("containerStatuses") or ()


def report_of(children: Children) -> ProgressDocument | None:
    """Return what a workload has reported last, also when it is gone."""
    return _document(progress_in(children.progress) if children.progress else _said_in_sandbox(children.pods))


def _document(text: str | None) -> ProgressDocument | None:
    if text is None:
        return None
    try:
        return ProgressDocument.model_validate_json(text)
    except ValidationError:
        return None  # only the run's own account can write it, and only its own run would suffer


def _in_sandbox(each: Object) -> bool:
    return _labels(each).get(SANDBOX_LABEL) == "true"


def _said_in_sandbox(pods: Sequence[Object]) -> str | None:
    """Return the last words of a pod that reaches no API server: a progress document, if it wrote them itself."""
    said = (state.get("message") for pod in _by_name(pods) if _in_sandbox(pod) for state in _terminated(pod))
    return next((words for words in said if words and words.startswith("{")), None)


def _url(service: Object) -> str:
    meta = service["metadata"]
    return f"http://{meta['name']}.{meta['namespace']}.svc:{service['spec']['ports'][0]['port']}"


def _problem(reason: str, message: str, pod: Object | None = None) -> Problem:
    name = pod["metadata"]["name"] if pod else ""
    return Problem(reason, message if len(message) <= _LONGEST else f"{message[: _LONGEST - 3]}...", name)


def _by_name(pods: Sequence[Object]) -> list[Object]:
    return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _labels(each: Object) -> Mapping[str, str]:
    return each["metadata"].get("labels") or {}


def _last_seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", ""))
