"""What the gateway costs: an engine alone, through the gateway, and through it with all features, in one run.

`python -m tests.bench.serving [--streams N] [--tokens N] [--built-in | --engine URL --model NAME]`.
The engine is one of the bench's own that streams at a fixed pace, unless another is asked for.
"""

import argparse
import asyncio
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tunesmith_api.contract import GatewayRun, RunIdentity, ServeRun

KEY = "bench-key"
PROMPT = "Tell me what you know of the moon, of the sun, and of the way from one to the other. " * 4
MANY_STREAMS = 500
WARM_UP = 20
REQUESTS = 200


@dataclass(frozen=True)
class Target:
    """Something that answers, and the process whose memory counts."""

    name: str
    port: int
    process: psutil.Process | None = None


@dataclass(frozen=True)
class Streams:
    """What many streams at the same time took."""

    tokens_per_second: float
    first_token_ms: float
    first_token_p99_ms: float
    seconds_p99: float
    memory_mb: float


def request(model: str, **more: Any) -> bytes:
    """Return a request as bytes, so that asking costs little."""
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": PROMPT}], "user": "u1", **more}
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        + f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )


async def one_by_one(target: Target, asked: bytes, count: int) -> list[float]:
    """Ask on one connection, one request after another; return the seconds that each took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    took = []
    for _ in range(count):
        began = time.perf_counter()
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        took.append(time.perf_counter() - began)
    writer.close()
    return took


async def stream(target: Target, asked: bytes) -> tuple[int, float, float]:
    """Take one stream; return its events, seconds to the first one, and to the end."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(asked)
    first, tokens, tail = 0.0, 0, b""
    while not tail.endswith(b"0\r\n\r\n"):
        part = await reader.read(65536)
        assert part, f"{target.name} broke off after {tokens} tokens: {tail!r}"
        seen = part.count(b'"content":')
        if seen and not tokens:
            first = time.perf_counter() - began
        tokens += seen
        tail = (tail + part)[-64:]
    writer.close()
    return tokens, first, time.perf_counter() - began


async def at_once(target: Target, asked: bytes, count: int) -> Streams:
    """Take streams at the same time."""
    most = 0.0

    async def watch() -> None:
        nonlocal most
        while target.process is not None:
            most = max(most, target.process.memory_info().rss / 2**20)
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    taken = await asyncio.gather(*(stream(target, asked) for _ in range(count)))
    seconds = time.perf_counter() - began
    watching.cancel()
    firsts = sorted(first for _, first, _ in taken)
    whole = sorted(end for _, _, end in taken)
    return Streams(
        sum(tokens for tokens, _, _ in taken) / seconds,
        1000 * statistics.median(firsts),
        1000 * firsts[int(0.99 * (len(firsts) - 1))],
        whole[int(0.99 * (len(whole) - 1))],
        most,
    )


