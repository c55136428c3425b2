"""Objects in S3 buckets, and what S3 says as sentences.

Credentials, endpoint and region are those of the environment: $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY,
$AWS_SESSION_TOKEN, $AWS_ENDPOINT_URL_S3 or $AWS_ENDPOINT_URL, $AWS_REGION. What is not there is looked for where every
AWS program looks, as in a pod's own identity.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunesmith_api import uris
from tunesmith_runtime.errors import RunError, StorageFullError
from tunesmith_runtime.errors import StorageUnavailableError as StorageUnavailableError

Action = Literal["list", "read", "write", "delete"]

# What a policy has to allow for each action.
_PERMISSIONS: Mapping[Action, str] = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "delete": "s3:DeleteObject",
}
# Codes of S3 and of the stores that speak its language, by what is wrong.
_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
_NO_OBJECT = {"NoSuchKey", "404"}
_WRONG_KEYS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_WRONG_REGION = {"301", "307", "AuthorizationHeaderMalformed", "PermanentRedirect", "Redirect", "TemporaryRedirect"}
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_PASSING = {"OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown", "ThrottlingException"}

# What raises errors of its own when the store cannot be reached, or is lost in the middle of an answer.
_CLIENTS = ("aiobotocore.", "aiohttp.", "botocore.", "fsspec.", "s3fs.")

# Parts of 50 MB of one file that are in memory at once while it is uploaded.
_PARTS_AT_ONCE = 4
# Files that are downloaded at once. Each is one stream, which goes on where it was cut off.
_FILES_AT_ONCE = 8

# How long a store may take to accept a connection, and to send the next bytes of an answer.
CONNECT_SECONDS = 10
READ_SECONDS = 30
# How often a request is sent, $AWS_MAX_ATTEMPTS times where that is set, with pauses that double up to 20 seconds: of a
# store that fails three requests of ten, one request in 15,000 fails for good. The second number is how often such a
# row of requests begins again when the connection breaks or there is no answer, so that a store that accepts and never
# answers is given up after 12 minutes.
REQUESTS = 8
ROWS = 3


@dataclass(frozen=True)
class Stored:
    """What identifies the content of an object."""

    size: int
    etag: str


def endpoint() -> str:
    """Return the address of the store; an empty string stands for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def listing(uri: str, refusal: type[RunError]) -> dict[str, Stored]:
    """Return the objects below `uri` by their path from there, sorted; an empty dictionary when there is none.

    What a console leaves as a sign of an empty folder is passed over. Raises `refusal` when S3 refuses, and when a key
    cannot be a path of a file.
    """
    prefix = _key(uri) + "/"
    with _told(uri, refusal, "list"):
        found = _store().find(_key(uri), detail=True)
    objects: dict[str, Stored] = {}
    for key, entry in sorted(found.items()):
        path = key.removeprefix(prefix)
        if not key.startswith(prefix) or not path or path.endswith("/"):
            continue
        if any(part in {"", ".", ".."} for part in path.split("/")):
            raise refusal(f"{uri}: the object {key} cannot become a file: its name is no path; rename or delete it")
        objects[path] = Stored(int(entry["size"]), str(entry["ETag"]))
    return objects


def get_if_there(uri: str, path: Path, refusal: type[RunError]) -> bool:
    """Copy an object to the file `path`. Return whether there is an object of this name."""
    with _told(uri, refusal, "read"):
        try:
            _store().get([_key(uri)], [str(path)], max_concurrency=1)
        except FileNotFoundError as error:
            if _code(getattr(error.__cause__, "response", {})) in _NO_OBJECT:
                return False
            raise
    return True


def missing(uri: str, refusal: type[RunError]) -> RunError:
    """Return the error to raise where neither an object nor a folder has this name."""
    return refusal(f"{uri}: no such object in bucket {uris.split(uri).authority} at {endpoint() or 'AWS'}")


def get_all(uri: str, files: Mapping[Path, str], refusal: type[RunError]) -> None:
    """Copy objects, given by URI, to files; `uri` is what the sentences name."""
    with _told(uri, refusal, "read"):
        _store().get(
            [_key(each) for each in files.values()],
            [str(path) for path in files],
            batch_size=_FILES_AT_ONCE,
            max_concurrency=1,
        )


def put(path: Path, uri: str, refusal: type[RunError]) -> None:
    """Copy a file to the object `uri`; it is there whole or not at all."""
    with _told(uri, refusal, "write"):
        _store().put_file(str(path), _key(uri), max_concurrency=_PARTS_AT_ONCE)


