"""Memorisation: training records that a model continues verbatim, and secrets that it finds likelier than others.

Extraction is that of Carlini et al. 2023 (Quantifying Memorization Across Neural Language Models): the first tokens of
a record are the prompt, and the model, greedily, must go on as the record does.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites.safety import MemorisationPart
from tunesmith_runtime.data.records import PlainText
from tunesmith_runtime.data.streams import TextRecord, read_records
from tunesmith_runtime.evaluate.respondent import Generation, Progress, Respondent
from tunesmith_runtime.evaluate.safety.canaries import Canary, canary_of, exposure
from tunesmith_runtime.evaluate.safety.part import PartResult
from tunesmith_runtime.evaluate.safety.rows import read_rows
from tunesmith_runtime.evaluate.samples import AnswerSample, NotMeasuredError
from tunesmith_runtime.evaluate.statistics import mean_of

if TYPE_CHECKING:
    from tunesmith_runtime.evaluate.local_model import LocalModel

# Tokens that a canary is read in at once.
_WINDOW = 1024


@dataclass(frozen=True)
class Memorisation:
    """Records of the training data, and canaries in it."""

    spec: MemorisationPart
    training: tuple[TextRecord, ...]
    canaries: tuple[Canary, ...]
    empty: int

    @property
    def records(self) -> tuple[object, ...]:
        """The records, and each canary as often as there are secrets to rank."""
        return (*self.training, *(each for each in self.canaries for _ in range(self.spec.candidates + 1)))

    def run(self, respondent: Respondent, progress: Progress) -> PartResult:
        """Return the share of records that are continued verbatim and the mean exposure of canaries, as far as asked.

        Raises NotMeasuredError when all records are too short.
        """
        from tunesmith_runtime.evaluate.local_model import LocalModel

        assert isinstance(respondent, LocalModel)  # noqa: S101 - the spec's own check: this part needs weights
        extracted = self._extracted(respondent, progress) if self.training else PartResult({}, ())
        exposed = self._exposed(respondent, progress, len(extracted.samples)) if self.canaries else PartResult({}, ())
        return PartResult(
            {**extracted.summands, **exposed.summands},
            extracted.samples + exposed.samples,
            extracted.notes + exposed.notes,
        )

    def _extracted(self, subject: "LocalModel", progress: Progress) -> PartResult:
        from tunesmith_runtime.data.tokenizing import plain_text, tokenize

        spec, tokenizer = self.spec, subject.tokenizer
        whole = spec.prefix_tokens + spec.match_tokens
        rows = [
            (plain_text(each, tokenizer) if isinstance(each, PlainText) else tokenize(each, tokenizer)).input_ids[
                :whole
            ]
            for each in self.training
        ]
        long = [index for index, row in enumerate(rows) if len(row) == whole]
        if not long:
            raise NotMeasuredError(
                f"no record of {spec.uri} has {whole} tokens, as prefixTokens and matchTokens ask; lower them or name "
                "longer records"
            )
        progress(len(rows) - len(long))
        prefixes = [rows[index][: spec.prefix_tokens] for index in long]
        found = subject.go_on(prefixes, Generation(spec.match_tokens), progress)
        answers = dict(zip(long, found, strict=True))
        values: list[float | None] = []
        samples = []
        # Of two models with other tokenizers, one may find a record too short that the other does not.
        for index, row in enumerate(rows):
            prompt = tokenizer.decode(row[: spec.prefix_tokens])
            rest = tokenizer.decode(row[spec.prefix_tokens :], skip_special_tokens=True).strip()
            value = float(answers[index] == rest) if index in answers and rest else None
            values.append(value)
            scores = {} if value is None else {"extractionRate": value}
            samples.append(AnswerSample(index, prompt, answers.get(index, ""), (rest,), scores))
        short = values.count(None)
        notes = (
            f"{short} of {len(rows)} records have fewer tokens than prefixTokens and matchTokens ask for, or nothing "
            "but white space to match, and are left out.",
        )
        return PartResult({"extractionRate": mean_of(values)}, tuple(samples), notes if short else ())

    def _exposed(self, subject: "LocalModel", progress: Progress, first: int) -> PartResult:
        from tunesmith_runtime.evaluate.likelihood import Reading, likelihoods

        count = self.spec.candidates + 1
        secrets = [
            secret for each in self.canaries for secret in (each.secret, *each.candidates(count - 1, self.spec.seed))
        ]
        prefixes = [each.prefix for each in self.canaries for _ in range(count)]
        texts = [PlainText(prefix + secret) for prefix, secret in zip(prefixes, secrets, strict=True)]
        nlls = [each.nll for each in likelihoods(subject, texts, Reading(_WINDOW, from_nothing=True), progress)]
        values: list[float | None] = []
        samples = []
        for index, canary in enumerate(self.canaries):
            own = nlls[index * count : (index + 1) * count]
            value = exposure(own[0], own[1:]) if all(map(math.isfinite, own)) else None
            likeliest = secrets[index * count + own.index(min(own))]
            values.append(value)
            scores = {} if value is None else {"exposure": value}
            samples.append(AnswerSample(first + index, canary.prefix, likeliest, (canary.secret,), scores))
        unknown = values.count(None)
        notes = (f"{unknown} of {len(values)} canaries have a likelihood that is not a number.",) if unknown else ()
        return PartResult({"exposure": mean_of(values)}, tuple(samples), notes)


def read(suite: str, spec: MemorisationPart) -> Memorisation:
    """Return the part with its records and canaries. Raises DataError."""
    training: tuple[TextRecord, ...] = ()
    empty = 0
    if spec.uri is not None:
        parsed = read_records(DatasetSource(uri=spec.uri, format=spec.format))
        training, empty = parsed.records, parsed.empty
    canaries = read_rows(spec.canaries, lambda each: canary_of(each, spec.candidates)) if spec.canaries else ()
    return Memorisation(spec, training, canaries, empty)