@contextmanager
def engine() -> Iterator[int]:
    """Run the bench's own engine."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.paced_engine", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield port
        finally:
            process.terminate()


@contextmanager
def built_in() -> Iterator[int]:
    """Run the built-in engine on a tiny model."""
    from tests.tiny import make_tiny_model

    port = free_port()
    run = RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model = make_tiny_model(home / "model", [PROMPT] * 8)
        config = ServeRun(run=run, model=f"file://{model}", port=port)
        (home / "config.json").write_text(config.model_dump_json(by_alias=True))
        with process(home, home / "progress.json", 120):
            yield port


@contextmanager
def process(home: Path, progress: Path, seconds: float, **variables: str) -> Iterator[psutil.Process]:
    """Run the runtime on the config in a folder; give its process once it serves."""
    variables |= {"TUNESMITH_CONFIG": str(home / "config.json"), "TUNESMITH_PROGRESS": str(progress)}
    command = [sys.executable, "-m", "tunesmith_runtime"]
    with subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as started:
        deadline = time.monotonic() + seconds
        while '"Running"' not in _text(progress):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield psutil.Process(started.pid)
        finally:
            started.terminate()


@contextmanager
def gateway(name: str, url: str, model: str, **policy: Any) -> Iterator[Target]:
    """Run a gateway in front of an engine, as the operator does."""
    port = free_port()
    run = RunIdentity(kind="ModelServe", namespace="default", name=model, uid="u", attempt=1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prompt = policy.pop("prompt", None)
        upstream = {"revision": 1, "url": url, "weight": 100, **({"prompt": prompt} if prompt else {})}
        (home / "routes.json").write_text(json.dumps({"upstreams": [upstream], **policy}))
        (home / "config.json").write_text(GatewayRun(run=run, port=port).model_dump_json(by_alias=True))
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        (home / "keys.yaml").write_text(json.dumps([{"name": "bench", "sha256": digest}]))
        variables = {
            "TUNESMITH_ROUTES": str(home / "routes.json"),
            "TUNESMITH_API_KEYS": folder,
            "TUNESMITH_VOLUMES": folder,
        }
        with process(home, home / "progress.json", 30, **variables) as started:
            yield Target(name, port, started)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


ALL_FEATURES: dict[str, Any] = {
    "auth": {"apiKeysSecretRef": {"name": "keys"}},
    "limits": {"requestsPerMinute": 100_000, "tokensPerMinute": 1_000_000_000, "maxConcurrentRequests": 10_000},
    "traffic": {"sticky": {"by": "user"}},
    "capture": {"uri": "pvc://capture/traffic"},
    "prompt": {"system": "You answer in short sentences.", "fewShot": [{"user": "Hi", "assistant": "Hello."}]},
}


@dataclass(frozen=True)
class Found:
    """What a target took in one round."""

    request_ms: float
    streams: Streams


def measure(targets: list[Target], model: str, streams: int, tokens: int, rounds: int) -> None:
    """Print what each target takes, and its share of the first one's: the best of rounds in which each has its turn."""
    whole, streamed = request(model, max_tokens=1), request(model, max_tokens=tokens, stream=True)
    found: dict[str, list[Found]] = {target.name: [] for target in targets}
    for _ in range(rounds):
        for target in targets:
            took = asyncio.run(one_by_one(target, whole, WARM_UP + REQUESTS))[WARM_UP:]
            found[target.name].append(
                Found(1000 * statistics.median(took), asyncio.run(at_once(target, streamed, streams)))
            )
    best = {
        name: Found(
            min(each.request_ms for each in rounds_),
            max((each.streams for each in rounds_), key=lambda each: each.tokens_per_second),
        )
        for name, rounds_ in found.items()
    }
    alone = best[targets[0].name]
    print(
        f"{'':24}{'ms a request':>14}{'+ms':>7}{'tokens/s':>11}{'ratio':>8}{'first ms':>10}{'p99':>8}{'end p99 s':>11}"
    )
    for name, each in best.items():
        print(
            f"{name:24}{each.request_ms:14.2f}{each.request_ms - alone.request_ms:7.2f}"
            f"{each.streams.tokens_per_second:11.0f}"
            f"{each.streams.tokens_per_second / alone.streams.tokens_per_second:8.3f}"
            f"{each.streams.first_token_ms:10.1f}{each.streams.first_token_p99_ms:8.1f}{each.streams.seconds_p99:11.2f}"
        )


def measure_many(targets: list[Target], model: str, tokens: int) -> None:
    """Print what very many streams at once take."""
    streamed = request(model, max_tokens=tokens, stream=True)
    for target in targets:
        many = asyncio.run(at_once(target, streamed, MANY_STREAMS))
        memory = f", {many.memory_mb:.0f} MB resident at most" if target.process else ""
        print(f"{target.name}: {MANY_STREAMS} streams at once: {many.tokens_per_second:.0f} tokens/s{memory}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", help="URL of another engine on this machine, such as http://127.0.0.1:8000")
    parser.add_argument("--model", default="bot")
    parser.add_argument("--built-in", action="store_true", help="the built-in engine, on a tiny model")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.engine:
            port = int(options.engine.rpartition(":")[2])
        else:
            port = stack.enter_context(built_in() if options.built_in else engine())
        url = f"http://127.0.0.1:{port}"
        features = dict(ALL_FEATURES)
        if options.built_in or options.engine:
            del features["prompt"]  # reading it takes the engine time, not the gateway
        targets = [
            Target("engine alone", port),
            stack.enter_context(gateway("gateway", url, options.model)),
            stack.enter_context(gateway("gateway, all features", url, options.model, **features)),
        ]
        measure(targets, options.model, options.streams, options.tokens, options.rounds)
        if not options.built_in:
            measure_many(targets, options.model, options.tokens)


if __name__ == "__main__":
    main()
