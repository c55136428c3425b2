"""The model that is served, and what follows from its files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModel, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models.adapted import base_of
from tunesmith_runtime.models.decoding import can_decode
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.models.positions import learnt_positions
from tunesmith_runtime.models.tasks import is_adapter_folder, kind_of, read_config
from tunesmith_runtime.serve.engine.adapters import Adapters
from tunesmith_runtime.serve.engine.forms import Forms
from tunesmith_runtime.serve.engine.questions import Sampling

# What a model that does not say can read.
_LONGEST = 4096


@dataclass(frozen=True)
class Served:
    """A model in eval mode on its device, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapters: Adapters
    # Whether it writes; else it gives embeddings only.
    writes: bool
    # How many tokens it can read, those that it writes included.
    limit: int
    # Tokens that end an answer.
    ends: frozenset[int]
    # How it is asked where a request does not say.
    sampling: Sampling

    @property
    def batches(self) -> bool:
        """Whether answers can be written together."""
        return self.writes and can_decode(self.model)

    @property
    def embeds(self) -> bool:
        """Whether texts have vectors in it: virtual tokens are no part of a text."""
        return not isinstance(self.model, PeftModel)

    @cached_property
    def forms(self) -> Forms:
        """The forms that answers can be asked for in."""
        return Forms(self.tokenizer, self.vocabulary, self.ends)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return int(self.model.get_input_embeddings().num_embeddings)


def load(folder: Path) -> Served:
    """Load a decoder, or an adapter on one, to write; or an encoder, for embeddings. Raises ModelError."""
    alone = is_adapter_folder(folder)
    kind = "decoder" if alone else kind_of(read_config(folder))
    if kind == "encoder-decoder":
        raise ModelError(f"{folder} is an encoder with a decoder, which the engine transformers does not serve")
    tokenizer = load_tokenizer(
        base_of(folder) if alone and not (folder / "tokenizer_config.json").is_file() else folder,
        "causal-lm" if kind == "decoder" else "sequence-classification",
    )
    model = load_causal_lm(folder) if kind == "decoder" else _encoder(folder)
    model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    own = model.generation_config if kind == "decoder" else None
    if kind == "decoder":
        # What the model's own asks for is part of `sampling`; transformers would fill it in again.
        plain = GenerationConfig(pad_token_id=tokenizer.pad_token_id, eos_token_id=None)
        for each in (model, model.get_base_model() if isinstance(model, PeftModel) else model):
            each.generation_config = plain
    return Served(
        model=model,
        tokenizer=tokenizer,
        adapters=Adapters(model),
        writes=kind == "decoder",
        limit=_limit(model, tokenizer, kind == "decoder"),
        ends=_ends(own, tokenizer),
        sampling=_sampling(own),
    )


def _encoder(folder: Path) -> PreTrainedModel:
    try:
        return AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{folder} cannot be loaded as an encoder: {error}"[:1000]) from error


def _limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, writes: bool) -> int:
    config = model.config.get_text_config()
    said = learnt_positions(model) or getattr(config, "max_position_embeddings", None) or _LONGEST
    return int(said) if writes else min(int(said), int(tokenizer.model_max_length))


def _ends(own: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    found: Any = own.eos_token_id if own else None
    return frozenset({tokenizer.eos_token_id, *(found if isinstance(found, list) else [found])} - {None})


def _sampling(own: GenerationConfig | None) -> Sampling:
    """Return how the model's makers want it asked; a model that does not say is not sampled from."""
    if own is None or not own.do_sample:
        return Sampling()
    given = {"temperature": own.temperature, "top_p": own.top_p, "top_k": own.top_k, "min_p": own.min_p}
    return Sampling(**{"temperature": 1.0} | {name: value for name, value in given.items() if value is not None})
