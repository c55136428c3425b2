"""What people tell a rollout from the command line, on this machine or in a cluster: annotations of the ModelServe."""

import json
from typing import Any, Protocol

from tunesmith_api.base import GROUP, VERSION
from tunesmith_api.resources import PLURALS, ModelServe, parse
from tunesmith_operator.local import names
from tunesmith_operator.local.state import State, StateError
from tunesmith_operator.planner.serving import revisions
from tunesmith_operator.planner.serving.commands import ABORT, PAUSED, PROMOTE, UNDO

Annotations = dict[str, str | None]


class Place(Protocol):
    """Where ModelServes are."""

    def read(self, what: str, namespace: str) -> ModelServe:
        """Return the ModelServe named as KIND/NAME. Raises StateError when there is none."""

    def annotate(self, serve: ModelServe, annotations: Annotations) -> None:
        """Set annotations; None takes one away. Raises StateError."""


class Here:
    """The local shell's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def read(self, what: str, namespace: str) -> ModelServe:
        """Return a ModelServe; see `Place`."""
        found = names.find(self._state, what, namespace)
        if not isinstance(found, ModelServe):
            raise StateError(f"{what} is no ModelServe: only these have rollouts")
        return self._state.told(found)

    def annotate(self, serve: ModelServe, annotations: Annotations) -> None:
        """Tell the shell that runs, or the next one."""
        self._state.tell(serve, annotations)


class Cluster:
    """The cluster of the kubeconfig, or the one that this process runs in."""

    def __init__(self) -> None:
        from kubernetes import client, config

        try:
            config.load_config()
        except config.ConfigException as error:
            raise StateError(f"there is no cluster to ask: {error}; set KUBECONFIG") from error
        self._objects = client.CustomObjectsApi()

    def read(self, what: str, namespace: str) -> ModelServe:
        """Return a ModelServe; see `Place`."""
        kind, name = names.split(what)
        if kind != "ModelServe":
            raise StateError(f"{what} is no ModelServe; write it as mserve/NAME")
        found = parse(self._asked("get_namespaced_custom_object", namespace, name))
        assert isinstance(found, ModelServe)  # noqa: S101 - its kind was asked for
        return found

    def annotate(self, serve: ModelServe, annotations: Annotations) -> None:
        """Patch the ModelServe's metadata."""
        meta = serve.metadata
        body = {"metadata": {"annotations": annotations}}
        self._asked("patch_namespaced_custom_object", meta.namespace, meta.name, body=body)

    def _asked(self, verb: str, namespace: str, name: str, **body: Any) -> dict[str, Any]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            asked = getattr(self._objects, verb)(GROUP, VERSION, namespace, PLURALS["ModelServe"], name, **body)
        except ApiException as error:
            try:
                words = str(json.loads(error.body)["message"])
            except (TypeError, ValueError, KeyError):
                words = str(error.reason)
            raise StateError(f"the API server refuses ({error.status}): {words}") from error
        except HTTPError as error:
            raise StateError(f"the API server does not answer: {error}") from error
        return dict(asked)


def promote(serve: ModelServe, *, full: bool) -> tuple[Annotations, str]:
    """Return the annotations that let a rollout go on, and what to say. Raises StateError when there is none."""
    rollout = _rollout(serve)
    if full or rollout.step == 0:
        return {PROMOTE: str(rollout.revision), PAUSED: None}, f"revision {rollout.revision} takes over"
    told = f"{rollout.revision}/{rollout.step}"
    return {PROMOTE: told}, f"step {rollout.step} of the rollout of revision {rollout.revision} is approved"


def pause(serve: ModelServe) -> tuple[Annotations, str]:
    """Return the annotations that hold all rollouts, and what to say."""
    return {PAUSED: "true"}, f"rollouts of {serve.metadata.name} are paused"


def resume(serve: ModelServe) -> tuple[Annotations, str]:
    """Return the annotations that let rollouts go on, and what to say."""
    return {PAUSED: None}, f"rollouts of {serve.metadata.name} go on"


def abort(serve: ModelServe) -> tuple[Annotations, str]:
    """Return the annotations that take the new revision back, and what to say. Raises StateError when there is none."""
    number = _rollout(serve).revision
    return {ABORT: str(number)}, f"revision {number} is taken back; nothing is tried again until the spec changes"


def undo(serve: ModelServe, to: int | None) -> tuple[Annotations, str]:
    """Return the annotations that bring an earlier revision back, and what to say.

    It stays until the spec changes. Raises StateError when there is no such revision.
    """
    status = serve.status
    serving = revisions.serving(status)
    if to is None:
        retired = [each.number for each in status.revisions if each.state == "Retired"]
        if not retired:
            raise StateError(f"no revision of {serve.metadata.name} has served before this one")
        to = retired[-1]
    if revisions.find(status, to) is None:
        known = ", ".join(str(each.number) for each in status.revisions) or "none"
        raise StateError(f"revision {to} of {serve.metadata.name} is not remembered; there are: {known}")
    if serving and serving.number == to:
        raise StateError(f"revision {to} of {serve.metadata.name} serves already")
    told = f"{to}@{serve.metadata.generation}"
    return {UNDO: told}, f"revision {to} is rolled out again, and stays until the spec changes"


def _rollout(serve: ModelServe) -> Any:
    rollout = serve.status.rollout
    if rollout is None:
        raise StateError(f"no revision of {serve.metadata.name} is rolled out now")
    return rollout
