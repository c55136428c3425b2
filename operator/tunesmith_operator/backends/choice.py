"""Which backend an attempt runs on."""

from typing import Literal

from tunesmith_api.contract import TrainRun
from tunesmith_api.queueing import several_need_kuberay
from tunesmith_operator.backends import gangs, kuberay, native
from tunesmith_operator.backends.kuberay import Offer
from tunesmith_operator.backends.objects import BACKEND_ANNOTATION, Object
from tunesmith_operator.backends.pods import Settings
from tunesmith_operator.backends.shared import RenderError, UnavailableError
from tunesmith_operator.planner import Workload

__all__ = ["Chosen", "RenderError", "UnavailableError", "choose", "render", "started_on"]

Chosen = Literal["native", "kuberay"]


def choose(workload: Workload, settings: Settings, offer: Offer, started_on: Chosen | None = None) -> Chosen:
    """Return the backend of a workload. `started_on` is where the attempt began: it stays there.

    | workload               | spec, else operator | KubeRay                            | backend             |
    |------------------------|---------------------|------------------------------------|---------------------|
    | evaluation, server     |                     |                                    | native              |
    | training, begun        |                     |                                    | where it began      |
    | training               | native              |                                    | native              |
    | training               | kuberay             | serves RayJobs                     | kuberay             |
    | training               | kuberay             | does not                           | none yet            |
    | training, one worker   | auto                |                                    | native              |
    | training, more workers | auto                | is 1.6 or newer, operator answers  | kuberay             |
    | training, more workers | auto                | is not                             | native, unless gang |
    |                        |                     |                                    | is kueue: none yet  |

    Raises UnavailableError for «none yet», and RenderError for KubeRay where the operator is told to leave it alone.
    """
    config = workload.config
    if not isinstance(config, TrainRun):
        return "native"
    wanted = started_on or (settings.backend if workload.backend == "auto" else workload.backend)
    if wanted == "native":
        return "native"
    if wanted == "kuberay":
        _check(workload, settings, offer, started=started_on is not None)
        return "kuberay"
    if config.workers == 1:
        return "native"
    if offer == kuberay.USUAL and kuberay.takes(workload.name):
        return "kuberay"
    if gangs.of(workload) == "kueue":
        raise UnavailableError(several_need_kuberay("KubeRay 1.6 or newer does not answer here", "install it"))
    return "native"


def _check(workload: Workload, settings: Settings, offer: Offer, *, started: bool) -> None:
    """Raise RenderError for KubeRay where it cannot be used."""
    if settings.backend == "native":
        what = f"RayJob {workload.name} was started" if started else "spec.backend is kuberay"
        raise RenderError(
            f"{what}, and the operator is told to leave KubeRay alone (--backend native); turn it on again"
        )
    if not offer.served:
        raise UnavailableError(
            "backend kuberay needs KubeRay, and the cluster serves no RayJobs (ray.io/v1); install KubeRay, or choose "
            "backend native"
        )


def render(workload: Workload, settings: Settings, offer: Offer, chosen: Chosen) -> tuple[Object, ...]:
    """Return the objects that a workload becomes on a backend. Raises RenderError."""
    if chosen == "kuberay":
        return kuberay.render(workload, settings, offer)
    return native.render(workload, settings)


def started_on(progress: Object) -> Chosen:
    """Return the backend that an attempt was started on, by the ConfigMap of its progress."""
    told = (progress["metadata"].get("annotations") or {}).get(BACKEND_ANNOTATION)
    return "kuberay" if told == kuberay.NAME else "native"
