"""What lm-eval found becomes metrics, what they are sums of, and samples."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from lm_eval.api import metrics as lm_eval_metrics
from lm_eval.api.group import Group
from lm_eval.api.task import Task

from tunesmith_runtime.evaluate.harness.tasks import Tasks
from tunesmith_runtime.evaluate.samples import SuiteResult, TaskSample
from tunesmith_runtime.evaluate.statistics import Rows, Summands, exp_of_mean, mean_of

_NO_FILTER = "none"
_NOT_IN_METRIC = re.compile(r"[^A-Za-z0-9_]")
_NOT_IN_PART = re.compile(r"[^A-Za-z0-9_.-]+")
# Beside the metrics of a task.
_FURTHER = frozenset({"name", "alias", "sample_len", "sample_count"})


@dataclass
class _Found:
    metrics: dict[str, float] = field(default_factory=dict)
    summands: dict[str, Summands] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def result_of(tasks: Tasks, results: Mapping[str, Any]) -> SuiteResult:
    """Return what `lm_eval.evaluator.evaluate` gives, called with log_samples, as a suite's result.

    Metrics are called TASK/METRIC, TASK/METRIC_FILTER where a task has filters, and GROUP/METRIC.
    """
    counts = {name: int(each["effective"]) for name, each in results["n-samples"].items()}
    found = _Found()
    samples: list[TaskSample] = []
    by_key: dict[tuple[str, str], Summands] = {}
    for name, task in tasks.tasks.items():
        logged = results["samples"][name]
        sums = _summands(task, logged)
        by_key |= {(name, key): each for key, each in sums.items()}
        _take(found, name, results["results"][name], results["higher_is_better"].get(name, {}), counts[name])
        for key, each in sums.items():
            if (metric := _name(name, key)) in found.metrics:
                found.summands[metric] = each
                found.counts[metric] = len(each.rows)
        samples += _samples(name, task, logged, sums, len(samples))
    for name, group in tasks.groups.items():
        if group.has_aggregation:
            values = results.get("groups", {}).get(name, {})
            _take(found, name, values, results["higher_is_better"].get(name, {}), int(values.get("sample_len", 0)))
            for key in _keys(values):
                if of_all := _of_group(group, key, by_key):
                    found.summands[_name(name, key)] = of_all
    return SuiteResult(
        found.metrics,
        tuple(samples),
        found.summands,
        higher_is_better=found.higher_is_better,
        notes=tuple(found.notes),
        counts=found.counts,
    )


def metric_name(metric: str, filtered: str) -> str:
    """Return the name of lm-eval's METRIC,FILTER here: exact_match, or exact_match_flexible_extract."""
    name = metric if filtered == _NO_FILTER else f"{metric}_{filtered}"
    name = _NOT_IN_METRIC.sub("_", name.replace("+", "p"))
    return name if name[:1].isalpha() else f"m{name}"


def part_name(task: str) -> str:
    """Return the name of a task as a part of a metric's name."""
    return _NOT_IN_PART.sub("-", task)


def _name(task: str, key: str) -> str:
    metric, _, filtered = key.partition(",")
    return f"{part_name(task)}/{metric_name(metric, filtered)}"


def _keys(values: Mapping[str, Any]) -> list[str]:
    return [key for key in values if key not in _FURTHER and "_stderr," not in key and "," in key]


def _take(found: _Found, task: str, values: Mapping[str, Any], better: Mapping[str, Any], count: int) -> None:
    for key in _keys(values):
        name, metric = _name(task, key), key.partition(",")[0]
        value = values[key]
        if not isinstance(value, Real) or metric == "bypass":
            found.notes.append(f"{name} is no number and is left out.")
            continue
        found.metrics[name] = float(value)
        found.counts[name] = count
        if isinstance(better.get(metric), bool):
            found.higher_is_better[name] = better[metric]


def _summands(task: Task, logged: Sequence[Mapping[str, Any]]) -> dict[str, Summands]:
    """Return what the metrics of a task are sums of, by METRIC,FILTER; those that are no function of sums are not in.

    lm-eval takes the mean of a metric of which it is not told how it comes from samples.
    """
    values: dict[str, list[Any]] = {}
    for sample in logged:
        for metric in sample["metrics"]:
            values.setdefault(f"{metric},{sample['filter']}", []).append(sample[metric])
    sums: dict[str, Summands] = {}
    for key, items in values.items():
        aggregate = task.aggregation().get(key.partition(",")[0], lm_eval_metrics.mean)
        make = _SUMS.get(aggregate)
        # A metric that some samples do not have cannot be paired with another model's.
        if make is None or len(items) != len({sample["doc_id"] for sample in logged}):
            continue
        try:
            sums[key] = make(items)
        except (TypeError, ValueError, IndexError):  # values of a task's own kind
            continue
    return sums


