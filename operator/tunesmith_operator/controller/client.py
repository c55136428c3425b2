"""Requests to the API server: plain JSON values in and out, errors as exceptions that say what to do about them."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from tunesmith_api.base import GROUP, VERSION
from tunesmith_api.resources import PLURALS
from tunesmith_operator.controller import metrics

Object = dict[str, Any]

log = logging.getLogger(__name__)

FIELD_MANAGER = "tunesmith"
TIMEOUT_SECONDS = 30
# A watch is asked to end by itself now and then, so that a connection that died in silence is noticed.
WATCH_SECONDS = 290


@dataclass(frozen=True)
class Resource:
    """An API resource, such as pods of v1."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of one object, or of all; namespace None is every namespace."""
        prefix = "/api" if "/" not in self.api_version else "/apis"
        parts = [prefix, self.api_version, *(["namespaces", namespace] if namespace else []), self.plural]
        return "/".join([*parts, *filter(None, (name, subresource))])


_CORE = {
    "ConfigMap": "configmaps",
    "Event": "events",
    "Pod": "pods",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}
RESOURCES: dict[str, Resource] = {
    **{kind: Resource("v1", kind, plural) for kind, plural in _CORE.items()},
    "Job": Resource("batch/v1", "Job", "jobs"),
    "Deployment": Resource("apps/v1", "Deployment", "deployments"),
    "StatefulSet": Resource("apps/v1", "StatefulSet", "statefulsets"),
    "NetworkPolicy": Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    "Role": Resource("rbac.authorization.k8s.io/v1", "Role", "roles"),
    "RoleBinding": Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    "PodDisruptionBudget": Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    "HTTPRoute": Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    # Of others, where they are installed. Two of them have a kind of the same name; Kueue's moves on to v1beta2.
    "RayJob": Resource("ray.io/v1", "RayJob", "rayjobs"),
    "Workload": Resource("kueue.x-k8s.io/v1beta2", "Workload", "workloads"),
    "WorkloadV1beta1": Resource("kueue.x-k8s.io/v1beta1", "Workload", "workloads"),
    "VolcanoPodGroup": Resource("scheduling.volcano.sh/v1beta1", "PodGroup", "podgroups"),
    "CoschedulingPodGroup": Resource("scheduling.x-k8s.io/v1alpha1", "PodGroup", "podgroups"),
    **{kind: Resource(f"{GROUP}/{VERSION}", kind, plural) for kind, plural in PLURALS.items()},
}


def kind_of(body: Object) -> str:
    """Return the name in RESOURCES of an object's resource."""
    if body["kind"] in RESOURCES:
        return str(body["kind"])
    named = (body["apiVersion"], body["kind"])
    return next(name for name, each in RESOURCES.items() if (each.api_version, each.kind) == named)


