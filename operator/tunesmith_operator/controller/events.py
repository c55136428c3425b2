"""Kubernetes events about our resources: what happened, for `kubectl describe`."""

import hashlib
from datetime import datetime

from tunesmith_api.base import API_VERSION
from tunesmith_operator.controller.client import Api, ApiError
from tunesmith_operator.controller.world import Key
from tunesmith_operator.planner import Event

COMPONENT = "tunesmith"
_LONGEST_MESSAGE = 1024


async def post(api: Api, key: Key, uid: str, event: Event, now: datetime) -> None:
    """Post an event. The same one again is not another event but a higher count of the first."""
    name = f"{key.name}.{_digest(uid, event)}"
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:_LONGEST_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    try:
        await api.create(body)
    except ApiError as error:
        if error.code != 409:
            raise
        # How often is not worth the right to read events: what matters is that it was again, and when.
        await api.merge("Event", key.namespace, name, {"count": 2, "lastTimestamp": time})


def _digest(uid: str, event: Event) -> str:
    return hashlib.sha256("\0".join((uid, event.type, event.reason, event.message)).encode()).hexdigest()[:16]
