"""API keys of a ModelServe: made here, and known to the gateway by their digest alone."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import yaml
from pydantic import ValidationError

from tunesmith_api.serving.access import SCOPES, ApiKey, Limits

PREFIX = "tsk-"
_BYTES = 32
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class KeyRefusedError(ValueError):
    """A key cannot be made as it was asked for."""


@dataclass(frozen=True)
class NewKey:
    """A key, which is kept nowhere, and what keys.yaml says of it."""

    secret: str
    entry: ApiKey

    def yaml(self) -> str:
        """Return the entry as keys.yaml has it, an item of its list."""
        return yaml.safe_dump([self.entry.to_json()], sort_keys=False)


def new_key(name: str, scopes: Sequence[str], expires: str | None, limits: Limits | None, now: datetime) -> NewKey:
    """Make a key of 256 random bits. Raises KeyRefusedError."""
    secret = PREFIX + secrets.token_urlsafe(_BYTES)
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise KeyRefusedError(f"--scope {unknown[0]}: there is no such scope; there are {', '.join(SCOPES)}")
    try:
        entry = ApiKey(
            name=name,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=tuple(scope for scope in SCOPES if scope in scopes) or SCOPES,
            expires_at=expires_at(expires, now) if expires else None,
            limits=limits,
        )
    except ValidationError:
        raise KeyRefusedError(
            f"{name}: a key's name has up to 63 letters, digits, dots, dashes and underscores, and its ends are "
            "letters or digits"
        ) from None
    return NewKey(secret, entry)


def expires_at(text: str, now: datetime) -> datetime:
    """Return when a key expires: in 12h, 90d or 8w, or on a day such as 2027-01-31. Raises KeyRefusedError."""
    if span := _SPAN.fullmatch(text):
        return (now + int(span[1]) * _UNITS[span[2]]).replace(microsecond=0)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise KeyRefusedError(f"--expires {text}: write it as 12h, 90d, 8w or 2027-01-31") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if time <= now:
        raise KeyRefusedError(f"--expires {text}: that time is over")
    return time