def put_text(text: str, uri: str, refusal: type[RunError]) -> None:
    """Write an object."""
    with _told(uri, refusal, "write"):
        _store().pipe_file(_key(uri), text.encode())


def delete(uri: str, refusal: type[RunError]) -> None:
    """Delete an object; none is there afterwards, whether there was one or not."""
    # One by one: the call for many keys says nothing of those that it could not delete.
    with _told(uri, refusal, "delete"):
        _store().rm_file(_key(uri))


def _key(uri: str) -> str:
    _, bucket, path = uris.split(uri)
    return f"{bucket}/{path}".rstrip("/")


def _store() -> Any:
    import s3fs  # takes half a second: only for those who use it

    # Named here although the library would find them: it keeps one client for each set of arguments.
    store = s3fs.S3FileSystem(
        endpoint_url=endpoint() or None,
        key=os.environ.get("AWS_ACCESS_KEY_ID") or None,
        secret=os.environ.get("AWS_SECRET_ACCESS_KEY") or None,
        token=os.environ.get("AWS_SESSION_TOKEN") or None,
        client_kwargs={"region_name": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None},
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": {
                "mode": os.environ.get("AWS_RETRY_MODE") or "standard",
                "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS") or REQUESTS),
            },
        },
        use_listings_cache=False,
    )
    store.retries = ROWS
    return store


@contextmanager
def _told(uri: str, refusal: type[RunError], action: Action) -> Iterator[None]:
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        raise _explained(error, uri, refusal, action) from error


def _explained(error: Exception, uri: str, refusal: type[RunError], action: Action) -> Exception:
    """Return `refusal` for what a person has to mend, and a retryable error for what can pass by itself."""
    cause = error.__cause__ or error
    answer: Mapping[str, Any] | None = getattr(cause, "response", None)
    if answer is not None:
        return _answered(answer, uri, refusal, action)
    where = endpoint() or "AWS"
    match type(cause).__name__:
        case "NoCredentialsError" | "PartialCredentialsError":
            return refusal(
                f"{uri}: there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in a "
                "cluster from a Secret"
            )
        case "ParamValidationError":
            return refusal(f"{uri} cannot be used: {_one_line(cause)}")
        case "ValueError" | "InvalidRegionError":
            return refusal(f"{uri} cannot be used: {_one_line(cause)}; check AWS_ENDPOINT_URL and AWS_REGION")
        case _ if isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.startswith(_CLIENTS):
            return StorageUnavailableError(
                f"{uri}: S3 cannot be reached at {where}: {_one_line(cause)}; check AWS_ENDPOINT_URL and the network"
            )
        case _:  # the disk of this machine, or a mistake of ours
            return error


def _answered(answer: Mapping[str, Any], uri: str, refusal: type[RunError], action: Action) -> RunError:
    code = _code(answer)
    said = " ".join(str(answer.get("Error", {}).get("Message", "")).split()) or code
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    bucket, where = uris.split(uri).authority, endpoint() or "AWS"
    if code in _FULL or status == 507:
        return StorageFullError(f"{uri}: no space is left in bucket {bucket} at {where}: {said}; free some space")
    if code in _PASSING or status in {409, 429} or status >= 500:
        return StorageUnavailableError(f"{uri}: S3 at {where} cannot answer now ({status} {code}): {said}")
    if code in _NO_BUCKET:
        return refusal(f"{uri}: there is no bucket {bucket} at {where}; create it, or correct the URI or the endpoint")
    if code in _NO_OBJECT:
        return missing(uri, refusal)
    if code in _WRONG_KEYS:
        return refusal(
            f"{uri}: S3 at {where} refuses the credentials: {said}; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
            "and AWS_SESSION_TOKEN"
        )
    if code in _WRONG_REGION:
        return refusal(f"{uri}: bucket {bucket} lies in another region: {said}; set AWS_REGION to its own")
    if status == 403:
        hidden = ", or it does not exist" if action == "read" else ""
        return refusal(
            f"{uri}: access denied: the credentials may not {action} it{hidden}; allow them {_PERMISSIONS[action]} on "
            f"bucket {bucket}"
        )
    return refusal(f"{uri}: S3 at {where} refuses to {action} it ({status} {code}): {said}")


def _code(answer: Mapping[str, Any]) -> str:
    return str(answer.get("Error", {}).get("Code", ""))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
