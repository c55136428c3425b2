"""The status of a resource that cannot be read, because its spec breaks the rules of the API."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tunesmith_api import conditions as c
from tunesmith_api.meta import Condition
from tunesmith_operator.planner.situation import Situation, conditions_of_job, conditions_of_server, is_true, transition
from tunesmith_operator.planner.types import Event

_conditions = TypeAdapter(tuple[Condition, ...])


def invalid(raw: dict[str, Any], sentences: Sequence[str], now: datetime) -> tuple[dict[str, Any], tuple[Event, ...]]:
    """Return the status of an object that is not a valid resource, and the events to post: it stands still.

    What the status said besides stays, so that a job whose spec is corrected goes on.
    """
    status = dict(raw.get("status") or {})
    previous = _previous(status)
    generation = int(raw["metadata"].get("generation", 1))
    situation = Situation("blocked", c.SPEC_INVALID, "; ".join(sentences))
    if raw["kind"] == "ModelServe":
        told = conditions_of_server(situation, is_true(previous, c.READY), previous, generation, now)
    else:
        told = conditions_of_job(situation, previous, generation, now)
        told += tuple(each for each in previous if each.type in {c.PASSED, c.SUSPENDED, c.QUEUED})
    status["conditions"] = [each.to_json() for each in told]
    status["observedGeneration"] = generation
    status.setdefault("phase", "Pending")
    return status, transition(situation, previous)


def _previous(status: dict[str, Any]) -> tuple[Condition, ...]:
    try:
        return _conditions.validate_json(json.dumps(status.get("conditions") or []))
    except ValidationError:
        return ()
