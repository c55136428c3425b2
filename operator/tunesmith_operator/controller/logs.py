"""The operator's log: one JSON object a line, each with the resource it speaks of."""

import logging
import sys
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

Format = Literal["json", "text"]

# The resource that is being reconciled, as KIND NAMESPACE/NAME.
current: ContextVar[str] = ContextVar("current", default="")


class _WithObject(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.object = current.get()
        return True


def configure(level: str, form: Format) -> None:
    """Send all logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithObject())
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(object)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(object)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These tell of each request or each step of their own; of an API server that is away we tell once.
    quiet = {"aiohttp.access": logging.WARNING, "kubernetes.aio": logging.WARNING, "kopf": logging.CRITICAL}
    for name, least in quiet.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))
