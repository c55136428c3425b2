"""How near in meaning answers are to references: the cosine of their embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime import storage
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.models.embedding import embed
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.models.loading import load_tokenizer
from tunesmith_runtime.models.positions import learnt_positions

# The longest text that an encoder reads which does not say; the rest of longer ones is not looked at.
_LONGEST = 512


class Encoder:
    """A transformers encoder; a text's embedding is the mean of its tokens' (Reimers and Gurevych 2019)."""

    def __init__(self, folder: Path) -> None:
        """Load it, onto a GPU if there is one. Raises ModelError."""
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(folder, "sequence-classification")
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the loaders raise whatever the broken file leads them to
            raise ModelError(f"{folder} cannot be loaded as an encoder: {error}"[:1000]) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
        self._model = encoder.float().eval().to(self._device)
        can_read = learnt_positions(encoder) or getattr(model.config, "max_position_embeddings", None) or _LONGEST
        self._longest = min(int(self._tokenizer.model_max_length), can_read)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """Return the embedding of each text; of one beyond what the encoder reads, that of its beginning."""
        rows = [
            self._tokenizer(text, truncation=True, max_length=self._longest, verbose=False)["input_ids"]
            for text in texts
        ]
        found: dict[int, torch.Tensor] = {}

        def work(batch: list[int]) -> None:
            means = embed(self._model, [rows[index] for index in batch], self._tokenizer.pad_token_id)
            found.update(zip(batch, means.cpu(), strict=True))

        Batching(None, self._device).run([len(row) for row in rows], work)
        return [found[index] for index in range(len(texts))]


Pair = tuple[str, tuple[str, ...]]


def similarities(uri: str, pairs: Sequence[Pair], known: Answers) -> dict[Pair, float]:
    """Return, for each answer with its references, its cosine with the reference that is nearest to it.

    An empty answer means nothing, and has 0. What is known is not encoded again. Raises ModelError.
    """
    folder = storage.model_path(uri)
    digest = model_digest(folder)
    keys = {pair: known.key("similarity", digest, *pair) for pair in pairs if pair[0].strip()}
    left = [pair for pair, key in keys.items() if known.get(key) is None]
    if left:
        texts = list(dict.fromkeys(text for answer, wanted in left for text in (answer, *wanted)))
        vectors = dict(zip(texts, Encoder(folder).embed(texts), strict=True))
        known.add({keys[pair]: {"similarity": _nearest(vectors, *pair)} for pair in left})
    found = {pair: known.get(key) for pair, key in keys.items()}
    return {pair: float((found.get(pair) or {"similarity": 0.0})["similarity"]) for pair in pairs}


def _nearest(vectors: Mapping[str, torch.Tensor], answer: str, references: Sequence[str]) -> float:
    one = vectors[answer].double()
    return max(float(cosine_similarity(one, vectors[each].double(), dim=0)) for each in references)
