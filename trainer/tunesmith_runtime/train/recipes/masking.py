"""Which words of a text a masked language model is to fill in, and what it is shown in their place.

A word is a run of tokens that the tokenizer's own rules keep together, as far as there is no white space in it. 15% of
a row's tokens are to be predicted; of these 80% are shown as the mask token, 10% as any token and 10% as they are
(Devlin et al. 2019, BERT, https://arxiv.org/abs/1810.04805, and its later whole word masking).
"""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from tunesmith_runtime.data.tokenizing import IGNORED
from tunesmith_runtime.train.recipes.recipe import Row

MASKED_SHARE = 0.15
SHOWN_AS_MASK = 0.8
SHOWN_AS_ANY = 0.1
# The number of no word: special tokens are never masked.
NO_WORD = -1
# A longer run of tokens without a space is no word (a URL, a language without spaces): each token stands for itself.
LONGEST_WORD = 16

_Ids = NDArray[np.int64]


def number_words(text: str, runs: Sequence[int | None], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return the number of each token's word, from the runs that the tokenizer split the text into.

    Some tokenizers take a whole text for one run; a word never goes on behind white space.
    """
    words: list[list[int]] = []
    end = 0
    for token, (run, (start, stop)) in enumerate(zip(runs, offsets, strict=True)):
        if run is None or run == NO_WORD:
            continue
        last = words[-1][-1] if words else None
        # A token of nothing but space belongs to the word behind it.
        goes_on = last == token - 1 and last is not None and runs[last] == run
        if goes_on and text[slice(*offsets[token - 1])].strip():
            goes_on = not any(character.isspace() for character in text[end : start + 1])
        if goes_on:
            words[-1].append(token)
        else:
            words.append([token])
        end = stop
    units = [unit for word in words for unit in ([word] if len(word) <= LONGEST_WORD else [[token] for token in word])]
    numbered = [NO_WORD] * len(runs)
    for number, unit in enumerate(units):
        for token in unit:
            numbered[token] = number
    return numbered


class MaskedRows(Dataset[Row]):
    """Rows with words masked; which ones depends on the seed, the epoch and the row alone.

    So a resumed run masks what it would have masked without the break, whatever was drawn before, and rows that an
    epoch sees more than once are masked each time anew.
    """

    def __init__(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self.epoch = 0
        self._rows = rows
        self._seed = seed
        self._mask_id = int(tokenizer.mask_token_id)
        self._any = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        """Return the row with `input_ids` as shown, and `labels`: the token where it is to be predicted, else -100."""
        row: dict[str, Any] = dict(self._rows[int(index)])
        ids, words = np.array(row["input_ids"]), np.array(row.pop("word_ids"))
        rng = np.random.default_rng((self._seed, self.epoch, int(index)))
        wanted = choose_words(words, rng)
        labels = np.where(wanted, ids, IGNORED)
        row.update(input_ids=self._shown(ids, wanted, rng).tolist(), labels=labels.tolist())
        return row

    def _shown(self, ids: _Ids, wanted: NDArray[np.bool_], rng: np.random.Generator) -> _Ids:
        lot = rng.random(len(ids))
        anything = rng.choice(self._any, len(ids))
        shown = np.where(wanted & (lot < SHOWN_AS_MASK), self._mask_id, ids)
        return np.where(wanted & (lot >= SHOWN_AS_MASK) & (lot < SHOWN_AS_MASK + SHOWN_AS_ANY), anything, shown)


def choose_words(words: _Ids, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which tokens to predict: words in random order, up to 15% of all tokens, and one word at least."""
    sizes = np.bincount(words[words != NO_WORD])
    present = np.flatnonzero(sizes)
    room = max(1, round(MASKED_SHARE * int(sizes.sum())))
    order = rng.permutation(present)
    chosen = []
    for word in order:
        if sizes[word] <= room:
            chosen.append(word)
            room -= int(sizes[word])
        if room == 0:
            break
    # A short text may have no word that is short enough.
    return np.isin(words, chosen or [order[0]])
