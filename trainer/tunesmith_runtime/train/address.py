"""Where the pods of a run meet."""

import os
import socket
from dataclasses import dataclass
from typing import Self

from tunesmith_api.contract import RAY_ADDRESS_VARIABLE
from tunesmith_runtime.errors import ConfigError

CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class HeadAddress:
    """Where Ray's head of a run listens."""

    host: str
    port: int

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return what $TUNESMITH_RAY_ADDRESS says, or None when it is not set. Raises ConfigError."""
        given = os.environ.get(RAY_ADDRESS_VARIABLE)
        if not given:
            return None
        host, _, port = given.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"${RAY_ADDRESS_VARIABLE} is HOST:PORT, not {given}")
        return cls(host, int(port))

    def answers(self) -> bool:
        """Return whether the host's name is known and somebody listens at the port."""
        return answers(self.host, self.port, CONNECT_SECONDS)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def answers(host: str, port: int, seconds: float) -> bool:
    """Return whether a TCP connection to a port comes about within so many seconds."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def pod_ip() -> str | None:
    """Return this pod's address, or None outside of a cluster."""
    return os.environ.get("POD_IP") or None
