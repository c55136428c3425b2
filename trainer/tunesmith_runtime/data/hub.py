"""Datasets of the Hugging Face Hub."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import datasets
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError, DatasetNotFoundError
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from tunesmith_api import uris
from tunesmith_api.data import DatasetSource
from tunesmith_runtime.data.files.arrow_files import rows_of
from tunesmith_runtime.data.rows import Choose, Row, every_column
from tunesmith_runtime.errors import DataError, RunError, StorageFullError
from tunesmith_runtime.storage.objects import StorageUnavailableError

_ROWS_AT_ONCE = 1000
_DEFAULT_SPLIT = "train"
# How the library names the configurations that there are, when none or a wrong one was asked for.
_CONFIGURATIONS = re.compile(r"[Aa]vailable(?: configs(?: in the cache)?)?: \[(.*?)\]")


@dataclass(frozen=True)
class HubRows:
    """The rows of one split, which lies on this machine and is read from there.

    The digest is over the dataset's name, configuration, commit and split.
    """

    uri: str
    digest: str
    split: datasets.Dataset

    def read(self, choose: Choose = every_column) -> Iterator[Row]:
        """Yield the rows."""
        if not len(self.split):
            raise DataError(f"{self.uri} holds no records: its split has no rows")
        chosen = self.split.select_columns(list(choose(self.split.column_names)))
        yield from rows_of(chosen.with_format("arrow").iter(_ROWS_AT_ONCE))


def open_hub(source: DatasetSource) -> HubRows:
    """Download hf://ORG/NAME[/CONFIGURATION][@REVISION], unless this machine has it, and return one of its splits.

    Raises DataError when there is no such dataset, revision, configuration or split, and a retryable error when the
    Hub does not answer.
    """
    _, path, revision = uris.split(source.uri)
    organisation, _, rest = path.partition("/")
    name, _, configuration = rest.partition("/")
    if not organisation or not name or "/" in configuration:
        raise DataError(f"{source.uri}: name a dataset as hf://ORG/NAME or hf://ORG/NAME@REVISION")
    wanted = source.split or _DEFAULT_SPLIT
    try:
        builder = datasets.load_dataset_builder(
            # By its bare name, a folder of this machine would go before the Hub.
            f"hf://datasets/{organisation}/{name}",
            configuration or None,
            revision=revision or None,
        )
        if revision and isinstance(builder, Cache) and builder.hash != revision:
            raise DataError(
                f"{source.uri}: the Hub cannot be asked for revision {revision}, and what this machine has is "
                f"{builder.hash}; name that as the revision, or let the run reach the Hub"
            )
        builder.download_and_prepare()
        splits = builder.info.splits or {}
        if wanted not in splits:
            raise DataError(
                f"{source.uri}: there is no split {wanted}; there are {', '.join(splits)}: set split to one"
            )
        split = builder.as_dataset(split=wanted)
    except RunError:
        raise
    except Exception as error:  # the library lets through whatever its many parts raise
        raise _explained(error, source.uri) from error
    identity = "\n".join([path, str(builder.config.name), str(builder.hash), wanted, split._fingerprint])
    return HubRows(source.uri, hashlib.sha256(identity.encode()).hexdigest(), split)


def _explained(error: Exception, uri: str) -> RunError:
    """Return the error to raise, with a sentence, for what the library raised."""
    causes = list(_causes(error))
    said = " ".join(str(error).split())
    if full := StorageFullError.caused_by(error, "downloading a dataset"):
        return full
    if isinstance(error, DatasetNotFoundError):
        return DataError(f"{uri}: {_what_is_missing(said)}")
    if passing := next(filter(_is_passing, causes), None):
        if is_offline_mode():
            return DataError(f"{uri}: the Hub may not be asked (HF_HUB_OFFLINE is set) and this machine has no copy")
        reason = " ".join(str(passing).split())
        return StorageUnavailableError(f"{uri}: the Hugging Face Hub does not answer: {reason}; check the network")
    match error:
        case DataFilesNotFoundError() | EmptyDatasetError():
            return DataError(f"{uri}: the dataset has no files that can be read as data")
        case DatasetGenerationError():
            return DataError(f"{uri}: its files cannot be read: {' '.join(str(causes[-1]).split())}")
        case RuntimeError() if "scripts are no longer supported" in said:
            return DataError(
                f"{uri}: the dataset is made by a program, which is not run; use a copy made of data files"
            )
        case ValueError() if found := _CONFIGURATIONS.search(said):
            names = ", ".join(re.findall(r"'([^']+)'", found[1]))
            where, _, revision = uri.partition("@")
            example = "/".join(where.split("/")[:4]) + f"/NAME{revision and '@' + revision}"
            return DataError(f"{uri}: the dataset has the configurations {names}; name one of them: {example}")
        case _:
            return DataError(f"{uri} cannot be read: {said or type(error).__name__}")


def _what_is_missing(said: str) -> str:
    # The library turns the Hub's answers into one error, and leaves only its words to tell them apart.
    if "gated" in said:
        return "its owner gives access on request: ask on its page at the Hub, and set HF_TOKEN"
    if said.startswith("Revision"):
        return "the dataset has no such revision; name a branch, a tag or a commit"
    return "no such dataset on the Hub, or a private one; check the name, or set HF_TOKEN"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_passing(error: BaseException) -> bool:
    """Tell whether an error is one of the network or of the Hub itself."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, ConnectionError | TimeoutError | OfflineModeIsEnabled) or type(
        error
    ).__module__.startswith("httpx")
