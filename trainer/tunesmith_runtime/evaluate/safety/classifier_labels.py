"""The labels of a classifier, told by its config.json alone, before it is loaded."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith_runtime import storage
from tunesmith_runtime.errors import ConfigError, ModelError

_HEADED = "ForSequenceClassification"


def check(uri: str, toxic: Sequence[str]) -> None:
    """Raise ModelError when there is no classifier at the URI, and ConfigError when it lacks one of the labels."""
    path = storage.model_path(uri) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{uri}: its config.json cannot be read: {error}") from error
    if not isinstance(config, dict) or not any(str(each).endswith(_HEADED) for each in config.get("architectures", [])):
        raise ModelError(f"{uri} is no classifier: its config.json names no architecture that ends in {_HEADED}")
    checked_indices(uri, config, toxic)


def checked_indices(uri: str, config: Mapping[str, Any], toxic: Sequence[str]) -> list[int]:
    """Return the outputs that the toxic labels are. Raises ConfigError for a label that the classifier lacks."""
    labels = _labels(config)
    index_of = {label: index for index, label in labels.items()}
    if unknown := [label for label in toxic if label not in index_of]:
        raise ConfigError(
            f"toxicLabels has {', '.join(unknown)}, and the classifier {uri} has {', '.join(labels.values())}; name "
            "labels of its own"
        )
    if exclusive(config) and len(set(toxic)) == len(labels):
        raise ConfigError(
            f"toxicLabels names all labels of the classifier {uri}, whose probabilities add up to 1 for any text; name "
            "those that mean toxic"
        )
    return sorted({index_of[label] for label in toxic})


def exclusive(config: Mapping[str, Any]) -> bool:
    """Return whether a text has one of the labels; else it may have several, or is given a score of its only one."""
    return config.get("problem_type") != "multi_label_classification" and len(_labels(config)) > 1


def _labels(config: Mapping[str, Any]) -> dict[int, str]:
    # transformers leaves out what it would name itself.
    given = config.get("id2label") or {index: f"LABEL_{index}" for index in range(int(config.get("num_labels", 2)))}
    return {int(index): str(label) for index, label in given.items()}
