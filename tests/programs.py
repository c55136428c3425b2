"""Programs that tests start: those that `python -m tools.programs` fetches."""

import subprocess

from tools.programs import FOLDER


def run(program: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a fetched program to its end and return what it said, whatever its exit code."""
    path = FOLDER / program
    assert path.exists(), f"{path} is not there; run `make programs`"
    return subprocess.run([str(path), *arguments], input=text, capture_output=True, text=True, timeout=120)


def output(program: str, *arguments: str, text: str | None = None) -> str:
    """Run a fetched program that must end well, and return what it printed."""
    done = run(program, *arguments, text=text)
    assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stderr or done.stdout}"
    return done.stdout
