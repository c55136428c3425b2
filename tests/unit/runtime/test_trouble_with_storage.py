"""A store that errs or hangs, and disks that fail: the run goes on or says why, and no bad checkpoint is the latest."""

import errno
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.s3 import BUSY, Answer, S3Server
from tunesmith_runtime.errors import StorageUnavailableError, as_run_error
from tunesmith_runtime.storage import objects
from tunesmith_runtime.train import checkpoints

DATA = "fingerprint"
URI = "s3://workshop/bot/uid-1"


def write(uri: str, step: int) -> None:
    store = checkpoints.store(uri)
    store.prepare()
    staged = store.staging / f"checkpoint-{step}"
    staged.mkdir()
    for name in ("model.safetensors", "optimizer.pt"):
        (staged / name).write_bytes(name.encode() * step)
    store.complete(step, DATA, 9)
    store.clear()


def latest(uri: str) -> int | None:
    store = checkpoints.store(uri)
    store.clear()
    found = store.latest(DATA)
    return found.step if found else None


def test_three_requests_of_ten_that_fail_are_sent_again(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    chance = random.Random(7)
    failed: list[str] = []

    def fails(method: str, path: str) -> Answer | None:
        if chance.random() >= 0.3:
            return None
        failed.append(path)
        return chance.choice([BUSY, ("500 Internal Server Error", "InternalError")])

    s3.refuse(fails)
    write(URI, 10)
    assert latest(URI) == 10
    assert failed


def test_where_it_fails_for_good_the_checkpoint_before_is_the_latest(s3: S3Server) -> None:
    """Whichever write it is that fails."""
    write(URI, 10)
    for cut in range(3):
        left = iter(range(cut))
        s3.refuse(lambda method, path, left=left: BUSY if method == "PUT" and next(left, None) is None else None)  # type: ignore[misc]
        with pytest.raises(StorageUnavailableError, match="cannot answer now"):
            write(URI, 20)
        s3.refuse(lambda method, path: None)
        assert latest(URI) == 10


@pytest.fixture
def silent() -> Iterator[str]:
    """Give the address of a server that accepts and never answers."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in held:
            each.close()


def test_a_store_that_never_answers_is_given_up(s3: S3Server, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(URI, 10)
    monkeypatch.setattr(objects, "READ_SECONDS", 0.2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent)
    with pytest.raises(StorageUnavailableError, match=f"S3 cannot be reached at {silent}: .*[Tt]imeout") as raised:
        write(URI, 20)
    assert raised.value.retryable
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    assert latest(URI) == 10


# A checkpoint on a small disk of its own is followed by others that fail.
ON_A_DISK = """
import sys
from pathlib import Path
from tunesmith_runtime.errors import as_run_error
from tunesmith_runtime.train import checkpoints

store = checkpoints.store(f"file://{Path.cwd()}/disk/checkpoints")

def write(step, size):
    store.prepare()
    staged = store.staging / f"checkpoint-{step}"
    staged.mkdir()
    (staged / "model.safetensors").write_bytes(bytes(size))
    store.complete(step, "fingerprint", 9)

Path("disk/checkpoints").mkdir()
write(10, 1000)
for step, size in (20, 1000), (30, 1 << 20):
    print(flush=True)
    sys.stdin.readline()
    try:
        write(step, size)
    except Exception as error:
        failure = as_run_error(error)
        print(failure.reason, failure.retryable, failure.message, store.latest("fingerprint").step, flush=True)
"""
SHELL = """
    mount -t tmpfs -o size=600k tmpfs disk
    mkfifo in out
    '{python}' -c "$0" < in > out &
    exec 3> in 4< out
    read line <&4
    mount -o remount,ro disk
    echo >&3
    read line <&4; echo "$line"
    mount -o remount,rw disk
    read line <&4
    echo >&3
    read line <&4; echo "$line"
    wait
"""


def test_a_disk_that_is_full_or_read_only_is_said_and_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    private = ["unshare", "--mount", "--map-root-user"] if os.geteuid() else ["unshare", "--mount"]
    command = [*private, "sh", "-c", SHELL.format(python=sys.executable), ON_A_DISK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    read_only, full = done.stdout.splitlines()
    assert read_only.startswith(
        "StorageNotWritable True The volume cannot be written any more, while writing: [Errno 30] Read-only file system"
    ), done.stderr
    assert full.startswith("StorageFull True No space left on the device while writing; free some space"), done.stderr
    assert [line.rpartition(" ")[2] for line in (read_only, full)] == ["10", "10"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ESTALE, "Stale file handle", "/volumes/models/x"), "StorageUnavailable"),
        (RuntimeError("PytorchStreamWriter failed: Input/output error (os error 5)"), "StorageUnavailable"),
        (OSError(errno.EROFS, "Read-only file system", "/volumes/models/x"), "StorageNotWritable"),
        (OSError(errno.ENOSPC, "No space left on device"), "StorageFull"),
        (OSError(errno.ENOENT, "No such file or directory"), "InternalError"),
    ],
)
def test_what_disks_say_becomes_a_reason(error: Exception, reason: str) -> None:
    found = as_run_error(error)
    assert (found.reason, found.retryable) == (reason, True)
