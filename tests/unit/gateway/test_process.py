"""The gateway as a process: light, told to end by SIGTERM, refused in words when it cannot begin."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.local.home import until
from tunesmith_api.contract import GatewayRun, RunIdentity
from tunesmith_runtime.errors import ConfigError, PortTakenError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.gateway.running import listening, run

RUN = RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1)
HEAVY = (
    "torch",
    "transformers",
    "ray",
    "numpy",
    "pandas",
    "pyarrow",
    "datasets",
    "s3fs",
    "opentelemetry",
    "phonenumbers",
)


def test_a_gateway_starts_reports_and_ends_on_sigterm(folder: Path) -> None:
    config, progress, ready = folder / "config.json", folder / "progress.json", folder / "ready"
    config.write_text(GatewayRun(run=RUN, port=0).model_dump_json(by_alias=True))
    (folder / "routes.json").write_text('{"upstreams": [{"revision": 1, "weight": 100}]}')
    variables = {"TUNESMITH_CONFIG": config, "TUNESMITH_PROGRESS": progress, "TUNESMITH_READY": ready}
    with subprocess.Popen(
        [sys.executable, "-m", "tunesmith_runtime"],
        env=os.environ | {name: str(path) for name, path in variables.items()},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: ready.exists() or process.poll() is not None)
        document = ProgressReporter(progress).read()
        assert document.state == "Running"
        with urllib.request.urlopen(f"{document.url}/ready") as answer:
            assert json.load(answer) == {"status": "ready"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert not ready.exists()
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["message"] == "routes taken up"


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, tunesmith_runtime.__main__, tunesmith_runtime.serve.gateway.running\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_port_that_is_taken_is_said(folder: Path) -> None:
    with listening("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 cannot be listened on"):
            run(GatewayRun(run=RUN, port=port), ProgressReporter(folder / "progress.json"))


def test_without_a_place_for_routes_it_does_not_begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_ROUTES")
    with pytest.raises(ConfigError, match=r"set \$TUNESMITH_ROUTES to the file with the gateway's routes"):
        run(GatewayRun(run=RUN, port=0), ProgressReporter(folder / "progress.json"))
