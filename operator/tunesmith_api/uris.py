"""Storage is named by URI everywhere; here a URI comes apart."""

from typing import NamedTuple


class Uri(NamedTuple):
    """A URI in its parts: `pvc://models/a/b` is scheme pvc, authority models, path a/b."""

    scheme: str
    authority: str
    path: str


def split(uri: str) -> Uri:
    """Return the parts of a URI.

    `hf://org/name@revision` has authority `org/name` and the revision as path; `file:///x/y` has the path /x/y.
    Raises ValueError, with a sentence, for anything that is not such a URI or that climbs out with `..`.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or not rest:
        raise ValueError(f"{uri!r} is not a URI such as pvc://claim/path")
    if ".." in rest.split("/"):
        raise ValueError(f"{uri} must not contain '..'")
    if scheme == "file":
        if not rest.startswith("/"):
            raise ValueError(f"{uri} must name an absolute path: file:///{rest}")
        return Uri(scheme, "", rest)
    if scheme == "hf":
        name, _, revision = rest.partition("@")
        return Uri(scheme, name, revision)
    authority, _, path = rest.partition("/")
    return Uri(scheme, authority, path.strip("/"))


def checked(uri: str) -> str:
    """Return the URI itself. Raises ValueError as `split` does."""
    split(uri)
    return uri


def join(uri: str, *names: str) -> str:
    """Return the URI of something inside the folder `uri`."""
    return "/".join([uri.rstrip("/"), *names])
