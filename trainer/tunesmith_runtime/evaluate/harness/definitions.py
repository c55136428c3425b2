"""Definitions of tasks that a suite brings: lm-eval's YAML from URIs, and configurations in the spec itself.

They come from people who may run an evaluation, and not from the cluster's admin: what would run Python of theirs is
refused unless the admin allows it and this process has given up the network.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from lm_eval.api.registry import metric_registry
from lm_eval.tasks._index import Entry, TaskIndex
from lm_eval.tasks._yaml_loader import _mk_function_ctor

from tunesmith_api.contract import ALLOW_CODE_VARIABLE
from tunesmith_api.suites import HarnessSuite
from tunesmith_runtime import sandbox, storage
from tunesmith_runtime.errors import ConfigError, DataError, RunError
from tunesmith_runtime.storage import FileSet

Config = dict[str, Any]

# Names of tasks that a definition is laid over; no field of lm-eval's own.
BASES = "tunesmith_bases"
# Others of the readers that `datasets` packages unpickle what they read, or run it.
_READERS = frozenset({"arrow", "csv", "json", "parquet", "text"})
_SAY_SO = (
    "set harness.runsCode, so that the suite is measured in a sandbox without a network, where the cluster's admin "
    "allows code"
)
_SCHEMES = ("pvc://", "s3://", "file://")


class Definitions:
    """Definitions by name, as lm-eval's index has them.

    Keep it until their data is read: copies of S3's objects are deleted with it.
    """

    def __init__(self, suite: HarnessSuite) -> None:
        """Read them. Raises DataError for what cannot be read, ConfigError for what is refused."""
        self.entries: dict[str, Entry] = {}
        self._copies: list[FileSet] = []
        self._code = runs_code(suite)
        for uri in suite.task_uris:
            self._read(uri)
        inline: dict[str, Entry] = {}
        for number, task in enumerate(suite.inline_tasks):
            place = f"harness.inlineTasks[{number}] ({task.name})"
            # Of a group, `task` lists its members.
            kind = "group" if isinstance(task.config.get("task"), list) else "task"
            self._add(inline, {**_with_bases(dict(task.config)), kind: task.name}, place, None)
        self.entries |= inline

    def _read(self, uri: str) -> None:
        folder = storage.data_folder(uri)
        if folder is None:
            copies = storage.data_files(uri, lambda _: True)
            self._copies.append(copies)
            files = {file.uri: file.path for file in copies.files}
        else:
            below = (file for file in sorted(folder.rglob("*.yaml")) if file.is_file())
            files = {f"{uri.rstrip('/')}/{file.relative_to(folder)}": file for file in below}
        found = [
            self._add(self.entries, _load(path, called, code=self._code), called, path)
            for called, path in files.items()
        ]
        if not any(found):
            raise DataError(
                f"{uri} defines no task: it holds no YAML (*.yaml) with a field task or group; name a file of "
                "lm-eval's task YAML, or a folder with some"
            )

    def _add(self, index: dict[str, Entry], config: Config, place: str, path: Path | None) -> bool:
        """Take a definition into the index; False when it is only there to be included."""
        if not any(name in config for name in ("task", "group", "class")):
            return False
        for part in _parts(config):
            if not self._code:
                _refuse_code(part, place)
            _check_metrics(part, place)
            self._place_data(part, place, path)
        try:
            TaskIndex.process_cfg(config, path or Path(place), index)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{place}: not a task of lm-eval: {error}") from error
        name = str(config.get("group") or config.get("task"))
        index[name].yaml_path = None  # what is in `cfg` counts, not the file behind it
        return True

    def _place_data(self, config: Config, place: str, path: Path | None) -> None:
        """Turn URIs and relative paths in dataset_kwargs into paths of this machine."""
        options = config.get("dataset_kwargs")
        if not isinstance(options, dict):
            return
        for name in ("data_files", "data_dir"):
            if name in options:
                options[name] = self._placed(options[name], f"{place}: dataset_kwargs.{name}", path)

    def _placed(self, named: Any, place: str, path: Path | None) -> Any:
        if isinstance(named, Mapping):
            return {key: self._placed(value, place, path) for key, value in named.items()}
        if isinstance(named, list):
            return [self._placed(value, place, path) for value in named]
        if not isinstance(named, str):
            raise DataError(f"{place}: {named!r} is neither a path nor a URI")
        if not named.startswith(_SCHEMES):
            # Not an absolute path, and no address of another kind.
            beside = path is not None and "://" not in named and not Path(named).is_absolute()
            return str(path.parent / named) if path and beside else named
        folder = storage.data_folder(named)
        if folder is not None:
            return str(folder)
        copies = storage.data_files(named, lambda _: True)
        self._copies.append(copies)
        return str(copies.files[0].path)


def runs_code(suite: HarnessSuite) -> bool:
    """Return whether tasks of a suite may bring Python and run what the model writes.

    Raises ConfigError where the suite asks for it and the cluster's admin does not allow it, or there is a network.
    """
    if not suite.runs_code:
        return False
    if os.environ.get(ALLOW_CODE_VARIABLE) != "1":
        raise ConfigError(
            "harness.runsCode: code is not allowed here; drop the suite, or ask the cluster's admin for allowTaskCode "
            f"(in the local shell set {ALLOW_CODE_VARIABLE}=1)"
        )
    if not sandbox.is_closed():
        raise ConfigError("harness.runsCode: this process has a network, and code is only run without")
    return True


def refuse_unsafe(name: str, config: Mapping[str, Any] | None) -> None:
    """Raise ConfigError for a task that runs what the model writes, such as HumanEval."""
    if config and config.get("unsafe_code"):
        raise ConfigError(
            f"task {name} runs the programs that the model writes (unsafe_code); {_SAY_SO}, or drop it from "
            "harness.tasks"
        )


def _load(path: Path, called: str, *, code: bool) -> Config:
    try:
        return _included(path, called, (), code=code)
    except yaml.YAMLError as error:
        raise DataError(f"{called}: not YAML: {' '.join(str(error).split())}") from error
    except RunError:
        raise
    except Exception as error:  # whatever code of theirs leads to
        raise DataError(f"{called}: cannot be read: {type(error).__name__}: {error}") from error


def _included(path: Path, called: str, above: tuple[Path, ...], *, code: bool) -> Config:
    """Return the definition in a file over those that it includes: files beside it, or tasks by name."""
    if path in above:
        raise DataError(f"{called}: includes itself by way of {path.name}")
    with path.open("rb") as file:
        config = yaml.load(file, _loader(path, called, code=code))  # noqa: S506 - SafeLoader's
    if not isinstance(config, dict):
        raise DataError(f"{called}: holds {type(config).__name__}, not fields of a task")
    config = _with_bases(config)
    merged: Config = {}
    names = []
    for name in config.pop(BASES, []):
        file_named = path.parent / name
        if file_named.is_file():
            merged |= _included(file_named.resolve(), f"{called} (include {name})", (*above, path), code=code)
        else:
            names.append(name)
    merged |= config
    return merged | ({BASES: [*merged.get(BASES, []), *names]} if names else {})


def _loader(path: Path, called: str, *, code: bool) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """YAML with !function, which names Python."""

    def refuse(loader: yaml.SafeLoader, node: yaml.Node) -> None:
        raise _code(called, f"!function in line {node.start_mark.line + 1}")

    Loader.add_constructor("!function", _mk_function_ctor(path.parent, resolve=True) if code else refuse)
    return Loader


def _with_bases(config: Config) -> Config:
    """Return the definition with `include` as a list under a name of our own."""
    included = config.pop("include", None)
    if included is None:
        return config
    return {BASES: [str(each) for each in (included if isinstance(included, list) else [included])], **config}


def _parts(config: Config) -> Iterator[Config]:
    """Yield the definition, and of a group those of its members that stand in it."""
    yield config
    members = config.get("task")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, dict):
            yield from _parts(member)


def _refuse_code(config: Config, place: str) -> None:
    for name in ("class", "custom_dataset"):
        if name in config:
            raise _code(place, f"the field {name}")
    for metric in _metrics(config):
        if metric.get("hf_evaluate"):
            raise _code(place, f"metric {metric.get('metric')} with hf_evaluate")
    reader = config.get("dataset_path")
    if reader in _PACKAGED_DATASETS_MODULES and reader not in _READERS:
        raise _code(place, f"dataset_path {reader}")


def _check_metrics(config: Config, place: str) -> None:
    """Raise for a metric that lm-eval would look for on the Hugging Face Hub."""
    import lm_eval.api.metrics  # noqa: F401 - registers them

    for metric in _metrics(config):
        name = metric.get("metric")
        if isinstance(name, str) and name not in metric_registry and "process_results" not in config:
            raise DataError(
                f"{place}: lm-eval has no metric {name} of its own; there is {', '.join(sorted(metric_registry))}"
            )


def _metrics(config: Config) -> list[Mapping[str, Any]]:
    found = config.get("metric_list")
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _code(place: str, what: str) -> ConfigError:
    return ConfigError(f"{place}: {what} runs Python that the task brings; {_SAY_SO}, or write the task without it")
