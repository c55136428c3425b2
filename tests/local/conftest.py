"""What the tests of the local shell share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.home import Home, free_port


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Return an empty home; whatever shell a test leaves running is killed, and its processes with it."""
    home = Home(tmp_path, free_port())
    yield home
    for shell in home.started:
        if shell.poll() is None:
            shell.kill()
        shell.communicate()
