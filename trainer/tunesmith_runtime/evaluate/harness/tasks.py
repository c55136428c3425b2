"""The tasks of a suite, loaded with their data before any model is."""

import difflib
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lm_eval.utils
import numpy as np
from jinja2 import BaseLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from tunesmith_api.suites import HarnessSuite
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.evaluate.harness.definitions import BASES, Config, Definitions, refuse_unsafe

_SHOWN = 5


@dataclass(frozen=True)
class Tasks:
    """Tasks, and the groups that sum some of them up, by name."""

    tasks: Mapping[str, Task]
    groups: Mapping[str, Group]

    def samples(self) -> Iterator[tuple[str, int]]:
        """Yield the task and the number of each sample."""
        for name, task in self.tasks.items():
            yield from ((name, doc_id) for doc_id in dict.fromkeys(each.doc_id for each in task.instances))

    def request_types(self) -> Iterator[tuple[str, str]]:
        """Yield each task with each kind of request that it makes."""
        for name, task in self.tasks.items():
            yield from ((name, kind) for kind in sorted({each.request_type for each in task.instances}))

    @property
    def as_lm_eval(self) -> dict[str, Any]:
        """As lm_eval.evaluator.evaluate takes them."""
        return {"tasks": dict(self.tasks), "groups": dict(self.groups)}


def load(suite: HarnessSuite) -> Tasks:
    """Return the tasks that a suite names, with their data.

    Raises ConfigError for one that nobody knows or that is refused, DataError for one that cannot be loaded.
    """
    definitions = Definitions(suite)
    manager = _manager(suite.tasks, definitions.entries)
    unknown = [name for name in suite.tasks if name not in manager.task_index]
    if unknown:
        raise ConfigError(_unknown(unknown[0], list(manager.task_index)))
    for name in _below(suite.tasks, manager.task_index):
        if name in manager.task_index and not suite.runs_code:
            refuse_unsafe(name, manager.task_index[name].cfg)
    if not suite.runs_code:
        _sandbox_templates()
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}
    source: dict[str, str] = {}
    with seeded():
        for name in suite.tasks:
            found = _load(name, manager)
            for each in found["tasks"]:
                if each in tasks:
                    raise ConfigError(f"task {each} comes with {source[each]} and with {name}; name one of the two")
                source[each] = name
            tasks |= found["tasks"]
            groups |= found["groups"]
    for name, task in tasks.items():
        _prepare(name, task, suite)
    return Tasks(tasks, groups)


@contextmanager
def seeded() -> Iterator[None]:
    """Draw what tasks draw at random as lm-eval's command line does, and leave the random numbers of others alone."""
    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


def reseed(tasks: Tasks) -> None:
    """Let each model get the same examples before its questions."""
    for task in tasks.tasks.values():
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _manager(names: Sequence[str], given: Mapping[str, Entry]) -> TaskManager:
    """Return lm-eval's index with the given definitions, and with the packaged tasks only where they are needed.

    To look through the packaged ones takes seconds.
    """
    needed = set(_below(names, given))
    over_packaged = any(name in _bases(given[name]) for name in needed & given.keys())
    packaged = _packaged() if over_packaged or not needed <= given.keys() else {}
    manager = TaskManager(include_defaults=False)
    manager.task_index.update({**packaged, **given})
    for name in needed & given.keys():
        entry = given[name]
        if entry.cfg and _bases(entry):
            entry.cfg = _based(entry.cfg, name, given, packaged, (name,))
    return manager


@functools.cache
def _packaged() -> Mapping[str, Entry]:
    return dict(TaskManager().task_index)


def _below(names: Sequence[str], index: Mapping[str, Entry]) -> Iterator[str]:
    """Yield the names, and those that they lead to: members of groups, tasks of tags, tasks that others build on."""
    seen: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name in index:
            left += [*_members(index[name]), *_bases(index[name])]


def _members(entry: Entry) -> list[str]:
    if entry.kind is Kind.TAG:
        return sorted(entry.tags)
    listed = (entry.cfg or {}).get("task")
    members = listed if isinstance(listed, list) else []
    return [str(each.get("task") or each.get("group")) if isinstance(each, dict) else str(each) for each in members]


def _bases(entry: Entry) -> list[str]:
    return list((entry.cfg or {}).get(BASES, []))


def _based(
    config: Config, name: str, given: Mapping[str, Entry], packaged: Mapping[str, Entry], above: tuple[str, ...]
) -> Config:
    """Return a definition over the tasks whose names it includes; a name that it bears itself is the packaged one."""
    merged: Config = {}
    for base in config.get(BASES, []):
        entry = packaged.get(base) if base in above else given.get(base) or packaged.get(base)
        if entry is None:
            raise ConfigError(f"task {name} includes {base}: {_unknown(base, [*given, *packaged])}")
        if entry.yaml_path is not None:
            merged |= load_yaml(entry.yaml_path)  # packaged: its Python is lm-eval's own
        elif entry.cfg:
            merged |= _based(entry.cfg, base, given, packaged, (*above, base))
    own = {key: value for key, value in config.items() if key != BASES}
    return merged | own


def _load(name: str, manager: TaskManager) -> Mapping[str, Any]:
    try:
        found = manager.load([name])
    except Exception as error:  # whatever the definition, its data or a hub lead to
        # An IndexError is of the first sample, which lm-eval looks at; the words are those of datasets.
        if isinstance(error, IndexError) or "corresponds to no data" in str(error):
            raise DataError(f"task {name} has no samples; look at its dataset and its splits") from error
        raise DataError(
            f"task {name} cannot be loaded: {type(error).__name__}: {_one_line(error)}. Without a network, name a "
            "task whose dataset lies on storage (taskUris, inlineTasks)"
        ) from error
    if not found["tasks"]:
        raise DataError(f"{name} holds no tasks")
    return found


def _prepare(name: str, task: Task, suite: HarnessSuite) -> None:
    """Set how many examples come before a question, as lm-eval's command line does, and look whether it can be run."""
    if getattr(task, "UNSAFE_CODE", False) and not suite.runs_code:
        refuse_unsafe(name, {"unsafe_code": True})
    if getattr(task, "MULTIMODAL", False):
        raise ConfigError(f"task {name} shows images or sounds, and the models here read text; drop it")
    own = task.get_config("num_fewshot")
    if own is None or (suite.num_fewshot is not None and own != 0):
        task.set_config("num_fewshot", suite.num_fewshot or 0)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    try:
        task.build_all_requests(limit=suite.limit)
    except Exception as error:  # whatever templates and samples lead to
        raise DataError(
            f"task {name}: its samples do not become questions: {type(error).__name__}: {_one_line(error)}"
        ) from error


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=_SHOWN)
    hint = f"; near are {', '.join(near)}" if near else ""
    return f"there is no task, group or tag {name}, neither in lm-eval nor in taskUris nor in inlineTasks{hint}"


def _sandbox_templates() -> None:
    """Keep templates of tasks, which are Jinja, from reaching Python by way of attributes."""
    sandbox = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters |= lm_eval.utils.env.filters
    lm_eval.utils.env = sandbox


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
