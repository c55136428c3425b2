"""The script that `helm test` runs, against an operator that is ready and one that is not."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.charts.rendered import CHART, helm_template, read, the

SCRIPT = CHART / "files/ready.py"


@contextmanager
def operator(*answers: tuple[int, str]) -> Iterator[str]:
    """Serve the answers, one a request and the last one for good, and give the URL."""
    waiting = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, text = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/readyz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), url, str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_an_operator_that_is_ready_passes() -> None:
    with operator((200, "ok")) as url:
        done = ask(url, 10)
    assert (done.returncode, done.stdout) == (0, f"{url} answers 200: the operator is ready\n")


def test_one_that_becomes_ready_passes() -> None:
    with operator((503, "not yet"), (200, "ok")) as url:
        done = ask(url, 30)
    assert done.returncode == 0, done.stderr


def test_one_that_does_not_is_quoted() -> None:
    with operator((503, "may not list pods in all namespaces")) as url:
        done = ask(url, 0)
    assert done.returncode == 1
    assert f"{url} answers 503: may not list pods in all namespaces; look at the log" in done.stderr


def test_nobody_at_the_address_is_told() -> None:
    with operator((200, "ok")) as url:
        pass
    done = ask(url, 0)
    assert done.returncode == 1
    assert f"{url} does not answer: " in done.stderr


def test_the_pod_runs_that_script_on_the_operator_s_service() -> None:
    objects = helm_template(values={"port": 9000})
    pod = the(objects, "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["automountServiceAccountToken"] is False
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    script, url, _ = container["args"]
    assert script.strip() == read("charts/tunesmith/files/ready.py").strip()
    service = the(objects, "Service")["metadata"]
    assert url == f"http://{service['name']}.{service['namespace']}.svc:9000/readyz"
