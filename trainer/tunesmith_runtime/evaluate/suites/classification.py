"""Classification: a language model puts texts into classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites import ClassificationSuite, Suite
from tunesmith_api.suites.parts import is_part
from tunesmith_runtime.data.formats import BadRecordError
from tunesmith_runtime.data.records import ASSISTANT, Conversation, LabelledText, Message, Record
from tunesmith_runtime.data.streams import read_each
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.classes import confusion, label_of, summands_of, summands_of_auc, summands_of_class
from tunesmith_runtime.evaluate.respondent import Generation, Progress, Respondent
from tunesmith_runtime.evaluate.samples import LabelSample, LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.templating import PromptTemplate

TEXT = """Put the text into one of these classes: {{ labels | join(", ") }}. Answer with the name of the class alone.

Text: {{ text }}{% if textPair %}

Second text: {{ textPair }}{% endif %}"""


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its texts, each as a turn of a chat that the label answers. Raises DataError."""
    kind = _kind(suite)
    template = PromptTemplate(kind.template or TEXT)

    def asked(fields: Mapping[str, Any], record: Record) -> Conversation:
        assert isinstance(record, LabelledText)  # noqa: S101 - what the format textClassification gives
        label = _label(record, kind.labels)
        prompt = template.render(
            {**fields, "text": record.text, "textPair": record.text_pair, "labels": list(kind.labels)}
        )
        return Conversation((Message("user", prompt), Message(ASSISTANT, label)))

    parsed = read_each(DatasetSource(uri=kind.uri, format="textClassification"), asked)
    own = {_own(record) for record in parsed.records}
    if "auc" in kind.metrics and len(own) < 2:
        raise DataError(f"{kind.uri}: all texts are labelled {own.pop()}, and metric auc needs some of either label")
    return LoadedSuite(suite, parsed.records, parsed.empty, Generation(kind.max_new_tokens))


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Let the model answer each text and return how well its answers name the classes."""
    kind = _kind(loaded.suite)
    records: Sequence[Conversation] = loaded.records
    answers = respondent.answer(records, Generation(kind.max_new_tokens), progress)
    own = [_own(record) for record in records]
    given = [label_of(answer, kind.labels) for answer in answers]
    odds = _log_odds(respondent, records, kind.labels) if "auc" in kind.metrics else None
    summands = summands_of(kind.metrics, own, given, kind.labels)
    for label in kind.labels:
        if is_part(label):
            of_class = summands_of_class(kind.class_metrics, own, given, label)
            summands |= {f"{label}/{metric}": each for metric, each in of_class.items()}
    metrics = {name: each.value for name, each in summands.items()}
    if odds is not None:
        positive = [label == kind.labels[-1] for label in own]
        metrics["auc"] = _auc(positive, odds)
        if math.isfinite(metrics["auc"]):
            summands["auc"] = summands_of_auc(positive, odds)
    samples = tuple(
        LabelSample(
            index=index,
            prompt=record.messages[0].content,
            answer=answer,
            references=(_own(record),),
            scores={"accuracy": float(label == _own(record))},
            given=label,
            probability=None if odds is None else _probability(odds[index]),
        )
        for index, (record, answer, label) in enumerate(zip(records, answers, given, strict=True))
    )
    return SuiteResult(metrics, samples, summands, confusion=confusion(own, given, kind.labels))


def _label(record: LabelledText, labels: Sequence[str]) -> str:
    if isinstance(record.label, tuple):
        raise BadRecordError("label is a list; a text of this suite has one label")
    if isinstance(record.label, float):
        raise BadRecordError(f"label is the number {record.label}; it must be one of {', '.join(labels)}")
    if record.label not in labels:
        raise BadRecordError(f"label is {record.label[:80]!r}; it must be one of {', '.join(labels)}")
    return record.label


def _own(record: Conversation) -> str:
    return record.messages[-1].content


def _log_odds(respondent: Respondent, records: Sequence[Conversation], labels: Sequence[str]) -> list[float]:
    """Return how much more likely the model finds the last label as an answer than the first one, as a log."""
    from tunesmith_runtime.evaluate.likelihood import Reading, likelihoods
    from tunesmith_runtime.evaluate.local_model import LocalModel

    assert isinstance(respondent, LocalModel)  # noqa: S101 - the spec's own check: auc needs weights
    answered = [
        replace(record, messages=(*record.messages[:-1], Message(ASSISTANT, label)), references=(label,))
        for label in (labels[0], labels[-1])
        for record in records
    ]
    # As much as the model can read: what was asked has been read in one piece too.
    found = likelihoods(respondent, answered, Reading(respondent.limit or 1_048_576), lambda _: None)
    return [first.nll - last.nll for first, last in zip(found[: len(records)], found[len(records) :], strict=True)]


def _auc(positive: Sequence[bool], odds: Sequence[float]) -> float:
    """Return the area under the ROC curve; NaN when the model's probabilities are none."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, odds)) if all(map(math.isfinite, odds)) else math.nan


def _probability(odds: float) -> float:
    """Return the logistic function, which overflows for neither sign."""
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def _kind(suite: Suite) -> ClassificationSuite:
    assert suite.classification is not None  # noqa: S101 - this module is the classification suite's
    return suite.classification
