"""HTTP tools are called: at their own address alone, with arguments that fit, for a bounded time and size."""

import asyncio
import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from tunesmith_api.serving.tools import HttpTool
from tunesmith_runtime.serve.gateway.grounding import neutral

# Of a call's arguments, as the model writes them.
LONGEST_ARGUMENTS = 65_536
_MOST_REDIRECTS = 3
_CONNECT_SECONDS = 5.0
_IN_QUERY = {"GET", "DELETE"}
# Where clouds tell machines their secrets, besides the addresses that are link-local: of Alibaba, Azure and AWS.
_METADATA = {
    ipaddress.ip_address(each) for each in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
}


class ToolError(Exception):
    """A call has not worked; the sentence is for the model, and has nothing in it that only we should know."""


class Caller:
    """Calls tools."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, tool: HttpTool, arguments: str) -> str:
        """Return what a tool answers to arguments in JSON. Raises ToolError."""
        given = _checked(tool, arguments)
        options: dict[str, Any] = {"headers": _headers(tool)}
        if tool.method in _IN_QUERY:
            options["params"] = {name: _plain(value) for name, value in given.items()}
        else:
            options["json"] = given
        try:
            async with asyncio.timeout(tool.timeout_seconds):
                return await self._asked(tool, options)
        except TimeoutError:
            raise ToolError(f"{tool.name} did not answer within {tool.timeout_seconds} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(getattr(error, "os_error", error), ForbiddenAddressError):
                raise ToolError(
                    f"{tool.name} may not be called: its host has an address of the machine's own"
                ) from None
            raise ToolError(f"{tool.name} could not be called: {type(error).__name__}") from error

    async def _asked(self, tool: HttpTool, options: Mapping[str, Any]) -> str:
        method: str = tool.method
        url, allowed = tool.url, _origin(tool.url)
        for _ in range(1 + _MOST_REDIRECTS):
            async with self._session.request(method, url, allow_redirects=False, **options) as response:
                location = response.headers.get("location")
                if response.status not in {301, 302, 303, 307, 308} or location is None:
                    return await _answer(tool, response)
                url = urljoin(str(response.url), location)
            if _origin(url) != allowed:
                raise ToolError(f"{tool.name} sends elsewhere, to another host, and is not followed there")
            dropped = {"params"}
            if response.status not in {307, 308}:  # the others say where the answer lies
                method, dropped = "GET", {"params", "json"}
            options = {name: value for name, value in options.items() if name not in dropped}
        raise ToolError(f"{tool.name} sends elsewhere again and again")


async def _answer(tool: HttpTool, response: aiohttp.ClientResponse) -> str:
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > tool.max_bytes:
            break
    text = neutral(body[: tool.max_bytes].decode("utf-8", "replace"))
    if len(body) > tool.max_bytes:
        text += f"\n(cut: only the first {tool.max_bytes} bytes are shown)"
    if response.status >= 400:
        raise ToolError(f"{tool.name} answered {response.status}: {text}")
    return text


def _checked(tool: HttpTool, arguments: str) -> dict[str, Any]:
    """Return the arguments. Raises ToolError where they do not fit the tool's schema."""
    from jsonschema import Draft202012Validator  # brings much: only for those who have tools

    if len(arguments) > LONGEST_ARGUMENTS:
        raise ToolError(f"the arguments of {tool.name} are longer than {LONGEST_ARGUMENTS} characters")
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        raise ToolError(f"the arguments of {tool.name} are no JSON; write one object") from None
    if not isinstance(given, dict):
        raise ToolError(f"the arguments of {tool.name} are no object; write one object")
    wrong = next(Draft202012Validator(tool.parameters).iter_errors(given), None)
    if wrong is not None:
        where = ".".join(str(step) for step in wrong.absolute_path)
        raise ToolError(
            f"the arguments of {tool.name} do not fit: {f'{where}: ' if where else ''}{wrong.message}"[:1000]
        )
    return given


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _headers(tool: HttpTool) -> dict[str, str]:
    """Return the headers that a tool's Secret has. Raises ToolError where there are none."""
    found = {"accept": "application/json, text/*;q=0.9", "accept-encoding": "identity"}
    secret = tool.headers_secret_ref
    if secret is None:
        return found
    text = os.environ.get(secret.variable, "")
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and not (colon and name.strip()):
            raise ToolError(f"{tool.name} cannot be called: its headers are not set up as Name: value")
        if colon:
            found[name.strip().lower()] = value.strip()
    if not text.strip():
        raise ToolError(f"{tool.name} cannot be called: its headers are not set up")
    return found


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class ForbiddenAddressError(OSError):
    """A name stands for an address that nobody has named."""


class _Resolver(AbstractResolver):
    """Names become addresses, but none of those where machines keep their secrets. Who names an address gets it."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises ForbiddenAddressError."""
        found = await self._resolver.resolve(host, port, family)
        if any(_forbidden(each["host"], host) for each in found):
            raise ForbiddenAddressError(host)
        return found

    async def close(self) -> None:
        """Let go of everything."""
        await self._resolver.close()


def _forbidden(address: str, host: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_loopback:
        return host.rstrip(".").lower() != "localhost"
    return found.is_link_local or found.is_unspecified or found.is_multicast or found in _METADATA


def open_session() -> aiohttp.ClientSession:
    """Return a pool of connections to tools, which is none of those to the revisions."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_Resolver(), limit=256, limit_per_host=32, ttl_dns_cache=5),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=("User-Agent",),
    )