class ApiError(Exception):
    """The API server's refusal: `code` as in HTTP, `reason` as in its Status, and its own words."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


class UnreachableError(Exception):
    """The API server did not answer."""


class Api:
    """The API server, through one ApiClient."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._away = False

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None when there is none of that name."""
        try:
            return await self._json("GET", RESOURCES[kind].path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list_all(self, kind: str, namespace: str | None, **selectors: str) -> tuple[list[Object], str]:
        """Return all objects of a kind and the resource version of the list."""
        found = await self._json("GET", RESOURCES[kind].path(namespace), _query(selectors))
        # The items of a list do not say what they are.
        known = {"apiVersion": RESOURCES[kind].api_version, "kind": kind}
        return [known | item for item in found["items"]], found["metadata"]["resourceVersion"]

    async def apply(self, body: Object, *, force: bool, subresource: str | None = None) -> Object:
        """Apply an object on the server's side as field manager `tunesmith`; return what it is then.

        Without `force` it is an ApiError of code 409 when another manager holds a field with another value.
        """
        meta = body["metadata"]
        path = RESOURCES[kind_of(body)].path(meta["namespace"], meta["name"], subresource)
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false")]
        return await self._json("PATCH", path, query, body, "application/apply-patch+yaml")

    async def create(self, body: Object) -> None:
        """Create an object. It is an ApiError of code 409 when there is one of that name."""
        path = RESOURCES[kind_of(body)].path(body["metadata"]["namespace"])
        await self._json("POST", path, [("fieldManager", FIELD_MANAGER)], body)

    async def merge(self, kind: str, namespace: str, name: str, body: Object) -> None:
        """Change fields of an object by a merge patch."""
        path = RESOURCES[kind].path(namespace, name)
        await self._json("PATCH", path, [("fieldManager", FIELD_MANAGER)], body, "application/merge-patch+json")

    async def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        foreground: bool = False,
        only: Mapping[str, str] | None = None,
    ) -> None:
        """Delete an object and what it owns; none of that name is fine.

        With `foreground` it is there until all that it owns is gone. `only`: what the object's metadata must be (uid,
        resourceVersion), else it is an ApiError of code 409.
        """
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        options["propagationPolicy"] = "Foreground" if foreground else "Background"
        if only:
            options["preconditions"] = dict(only)
        try:
            await self._json("DELETE", RESOURCES[kind].path(namespace, name), [], options)
        except ApiError as error:
            if error.code != 404:
                raise

    async def discover(self, group: str, version: str) -> set[str]:
        """Return the resources of a group and version that are served, by plural name; none if it is unknown."""
        try:
            found = await self._json("GET", f"/apis/{group}/{version}")
        except ApiError as error:
            if error.code == 404:
                return set()
            raise
        return {each["name"] for each in found["resources"]}

    async def may(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        """Return whether this account has a right; an empty namespace means in all of them."""
        name, _, subresource = resource.partition("/")
        attributes = {
            "verb": verb,
            "group": group,
            "resource": name,
            "subresource": subresource,
            "namespace": namespace,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._json("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", [], review)
        return bool(answer["status"].get("allowed"))

    async def watch(
        self, kind: str, namespace: str | None, version: str, **selectors: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED, MODIFIED, DELETED or BOOKMARK, object) from a resource version on, until the server ends it.

        Raises ApiError, of code 410 when that version is forgotten: list again.
        """
        query = [
            *_query(selectors),
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]
        response = await self._request("GET", RESOURCES[kind].path(namespace), query, timeout=WATCH_SECONDS + 30)
        try:
            async for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _refusal(event["object"])
                yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"the watch on {kind} broke off: {error or type(error).__name__}") from error
        finally:
            response.close()

    async def _json(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        response = await self._request(method, path, query or [], body, content_type)
        try:
            answer: Object = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnreachableError(f"{method} {path}: the answer broke off: {error}") from error
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: float = TIMEOUT_SECONDS,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = await self._client.param_serialize(
            method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = await self._client.call_api(*request, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            if not 200 <= response.status <= 299:
                metrics.REQUESTS.labels(str(response.status), method).inc()
                raise _refusal(_status(response.status, await response.read()))
        except ApiException as error:
            metrics.REQUESTS.labels(str(error.status), method).inc()
            raise _refusal(_status(error.status or 0, error.body)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.REQUESTS.labels("<error>", method).inc()
            sentence = f"the API server does not answer: {error or type(error).__name__}"
            self._note(away=True, sentence=f"{sentence}; trying again until it does")
            raise UnreachableError(sentence) from error
        metrics.REQUESTS.labels(str(response.status), method).inc()
        self._note(away=False, sentence="the API server answers again")
        return response

    def _note(self, *, away: bool, sentence: str) -> None:
        """Log that the API server has gone or come back: once, not by each of the many who ask it."""
        if away != self._away:
            log.log(logging.ERROR if away else logging.INFO, "%s", sentence)
        self._away = away


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield whole lines, of any length."""
    rest = b""
    async for chunk in response.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _query(selectors: Mapping[str, str]) -> list[tuple[str, str]]:
    names = {"labels": "labelSelector", "fields": "fieldSelector", "version": "resourceVersion", "limit": "limit"}
    return [(names[name], value) for name, value in selectors.items()]


def _status(code: int, body: str | bytes | None) -> Object:
    try:
        parsed = json.loads(body or b"")
        return parsed if isinstance(parsed, dict) else {"code": code, "message": str(parsed)}
    except ValueError:
        text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
        return {"code": code, "message": text[:500] or f"HTTP {code}"}


def _refusal(status: Object) -> ApiError:
    return ApiError(
        int(status.get("code") or 0), status.get("reason") or "", status.get("message") or "no reason given"
    )
