"""Manifests become resources, or every mistake in them becomes a sentence."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunesmith_api.base import API_VERSION
from tunesmith_api.errors import explain
from tunesmith_api.meta import Reference
from tunesmith_api.resources import KINDS, EvalJob, FineTuneJob, Resource, parse, reference
from tunesmith_operator import yamlreader
from tunesmith_operator.planner import Observed
from tunesmith_operator.planner.references import find_cycle
from tunesmith_operator.planner.repeating import schedule_problem

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"


class ManifestError(Exception):
    """The manifests cannot be used; `sentences` says all that is wrong with them."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = tuple(sentences)


@dataclass(frozen=True)
class _Source:
    label: str
    text: str

    @property
    def is_json(self) -> bool:
        return self.label.endswith(".json")


@dataclass(frozen=True)
class _Found:
    label: str
    resource: Resource


def load(sources: Sequence[str]) -> tuple[Resource, ...]:
    """Return the resources of files, of the manifests in folders (not in folders inside them), and of `-`, stdin.

    Only metadata and spec are kept, for the rest of an object belongs to whoever runs it.
    Raises ManifestError with all that is wrong: unreadable files, YAML, the API's rules, and what only several
    documents together show.
    """
    problems: list[str] = []
    found: list[_Found] = []
    for source in _read(sources, problems):
        found.extend(_resources(source, problems))
    problems.extend(_duplicates(found))
    problems.extend(_cycles([item.resource for item in found]))
    if problems:
        raise ManifestError(problems)
    return tuple(item.resource for item in found)


def _read(sources: Sequence[str], problems: list[str]) -> Iterator[_Source]:
    for source in dict.fromkeys(sources):
        if source == STDIN:
            yield _Source("stdin", sys.stdin.read())
            continue
        path = Path(source)
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
            if not files:
                problems.append(f"{source}: the folder has no manifests ({', '.join(SUFFIXES)})")
        for file in files:
            try:
                yield _Source(str(file), file.read_text(encoding="utf-8-sig"))
            except FileNotFoundError:
                problems.append(f"{file}: no such file or folder")
            except UnicodeDecodeError as error:
                problems.append(f"{file}: not a text in UTF-8 (byte {error.start})")
            except OSError as error:
                problems.append(f"{file}: cannot be read: {error.strerror}")


def _resources(source: _Source, problems: list[str]) -> Iterator[_Found]:
    contents = yamlreader.read(source.text, as_json=source.is_json)
    if not contents.documents and not contents.problems:
        problems.append(f"{source.label}: the file is empty; it should hold {', '.join(KINDS)} manifests")
    for document in contents.documents:
        label = f"{source.label}:document {document.number} ({_title(document.value)})"
        problems.extend(f"{label}: {problem}" for problem in document.problems)
        try:
            yield _Found(label, _resource(document.value))
        except _RefusedError as refusal:
            problems.extend(f"{label}: {sentence}" for sentence in refusal.args)
    problems.extend(f"{source.label}: {problem}" for problem in contents.problems)


class _RefusedError(Exception):
    """The sentences are its arguments."""


def _resource(value: Any) -> Resource:
    if not isinstance(value, dict):
        raise _RefusedError("a manifest is a mapping with apiVersion, kind, metadata and spec")
    version, kind = value.get("apiVersion"), value.get("kind")
    if version is None:
        raise _RefusedError(f"apiVersion: missing; use {API_VERSION}")
    if version != API_VERSION:
        raise _RefusedError(f"{kind} of {version} is not a resource of Tunesmith; it takes {API_VERSION} only")
    try:
        resource = parse(value)
    except ValidationError as error:
        raise _RefusedError(*explain(error)) from error
    except (ValueError, RecursionError) as error:
        raise _RefusedError("it holds itself through an alias; write it out") from error
    schedule = resource.spec.schedule if isinstance(resource, EvalJob) else None
    if schedule is not None and (problem := schedule_problem(schedule)):
        raise _RefusedError(problem)
    metadata = resource.metadata.model_copy(
        update={"uid": "", "generation": 1, "creation_timestamp": None, "deletion_timestamp": None}
    )
    return resource.model_copy(update={"metadata": metadata, "status": type(resource.status)()})


def _title(value: Any) -> str:
    if not isinstance(value, dict):
        return "no manifest"
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{value.get('kind') or 'no kind'} {name or 'without a name'}"


def _duplicates(found: Sequence[_Found]) -> Iterator[str]:
    first: dict[tuple[str, Reference], str] = {}
    for item in found:
        namespace = item.resource.metadata.namespace
        key = (namespace, reference(item.resource))
        if key in first:
            yield f"{item.label}: {key[1]} of namespace {namespace} is also in {first[key]}; keep one of them"
        first.setdefault(key, item.label)


def _cycles(resources: Sequence[Resource]) -> Iterator[str]:
    told: set[frozenset[str]] = set()
    for resource in resources:
        if not isinstance(resource, FineTuneJob):
            continue
        namespace = resource.metadata.namespace
        neighbours = {reference(other): other for other in resources if other.metadata.namespace == namespace}
        ring = find_cycle(resource, Observed(resources=neighbours))
        if ring and frozenset(ring) not in told:
            told.add(frozenset(ring))
            yield (
                "these FineTuneJobs wait for each other's models in a cycle, so that none can ever start: "
                f"{' -> '.join(ring)}; change one of the URIs in their spec.model and spec.method"
            )
