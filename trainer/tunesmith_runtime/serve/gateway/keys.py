"""API keys: who asks, and whether they may."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml
from pydantic import ValidationError

from tunesmith_api.serving.access import KEYS_FILE, ApiKey, ApiKeys, Limits, Scope
from tunesmith_runtime.serve.gateway.logs import Say, say
from tunesmith_runtime.serve.gateway.refusals import Refusal

_LONGEST_KEY = 512
_SHOWN_PROBLEMS = 3
_CHALLENGE = {"www-authenticate": "Bearer"}


@dataclass(frozen=True)
class Caller:
    """Who asks. Without keys all clients are one caller without a name."""

    name: str | None
    limits: Limits | None


ANYBODY = Caller(None, None)


class Keys:
    """Goes by the newest keys.yaml that could be read."""

    def __init__(self, log: Say = say, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._keys: tuple[tuple[bytes, ApiKey], ...] | None = None
        self._log = log
        self._now = now

    def take_up(self, document: bytes) -> None:
        """Go by a keys.yaml from now on, or say why not; nothing of the file is said, for what it may hold."""
        try:
            entries = yaml.safe_load(document)
            # By way of JSON, as YAML has types of its own for times.
            found = ApiKeys.model_validate_json(json.dumps({"keys": entries or []}, default=str))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False, include_context=False)[
                    :_SHOWN_PROBLEMS
                ]
            )
            self._log(f"{KEYS_FILE} cannot be used: {problems}; {self._held()}")
            return
        except (yaml.YAMLError, ValueError, TypeError, RecursionError):
            self._log(f"{KEYS_FILE} cannot be used: it is no list in YAML; {self._held()}")
            return
        self._keys = tuple((bytes.fromhex(key.sha256), key) for key in found.keys)
        self._log("API keys taken up", keys=len(found.keys))

    def _held(self) -> str:
        return "nobody can ask yet" if self._keys is None else "the keys from before go on to count"

    def caller(self, authorization: str | None, scope: Scope | None) -> Caller:
        """Return who asks by the header `authorization`, and may do what the scope names. Raises Refusal."""
        if self._keys is None:
            raise Refusal(503, "no_keys", "the gateway has no list of API keys yet; try again", retry_after=5)
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refusal(
                401, "missing_api_key", "send an API key in the header authorization: Bearer KEY", headers=_CHALLENGE
            )
        found = self._find(key)
        if found is None:
            raise Refusal(401, "invalid_api_key", "the API key is not known here", headers=_CHALLENGE)
        if found.expires_at is not None and found.expires_at <= self._now():
            raise Refusal(401, "expired_api_key", "the API key has expired", headers=_CHALLENGE)
        if scope is not None and scope not in found.scopes:
            raise Refusal(403, "missing_scope", f"the API key lacks the scope {scope}")
        return Caller(found.name, found.limits)

    def _find(self, key: str) -> ApiKey | None:
        """Compare with all keys, whichever fits: how long it takes says nothing."""
        digest = hashlib.sha256(key[:_LONGEST_KEY].encode("utf-8", "surrogatepass")).digest()
        found = None
        for known, entry in self._keys or ():
            if hmac.compare_digest(known, digest):
                found = entry
        return found