def _mean(items: Sequence[Any]) -> Summands:
    return mean_of([float(each) for each in items])


def _perplexity(items: Sequence[Any]) -> Summands:
    return exp_of_mean([-float(each) for each in items], [1] * len(items))


def _weighted_perplexity(items: Sequence[Any]) -> Summands:
    return exp_of_mean([-float(found) for found, _ in items], [weight for _, weight in items])


def _bits_per_byte(items: Sequence[Any]) -> Summands:
    return Summands(np.array([(-found / math.log(2), size) for found, size in items], dtype=float), _ratio)


def _brier_score(items: Sequence[Any]) -> Summands:
    return mean_of([float(lm_eval_metrics.brier_score([each])) for each in items])


def _ratio(sums: Rows) -> Rows:
    return sums[:, 0] / sums[:, 1]


_SUMS: dict[Any, Callable[[Sequence[Any]], Summands]] = {
    lm_eval_metrics.mean: _mean,
    lm_eval_metrics.perplexity: _perplexity,
    lm_eval_metrics.weighted_perplexity: _weighted_perplexity,
    lm_eval_metrics.bits_per_byte: _bits_per_byte,
    lm_eval_metrics.brier_score: _brier_score,
}


def _of_group(group: Group, key: str, by_key: Mapping[tuple[str, str], Summands]) -> Summands | None:
    """Return a group's mean over its tasks' means as a function of sums, or None where they are not all means."""
    metric, _, filtered = key.partition(",")
    wanted = next(
        (
            each
            for each in group.aggregate_metric_list or ()
            if each.metric == metric and (each.filter_list is None or filtered in each.filter_list)
        ),
        None,
    )
    means = [task.aggregation().get(metric) is lm_eval_metrics.mean for task in group.get_all_tasks()]
    found = [by_key.get((task.task_name, key)) for task in group.get_all_tasks()]
    rows = [each.rows for each in found if each is not None]
    if wanted is None or not all(means) or len(rows) < len(found):
        return None
    if wanted.weight_by_size:
        # Weighted by their sizes, means of tasks are the mean over all samples.
        return mean_of(np.concatenate(rows)[:, 0].tolist())
    # Two columns for each task: the sum of its scores, and their number.
    spread = np.zeros((sum(map(len, rows)), 2 * len(rows)))
    start = 0
    for index, each in enumerate(rows):
        spread[start : start + len(each), 2 * index : 2 * index + 2] = each
        start += len(each)
    return Summands(spread, _mean_of_means)


def _mean_of_means(sums: Rows) -> Rows:
    return np.mean(sums[:, 0::2] / sums[:, 1::2], axis=1)


def _samples(
    name: str, task: Task, logged: Sequence[Mapping[str, Any]], sums: Mapping[str, Summands], first: int
) -> list[TaskSample]:
    """Return a sample for each document: what several filters made of one answer is told together."""
    order = dict.fromkeys(sample["doc_id"] for sample in logged)
    scores: dict[int, dict[str, float]] = {doc_id: {} for doc_id in order}
    for key, each in sums.items():
        with np.errstate(all="ignore"):
            # Of one sample alone, in the metric's own unit.
            values = each.of_sums(each.rows)
        for doc_id, value in zip(order, values.tolist(), strict=True):
            if math.isfinite(value):
                scores[doc_id][metric_name(*key.split(",", 1))] = value
    shown = {sample["doc_id"]: sample for sample in reversed(logged)}
    return [
        TaskSample(
            index=first + number,
            prompt=str(shown[doc_id]["arguments"][0][0]),
            answer=_answer(shown[doc_id]),
            references=_references(task, shown[doc_id]),
            scores=scores[doc_id],
            task=name,
        )
        for number, doc_id in enumerate(order)
    ]


def _answer(sample: Mapping[str, Any]) -> str:
    """Return what the model wrote, or the answer that it finds likeliest; nothing of a text that it only read."""
    first, arguments = sample["resps"][0][0], sample["arguments"]
    if isinstance(first, str):
        return first
    if len(arguments) > 1:
        likeliest = max(range(len(arguments)), key=lambda index: sample["resps"][index][0][0])
        return str(arguments[likeliest][1])
    return str(arguments[0][1]) if isinstance(first, tuple) and first[1] else ""


def _references(task: Task, sample: Mapping[str, Any]) -> tuple[str, ...]:
    target, arguments = sample["target"], sample["arguments"]
    if len(arguments[0]) == 1:  # a text that is only read
        return ()
    targets = target if isinstance(target, list) else [target]
    choices = [each[1] for each in arguments] if len(arguments) > 1 else []
    return tuple(str(choices[each] if isinstance(each, int) and 0 <= each < len(choices) else each) for each in targets)
