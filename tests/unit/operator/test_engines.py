"""The command line that serves a model by vLLM, and what a server of one's own is told."""

from tunesmith_api.serving.engine import CustomServer, Engine
from tunesmith_operator.backends.engines import command_line, custom_environment


def line(engine: dict[str, object], **more: object) -> list[str]:
    made = Engine.model_validate({"type": "vllm", **engine})
    place = {"model": "/volumes/models/bot", "name": "bot", "port": 8000, "grace_seconds": 60.0}
    return command_line(made, **(place | more))  # type: ignore[arg-type]


def test_without_options() -> None:
    assert line({}) == [
        "vllm",
        "serve",
        "/volumes/models/bot",
        "--served-model-name=bot",
        "--host=0.0.0.0",
        "--port=8000",
        "--shutdown-timeout=50",
    ]


def test_however_short_the_grace_period_vllm_never_cuts_answers_off_at_once() -> None:
    assert "--shutdown-timeout=1" in line({}, grace_seconds=5.0)


def test_options_of_fields_and_others() -> None:
    args = {"maxModelLen": 4096, "gpuMemoryUtilization": 0.8, "enforceEager": True, "enablePrefixCaching": False}
    extra = {
        "max-log-len": "200",
        "enable-expert-parallel": "true",
        "enable-log-requests": "false",
        "disable-log-stats": "true",
        "chat-template": "--api-key stolen",
        "cudagraph-capture-sizes": "1 2  8",
    }
    assert line({"args": args, "extraArgs": extra})[7:] == [
        "--max-model-len=4096",
        "--gpu-memory-utilization=0.8",
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--chat-template=--api-key stolen",
        "--cudagraph-capture-sizes",
        "1",
        "2",
        "8",
        "--disable-log-stats",
        "--enable-expert-parallel",
        "--no-enable-log-requests",
        "--max-log-len=200",
    ]


def test_adapters_by_name() -> None:
    found = line({"args": {"maxLoraRank": 32}}, adapters={"formal": "/volumes/models/formal", "a=b": "/x y"})
    assert found[7:] == [
        "--enable-lora",
        "--lora-modules",
        '{"name":"formal","path":"/volumes/models/formal"}',
        '{"name":"a=b","path":"/x y"}',
        "--max-lora-rank=32",
    ]


def test_a_server_of_ones_own_is_told_by_variables() -> None:
    custom = CustomServer(image="registry.test/server:1", port=9000)
    assert custom_environment(custom, model="/served/model", name="bot") == {
        "TUNESMITH_MODEL": "/served/model",
        "TUNESMITH_MODEL_NAME": "bot",
        "TUNESMITH_PORT": "9000",
    }
