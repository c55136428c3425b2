"""What a suite that runs code can reach: its pod has no network, so only what lies on volumes."""

from collections.abc import Iterator

from tunesmith_api.suites import EvalSuite
from tunesmith_api.targets import EvalTarget

_VOLUMES = ("pvc://", "file://")
# What a FineTuneJob publishes is known when it has: then the planner looks.
_LATER = (*_VOLUMES, "finetunejob://")


def beyond_the_sandbox(suite: EvalSuite, target: EvalTarget, baseline: EvalTarget | None, report: str) -> list[str]:
    """Return a sentence for each thing that a suite with runsCode needs and cannot reach."""
    return [_sentence(suite.name, what, found) for what, found in _needed(suite, target, baseline, report)]


def not_on_volumes(suite: EvalSuite, named: dict[str, str]) -> list[str]:
    """Return a sentence for each URI that is not on a volume; `named` are URIs by what they are, such as target."""
    return [_sentence(suite.name, what, uri) for what, uri in named.items() if not uri.startswith(_VOLUMES)]


def _needed(
    suite: EvalSuite, target: EvalTarget, baseline: EvalTarget | None, report: str
) -> Iterator[tuple[str, str]]:
    for role, model in (("target", target), ("baseline", baseline)):
        if model and model.is_endpoint:
            yield role, "an endpoint"
        for uri in (model.uri, model.adapter) if model else ():
            if uri and not uri.startswith(_LATER):
                yield role, uri
    if not report.startswith(_VOLUMES):
        yield "report", report
    for uri in suite.harness.data_uris if suite.harness else ():
        if not uri.startswith(_VOLUMES):
            yield f"suites[{suite.name}].harness", uri


def _sentence(suite: str, what: str, found: str) -> str:
    return (
        f"suite {suite} runs code (harness.runsCode) where there is no network, and {what} names {found}, which lies "
        "beyond it; put it on pvc://, or put the suite into an EvalJob of its own"
    )
