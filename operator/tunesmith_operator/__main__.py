"""`python -m tunesmith_operator`: the operator's process, as its image starts it."""

import asyncio
import logging
import os
import socket
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.config_exception import ConfigException

from tunesmith_operator.backends.pods import Settings
from tunesmith_operator.controller import logs
from tunesmith_operator.controller.election import Lease
from tunesmith_operator.controller.operator import Operator, Options


class BackendOption(StrEnum):
    """What runs training attempts whose spec leaves the choice to the operator."""

    AUTO = "auto"
    NATIVE = "native"
    KUBERAY = "kuberay"


class SubmissionModeOption(StrEnum):
    """Who hands in the driver of a RayJob."""

    SIDECAR = "SidecarMode"
    JOB = "K8sJobMode"


class GangOption(StrEnum):
    """Who starts pods together."""

    KUEUE = "kueue"
    VOLCANO = "volcano"
    COSCHEDULING = "coscheduling"


NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def main(
    namespace: Annotated[
        list[str] | None,
        typer.Option(envvar="TUNESMITH_NAMESPACES", help="Namespace to watch; repeatable. Default: all."),
    ] = None,
    runtime_image: Annotated[
        str, typer.Option(envvar="TUNESMITH_RUNTIME_IMAGE", help="Image of training, evaluation and serving pods.")
    ] = f"ghcr.io/tunesmith/runtime:{version('tunesmith')}",
    runtime_image_pull_policy: Annotated[
        str, typer.Option(envvar="TUNESMITH_RUNTIME_IMAGE_PULL_POLICY", help="Always, IfNotPresent or Never.")
    ] = "IfNotPresent",
    backend: Annotated[
        BackendOption, typer.Option(envvar="TUNESMITH_BACKEND", help="What runs training: auto, native or kuberay.")
    ] = BackendOption.AUTO,
    kuberay_submission_mode: Annotated[
        SubmissionModeOption,
        typer.Option(envvar="TUNESMITH_KUBERAY_SUBMISSION_MODE", help="Of RayJobs, with KubeRay 1.6 and newer."),
    ] = SubmissionModeOption.SIDECAR,
    gang: Annotated[
        list[GangOption] | None,
        typer.Option(envvar="TUNESMITH_GANGS", help="Gangs that this cluster has; repeatable. Default: none."),
    ] = None,
    coscheduler: Annotated[
        str, typer.Option(envvar="TUNESMITH_COSCHEDULER", help="Scheduler that knows PodGroups of coscheduling.")
    ] = Settings.coscheduler,
    allow_task_code: Annotated[
        bool,
        typer.Option(envvar="TUNESMITH_ALLOW_TASK_CODE", help="Let suites with runsCode run, in sandboxes."),
    ] = False,
    gateway_api: Annotated[
        bool, typer.Option(envvar="TUNESMITH_GATEWAY_API", help="Let ModelServes have HTTPRoutes of the Gateway API.")
    ] = False,
    concurrency: Annotated[
        int, typer.Option(envvar="TUNESMITH_CONCURRENCY", min=1, help="Resources reconciled at a time.")
    ] = 8,
    resync_seconds: Annotated[
        float, typer.Option(envvar="TUNESMITH_RESYNC_SECONDS", min=1, help="Seconds between looks at everything.")
    ] = 600,
    port: Annotated[
        int, typer.Option(envvar="TUNESMITH_PORT", min=0, max=65535, help="Of /healthz, /readyz and /metrics.")
    ] = 8080,
    leader_election: Annotated[
        bool, typer.Option(envvar="TUNESMITH_LEADER_ELECTION", help="Work only while holding a Lease.")
    ] = True,
    lease_namespace: Annotated[
        str | None, typer.Option(envvar="TUNESMITH_LEASE_NAMESPACE", help="Default: the pod's own namespace.")
    ] = None,
    lease_name: Annotated[str, typer.Option(envvar="TUNESMITH_LEASE_NAME")] = "tunesmith-operator",
    log_level: Annotated[str, typer.Option(envvar="TUNESMITH_LOG_LEVEL")] = "info",
    log_format: Annotated[str, typer.Option(envvar="TUNESMITH_LOG_FORMAT", help="json or text.")] = "json",
) -> None:
    """Run the operator until it is told to stop. Exits with 1 when it loses its Lease."""
    logs.configure(log_level, "text" if log_format == "text" else "json")
    lease = None
    if leader_election:
        identity = f"{os.environ.get('POD_NAME', socket.gethostname())}-{os.getpid()}"
        lease = Lease(lease_name, lease_namespace or _own_namespace(), identity)
    options = Options(
        backend=Settings(
            runtime_image,
            runtime_image_pull_policy,
            backend=backend.value,
            submission_mode=kuberay_submission_mode.value,
            gangs=frozenset(each.value for each in gang or ()),
            coscheduler=coscheduler,
            allow_task_code=allow_task_code,
            gateway_api=gateway_api,
        ),
        namespaces=tuple(namespace or ()),
        concurrency=concurrency,
        resync_seconds=resync_seconds,
        port=port,
        lease=lease,
    )
    try:
        told_to_stop = asyncio.run(_run(options))
    except ConfigException as error:
        logging.getLogger(__name__).error(
            "no cluster to work for: this is no pod with a ServiceAccount's token, and KUBECONFIG (%s) names none: %s",
            os.environ.get("KUBECONFIG", "~/.kube/config"),
            str(error).rstrip("."),
        )
        raise typer.Exit(1) from None
    except Exception:
        logging.getLogger(__name__).exception("the operator cannot go on")
        raise typer.Exit(1) from None
    if not told_to_stop:
        raise typer.Exit(1)


def _own_namespace() -> str:
    if named := os.environ.get("POD_NAMESPACE"):
        return named
    try:
        return Path(NAMESPACE_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return "default"


async def _run(options: Options) -> bool:
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)
    except ConfigException:
        await config.load_kube_config(client_configuration=configuration)
    async with ApiClient(configuration) as client:
        return await Operator(client, options).run()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
