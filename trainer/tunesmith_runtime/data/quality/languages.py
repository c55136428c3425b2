"""Records in other languages than those wanted are left out."""

from collections.abc import Iterable

import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tunesmith_runtime.data.quality.texts import texts
from tunesmith_runtime.data.quality.words import UNSPACED
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.errors import ConfigError

# Codes of ISO 639-1 that the model spells otherwise or divides into several.
LABELS = {"nb": ("no",), "no": ("no", "nn"), "ar": ("ar", "ary", "arz"), "zh": ("zh", "wuu", "yue")}
NO_LANGUAGE = "zxx"  # numbers, formulas
# Below that many letters the language of a text cannot be told; a letter of a dense script says as much as three.
MIN_LETTERS = 20
_DENSE_WEIGHT = 3
# A wanted language may be the right one from this probability on: related languages are often taken for each other.
MIN_PROBABILITY = 0.1
_LOOKED_AT = 1_000  # first characters of each text

_LETTER = regex.compile(r"\p{L}")
_DENSE = regex.compile(rf"[{UNSPACED}\p{{Hangul}}]")


class LanguageFilter:
    """Tells languages apart by py3langid (naive Bayes over byte n-grams, Lui and Baldwin 2012), without a download."""

    def __init__(self, languages: Iterable[str]) -> None:
        """Take codes of ISO 639-1. Raises ConfigError for languages that the model does not know."""
        wanted = tuple(languages)
        self._model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = {label for label in self._model.labels if len(label) == 2} | LABELS.keys()
        if unknown := [language for language in wanted if language not in known]:
            raise ConfigError(
                f"data.quality.languages: {', '.join(unknown)} cannot be told from other languages; "
                f"those that can are {', '.join(sorted(known))}"
            )
        self._labels = {label for language in wanted for label in LABELS.get(language, (language,))}

    def keeps(self, record: Record) -> bool:
        """Tell whether most of a record's text may be in a wanted language.

        Too short a text, one without a language (numbers, formulas) and one that the model knows nothing of are kept.
        """
        text = "\n".join(text[:_LOOKED_AT] for text in texts(record))
        letters = len(_LETTER.findall(text)) + (_DENSE_WEIGHT - 1) * len(_DENSE.findall(text))
        if letters < MIN_LETTERS:
            return True
        ranking = self._model.rank(text)
        best, probability = ranking[0]
        if best == NO_LANGUAGE or probability < MIN_PROBABILITY:
            return True
        return sum(each for label, each in ranking if label in self._labels) >= MIN_PROBABILITY
