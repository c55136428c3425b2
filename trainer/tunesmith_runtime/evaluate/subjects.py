"""What an EvalJob names becomes somebody who answers."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith_api.evaljob import Subject
from tunesmith_runtime import storage
from tunesmith_runtime.endpoint import caller_of, connected
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.evaluate.endpoint_model import EndpointModel
from tunesmith_runtime.evaluate.respondent import Answers, Respondent

if TYPE_CHECKING:
    from tunesmith_runtime.evaluate.local_model import LocalModel

_ADAPTER = "adapter_config.json"
_MODEL = "config.json"


def identity(subject: Subject, run: str) -> str:
    """Return what tells the subject's answers from those of all others.

    Only a digest says for sure what a model is. Without one, a name may stand for another model tomorrow, so that its
    answers are good for this `run` alone.
    """
    named = f"{subject.uri} {subject.base or ''}".strip()
    if subject.endpoint:
        named = f"{named} {subject.endpoint.url} {subject.endpoint.model}"
    return f"{named} {subject.digest or run}"


@contextmanager
def opened(subject: Subject, field: str, known: Answers, batch_size: int | None) -> Iterator[Respondent]:
    """Give the subject, which `field` of the spec names: an endpoint, or a model that is loaded, and freed afterwards.

    A model runs on a GPU if there is one. Raises ModelError.
    """
    if subject.endpoint:
        caller = caller_of(subject.endpoint, f"the {field.rpartition('.')[2]}'s endpoint", f"{field}.endpoint")
        with connected(subject.endpoint, caller, known.spending) as endpoint:
            yield EndpointModel(endpoint, known)
        return
    import torch

    respondent = _loaded(subject, known, batch_size)
    try:
        yield respondent
    finally:
        del respondent
        gc.collect()
        torch.cuda.empty_cache()


def _loaded(subject: Subject, known: Answers, batch_size: int | None) -> "LocalModel":
    import torch

    from tunesmith_runtime.evaluate.batching import Batching
    from tunesmith_runtime.evaluate.local_model import LocalModel
    from tunesmith_runtime.models import wrapping
    from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if subject.base is None:
        folder = storage.model_path(subject.uri)
        tokenizer, model = load_tokenizer(folder), load_causal_lm(folder)
    else:
        folder, base = storage.folder_path(subject.uri), storage.model_path(subject.base)
        tokenizer = load_tokenizer(base)
        if (folder / _ADAPTER).is_file():
            model = wrapping.load(load_causal_lm(base), folder)
        elif (folder / _MODEL).is_file():
            model = load_causal_lm(folder)
        else:
            raise ModelError(
                f"{subject.uri} is neither a model nor an adapter: it has no {_MODEL} and no {_ADAPTER}. A checkpoint "
                "of PPO has none of them: evaluate the model that the job publishes"
            )
    model.to(device)
    return LocalModel(model, tokenizer, Batching(batch_size, device), known)


def check(subject: Subject) -> Path | None:
    """Return the folder of a model, having looked whether it is there; None of an endpoint. Raises ModelError."""
    if subject.endpoint:
        return None
    if subject.base is None:
        return storage.model_path(subject.uri).resolve()
    storage.model_path(subject.base)
    return storage.folder_path(subject.uri).resolve()
