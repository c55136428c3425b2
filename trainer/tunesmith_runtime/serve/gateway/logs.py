"""The gateway's log: a JSON object on each line."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

# Takes a sentence and what belongs to it.
Say = Callable[..., None]


def say(message: str, **fields: Any) -> None:
    """Write a line to the log; what is None is left out."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "message": message}
    line |= {name: value for name, value in fields.items() if value is not None}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
