"""`tunesmith keys`: a key is shown once, and its entry is what the gateway takes."""

import hashlib
from datetime import UTC, datetime

import pytest
import yaml
from typer.testing import CliRunner

from tunesmith_operator.cli import app
from tunesmith_operator.keys import KeyRefusedError, expires_at
from tunesmith_runtime.serve.gateway.keys import Keys

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_a_new_key_is_taken_by_the_gateway() -> None:
    result = CliRunner().invoke(app, ["keys", "new", "app", "--scope", "chat", "--requests-per-minute", "60"])
    assert result.exit_code == 0
    secret, _, entry = result.stdout.partition("\n")
    assert secret.startswith("tsk-")
    assert secret not in entry
    assert yaml.safe_load(entry) == [
        {
            "name": "app",
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "scopes": ["chat"],
            "limits": {"requestsPerMinute": 60},
        }
    ]
    keys = Keys(log=lambda *_, **__: None)
    keys.take_up(entry.encode())
    assert keys.caller(f"Bearer {secret}", "chat").name == "app"


def test_an_expiry_survives_the_trip() -> None:
    entry = CliRunner().invoke(app, ["keys", "new", "app", "--expires", "90d"]).stdout.partition("\n")[2]
    found = yaml.safe_load(entry)[0]
    assert found["scopes"] == ["chat", "completions", "embeddings", "models", "feedback"]
    assert datetime.fromisoformat(found["expiresAt"]) > datetime.now(UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("12h", datetime(2026, 11, 22, 0, 0, tzinfo=UTC)),
        ("1d", datetime(2026, 11, 22, 12, 0, tzinfo=UTC)),
        ("2w", datetime(2026, 12, 5, 12, 0, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
    ],
)
def test_when_a_key_expires(text: str, time: datetime) -> None:
    assert expires_at(text, NOW) == time


@pytest.mark.parametrize("text", ["soon", "0d", "-1d", "9y"])
def test_an_expiry_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(KeyRefusedError, match="write it as 12h, 90d, 8w or 2027-01-31"):
        expires_at(text, NOW)


def test_a_time_that_is_over_is_refused() -> None:
    with pytest.raises(KeyRefusedError, match="that time is over"):
        expires_at("2020-01-01", NOW)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bad name"], "a key's name has up to 63 letters"),
        (["app", "--scope", "admin"], "there is no such scope; there are chat, completions"),
        (["app", "--expires", "soon"], "write it as"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_in_words(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["keys", "new", *arguments])
    assert result.exit_code == 1
    assert words in result.stderr
