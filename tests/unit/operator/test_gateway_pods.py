"""What a gateway's pods are given for the documents and the tools of a ModelServe: claims, Secrets, no file of one
machine."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import model_serve
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.modelserve import ONLY_THE_GATEWAY
from tunesmith_api.serving.revision import Revision, RevisionTemplate
from tunesmith_operator.backends.native import Settings, render
from tunesmith_operator.backends.shared import RenderError
from tunesmith_operator.planner import Observed, Workload
from tunesmith_operator.planner.serving import traffic
from tunesmith_operator.planner.serving.shares import Shares

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = {"name": "encoder", "key": "api-key"}
RETRIEVAL: dict[str, Any] = {
    "documents": [{"uri": "pvc://handbook/v1"}, {"uri": "s3://bucket/faq.jsonl"}],
    "embeddings": {"url": "http://encoder/v1", "model": "encoder", "apiKeySecretRef": KEY},
}
TOOL = {"name": "weather", "description": "Tells the weather.", "url": "http://weather"}
TOOLS = {"http": [{**TOOL, "headersSecretRef": {"name": "weather", "key": "headers"}}, {**TOOL, "name": "same"}]}


def gateway(**spec: Any) -> Workload:
    serve = model_serve(traffic={"provider": "gateway"}, secretRefs=[{"name": "s3"}], **spec)
    routes = traffic.routes(serve, None, None, Shares(1, 0, 0), Observed())
    return traffic.gateway(serve, routes, Observed(address="http://bot"))


def pod(workload: Workload) -> dict[str, Any]:
    (found,) = [each for each in render(workload, Settings(image="image")) if each["kind"] == "Deployment"]
    return dict(found["spec"]["template"]["spec"])


def test_documents_and_their_index_are_mounted_to_be_written() -> None:
    spec = pod(gateway(retrieval={**RETRIEVAL, "indexUri": "pvc://indices/handbook"}))
    claims = {each["persistentVolumeClaim"]["claimName"] for each in spec["volumes"] if "persistentVolumeClaim" in each}
    assert claims == {"handbook", "indices"}
    (container,) = spec["containers"]
    mounts = [each for each in container["volumeMounts"] if each["mountPath"].startswith("/volumes/")]
    assert not any(each["readOnly"] for each in mounts)
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]


def test_keys_come_by_reference() -> None:
    (container,) = pod(gateway(retrieval=RETRIEVAL, tools=TOOLS))["containers"]
    named = {each["name"]: each["valueFrom"] for each in container["env"] if each["name"].startswith("TUNESMITH_KEY_")}
    assert named == {
        "TUNESMITH_KEY_ENCODER__API_KEY": {"secretKeyRef": {"name": "encoder", "key": "api-key"}},
        "TUNESMITH_KEY_WEATHER__HEADERS": {"secretKeyRef": {"name": "weather", "key": "headers"}},
    }


def test_a_gateway_without_documents_gets_none_of_that() -> None:
    workload = gateway()
    assert (workload.keys, workload.secrets) == ((), ())


def test_documents_of_one_machine_are_refused_in_a_cluster() -> None:
    with pytest.raises(RenderError, match="file:// is for the local shell"):
        pod(gateway(retrieval={"documents": [{"uri": "file:///handbook"}]}))


def test_gateways_know_which_model_embeds() -> None:
    serve = model_serve(traffic={"provider": "gateway"}, retrieval={"documents": [{"uri": "pvc://a/b"}]})
    model = PublishedModel(uri="pvc://models/bot", digest="sha256:aa")
    revision = Revision(number=3, generation=1, created_at=NOW, template=RevisionTemplate(model=model))
    routes = traffic.routes(serve, revision, None, Shares(1, 0, 0), Observed())
    assert [each.model for each in routes.upstreams] == ["sha256:aa"]


def test_only_the_gateway_has_documents_and_tools() -> None:
    for spec in ({"retrieval": RETRIEVAL}, {"tools": TOOLS}):
        with pytest.raises(ValueError, match=ONLY_THE_GATEWAY):
            model_serve(**spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"retrieval": {"documents": []}}, "at least 1 item"),
        ({"retrieval": {"documents": [{"uri": "pvc://handbook"}]}}, "should match pattern"),
        ({"retrieval": {**RETRIEVAL, "chunks": {"size": 200, "overlap": 200}}}, "chunks.overlap must be less than"),
        ({"tools": {"http": [TOOL, TOOL]}}, "two tools have the same name"),
        ({"tools": {"http": [{**TOOL, "parameters": {"type": "array"}}]}}, "set its type to object"),
        ({"tools": {"http": [{**TOOL, "parameters": {"type": "strange"}}]}}, "is not a JSON schema"),
        ({"tools": {"http": [{**TOOL, "parameters": {"$ref": "http://a/b"}}]}}, "refers to http://a/b"),
        ({"tools": {"http": [{**TOOL, "parameters": {"title": "x" * 16_384}}]}}, "is longer than 16384 characters"),
        ({"tools": {"http": [{**TOOL, "url": "http://me:word@weather"}]}}, "should match pattern"),
    ],
)
def test_what_cannot_be_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gateway(**spec)


def test_the_index_lies_beside_the_documents_unless_the_spec_says_where() -> None:
    def index(**more: Any) -> str:
        found = model_serve(traffic={"provider": "gateway"}, retrieval={**RETRIEVAL, **more}).spec.retrieval
        assert found is not None
        return found.index

    assert index() == "pvc://handbook/v1-index"
    assert index(indexUri="s3://bucket/index") == "s3://bucket/index"
