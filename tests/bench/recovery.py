"""How long until training goes on after a kill, by what was killed: `make bench-recovery`.

Plays rounds of tests/cluster/chaos on the cluster, and prints the median and the worst of each kind of victim.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


def main() -> None:
    """Play $CHAOS_ROUNDS rounds (25) and print the table; exit with pytest's code."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "outcomes.jsonl"
        found.touch()
        environment = {"CHAOS_ROUNDS": "25", **os.environ, "CHAOS_RECORD": str(found)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/cluster/chaos"], env=environment, check=False
        )
        show([json.loads(line) for line in found.read_text().splitlines()])
    sys.exit(done.returncode)


def show(outcomes: list[dict[str, Any]]) -> None:
    """Print a row for each kind of victim: how often, seconds until steps advanced, steps repeated."""
    table = Table(title="Recovery on this machine", caption=f"{os.cpu_count()} cores")
    for column in ("killed", "times", "median s", "worst s", "most steps repeated"):
        table.add_column(column, justify="left" if column == "killed" else "right")
    for victim in sorted({str(each["victim"]) for each in outcomes}):
        own = [each for each in outcomes if each["victim"] == victim]
        seconds = [each["seconds"] for each in own]
        repeated = max(each["repeated"] for each in own)
        table.add_row(victim, str(len(own)), f"{median(seconds):.1f}", f"{max(seconds):.1f}", f"{repeated:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
