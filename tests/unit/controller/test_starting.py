"""What is said when the operator cannot start."""

import json
import os
import subprocess
import sys


def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tunesmith_operator", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_a_cluster_it_says_so_in_a_sentence() -> None:
    done = start(KUBECONFIG="/nonexistent/kubeconfig")

    assert done.returncode == 1
    last = json.loads((done.stdout + done.stderr).strip().splitlines()[-1])
    assert last["level"] == "ERROR"
    assert last["message"].startswith("no cluster to work for: ")
    assert "/nonexistent/kubeconfig" in last["message"]
    assert "exc_info" not in last


def test_an_option_that_is_out_of_bounds_is_refused() -> None:
    done = start("--concurrency", "0")

    assert done.returncode == 2
    assert "--concurrency" in done.stderr
