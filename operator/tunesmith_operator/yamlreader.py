"""YAML and JSON documents read without surprises."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

# The core schema of YAML 1.2: 2e-4 is a number, 010 is ten, and yes, no, on, off and dates are strings.
_SCALARS = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}


@dataclass(frozen=True)
class Document:
    """One document of a file: its number, counted from 1, its value, and what is wrong with it as YAML."""

    number: int
    value: Any
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """The documents of a file, as far as it could be read, and why no further."""

    documents: tuple[Document, ...]
    problems: tuple[str, ...] = field(default=())


def read(text: str, *, as_json: bool = False) -> Contents:
    """Return the documents of a YAML text, or the one of a JSON text. Empty documents are left out."""
    return _read_json(text) if as_json else _read_yaml(text)


def _read_yaml(text: str) -> Contents:
    documents: list[Document] = []
    try:
        loader = _Loader(text)
        for number, node in enumerate(_nodes(loader), start=1):
            loader.problems = []
            value = loader.construct_document(node)
            if value is not None or loader.problems:
                documents.append(Document(number, value, tuple(loader.problems)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return Contents(tuple(documents), (f"{where}not YAML: {error.problem or error.context}",))
    except yaml.YAMLError as error:
        return Contents(tuple(documents), (f"not YAML: {' '.join(str(error).split())}",))
    except RecursionError:
        return Contents(tuple(documents), ("not usable: it is nested too deeply",))
    return Contents(tuple(documents))


def _nodes(loader: "_Loader") -> Iterator[Any]:
    while loader.check_node():
        yield loader.get_node()


def _read_json(text: str) -> Contents:
    problems: list[str] = []

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        problems.extend(f"the key {name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1)
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        return Contents((), (f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}",))
    except RecursionError:
        return Contents((), ("not usable: it is nested too deeply",))
    return Contents((Document(1, value, tuple(problems)),))


class _Loader(yaml.SafeLoader):
    """Reads what JSON can say, and nothing else."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def mapping(self, node: yaml.Node) -> Iterator[dict[str, Any]]:
        value: dict[str, Any] = {}
        yield value
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, f"the tag {node.tag} is not supported")
            return
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                self._complain(key, f"the key {key.value!r} is there twice")
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        self.flatten_mapping(node)
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode):
                value[key.value] = self.construct_object(item)
            else:
                self._complain(key, "a key must be a plain word")

    def integer(self, node: yaml.ScalarNode) -> int:
        text = node.value
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)

    def decimal(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def unsupported(self, node: yaml.Node) -> None:
        self._complain(node, f"the tag {node.tag} is not supported; use plain strings, numbers, lists and mappings")

    def _complain(self, node: yaml.Node, problem: str) -> None:
        self.problems.append(f"line {node.start_mark.line + 1}: {problem}")


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _SCALARS.items():
    _characters = [*_first, ""] if _name == "null" else list(_first)
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _characters)
_Loader.yaml_constructors = {
    _TAG + "null": yaml.SafeLoader.construct_yaml_null,
    _TAG + "bool": yaml.SafeLoader.construct_yaml_bool,
    _TAG + "str": yaml.SafeLoader.construct_yaml_str,
    _TAG + "seq": yaml.SafeLoader.construct_yaml_seq,
    _TAG + "int": _Loader.integer,
    _TAG + "float": _Loader.decimal,
    _TAG + "map": _Loader.mapping,
    None: _Loader.unsupported,
}
