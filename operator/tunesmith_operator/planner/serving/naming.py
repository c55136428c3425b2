"""What the workloads of a ModelServe are called, and how versions of what they are told are told apart."""

import hashlib
from typing import TypeVar

from tunesmith_api.contract import AdapterSet
from tunesmith_api.resources import ModelServe
from tunesmith_api.traffic import Routes

DocumentT = TypeVar("DocumentT", Routes, AdapterSet)


def gateway_name(serve: ModelServe) -> str:
    """Return the name of a ModelServe's gateway."""
    return f"{serve.metadata.name}-gateway"


def revision_name(serve: ModelServe, number: int) -> str:
    """Return the name of the workload of a revision."""
    return f"{serve.metadata.name}-v{number}"


def numbered(document: DocumentT) -> DocumentT:
    """Return a document with the number that stands for what it says: the same for the same, whoever counts."""
    text = document.model_dump_json(exclude={"generation"})
    return document.model_copy(update={"generation": 1 + int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)})
