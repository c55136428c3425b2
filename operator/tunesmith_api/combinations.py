"""Which settings of a FineTuneJob do not go together: a table of what is refused, and in which words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.base import ApiModel
from tunesmith_api.data import DataFormat, DatasetSource
from tunesmith_api.deepspeed import misfits
from tunesmith_api.domain_fit import misfits as misfits_of_domain
from tunesmith_api.elastic import misfits as misfits_of_elastic
from tunesmith_api.evaluation import EVAL_LOSS, MOST_METRICS
from tunesmith_api.queueing import misfits as misfits_of_queue
from tunesmith_api.reinforcement import GroupRelative, ungrouped
from tunesmith_api.training import LORA_FIELDS, MethodType, Task
from tunesmith_api.tunables import misfits as misfits_of_tuning

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import FineTuneJobSpec

TEXT: frozenset[DataFormat] = frozenset(
    {"alpaca", "dolly", "squad", "messages", "sharegpt", "promptCompletion", "text"}
)
# What each method learns from.
FORMATS: dict[MethodType, frozenset[DataFormat]] = {
    "sft": TEXT | {"feedback", "textClassification", "tokenClassification"},
    "pt": TEXT,
    "rm": frozenset({"preference", "pairs", "feedback"}),
    "dpo": frozenset({"preference", "pairs", "feedback"}),
    "orpo": frozenset({"preference", "pairs", "feedback"}),
    "kto": frozenset({"kto", "feedback"}),
    "grpo": TEXT - {"text"},
    "ppo": TEXT - {"text"},
    "distill": TEXT - {"text"},
}
# What each family learns from, by sft and pt.
TASK_FORMATS: dict[Task, frozenset[DataFormat]] = {
    "causal-lm": TEXT | {"preference", "pairs", "kto", "feedback"},
    "masked-lm": frozenset({"text"}),
    "seq2seq-lm": TEXT - {"text"},
    "sequence-classification": frozenset({"textClassification"}),
    "token-classification": frozenset({"tokenClassification"}),
    "question-answering": frozenset({"squad"}),
}
TASK_METHODS: dict[Task, frozenset[MethodType]] = {
    "causal-lm": frozenset({"sft", "pt", "rm", "dpo", "kto", "orpo", "grpo", "ppo", "distill"}),
    "masked-lm": frozenset({"pt"}),
    "seq2seq-lm": frozenset({"sft"}),
    "sequence-classification": frozenset({"sft"}),
    "token-classification": frozenset({"sft"}),
    "question-answering": frozenset({"sft"}),
}
# Each learns another kind of head, so one job cannot learn two of them.
_ALONE: tuple[DataFormat, ...] = ("textClassification", "tokenClassification", "preference", "pairs", "kto")
# Except that pairs are preferences once they are judged, and that feedback becomes what the method learns from.
_ALIKE: tuple[frozenset[DataFormat], ...] = (
    frozenset({"preference", "pairs", "feedback"}),
    frozenset({"kto", "feedback"}),
)
_VIRTUAL = ("prefix-tuning", "prompt-tuning")
_LABELLED: tuple[DataFormat, ...] = ("textClassification", "tokenClassification")


@dataclass(frozen=True)
class Refusal:
    """What is wrong with a spec; `field` is a path below spec, such as data.packing."""

    field: str
    message: str


def refusals(spec: "FineTuneJobSpec") -> list[Refusal]:
    """Return everything in a spec that does not go together."""
    return [refusal for check in _CHECKS for refusal in check(spec)]


def _formats(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    method, task = spec.method.type, spec.model.task
    for field, source in _sources(spec):
        if source.format not in FORMATS[method]:
            fitting = _listed(sorted(FORMATS[method]))
            yield Refusal(f"{field}.format", f"method {method} cannot learn from {source.format}; it takes {fitting}")
        elif task is not None and source.format not in TASK_FORMATS[task]:
            fitting = _listed(sorted(TASK_FORMATS[task]))
            yield Refusal(
                f"{field}.format", f"a model of task {task} cannot learn from {source.format}; it takes {fitting}"
            )
    formats = dict.fromkeys(source.format for source in spec.data.train)
    if (
        len(formats) > 1
        and any(each in _ALONE for each in formats)
        and not any(formats.keys() <= alike for alike in _ALIKE)
    ):
        yield Refusal(
            "data.train", f"formats {_listed(list(formats), 'and')} cannot be learnt by one job; use one for each"
        )


def _method_of_task(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    task, method = spec.model.task, spec.method.type
    if task is not None and method not in TASK_METHODS[task]:
        fitting = _listed(sorted(TASK_METHODS[task]))
        yield Refusal("method.type", f"a model of task {task} cannot learn by {method}; use {fitting}")


def _columns_and_splits(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    for field, source in _sources(spec):
        if source.split is not None and not source.uri.startswith("hf://"):
            yield Refusal(
                f"{field}.split", f"only datasets of hf:// have splits, and uri is {source.uri}; leave it out"
            )
        if source.uri.startswith("hf://") and any(sign in source.uri for sign in "*?["):
            yield Refusal(f"{field}.uri", f"{source.uri} has a glob pattern, and hf:// names a whole dataset")


def _feedback(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    for field, source in _sources(spec):
        if source.uri.startswith("modelserve://") and source.format != "feedback":
            yield Refusal(
                f"{field}.format", f"{source.uri} holds feedback, and format is {source.format}; set feedback"
            )
    domain = spec.method.rm.domain if spec.method.rm else None
    others: dict[str, tuple[DatasetSource, ...]] = {
        "data.quality.decontaminateAgainst": spec.data.quality.decontaminate_against,
        "method.rm.domain.train": domain.train if domain else (),
    }
    for field, sources in others.items():
        for index, source in enumerate(sources):
            if source.format == "feedback" or source.uri.startswith("modelserve://"):
                yield Refusal(f"{field}[{index}]", "feedback is for data.train and data.validation; use other records")


def _mixing(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    unweighted = [source.name for source in spec.data.train if source.weight is None]
    weighted = len(spec.data.train) - len(unweighted)
    if weighted and unweighted:
        yield Refusal("data.train", f"{_listed(unweighted, 'and')} has no weight; give all datasets one, or none")
    if weighted and spec.data.mixing.temperature is not None:
        yield Refusal("data.mixing.temperature", "weights say the shares already; leave temperature or the weights out")


def _lengths(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    data, buckets = spec.data, spec.data.length_buckets
    if buckets and list(buckets) != sorted(set(buckets)):
        yield Refusal("data.lengthBuckets", f"{list(buckets)} must ascend, each length once")
    if buckets and max(buckets) != data.max_length:
        yield Refusal(
            "data.lengthBuckets",
            f"the longest bucket is {max(buckets)} and maxLength {data.max_length}; make them equal",
        )
    if buckets and data.packing != "none":
        yield Refusal("data.lengthBuckets", "packing leaves no padding for buckets to save; use one of the two")
    for name, wanted in (("data.packing", data.packing), ("data.overlong", data.overlong)):
        if wanted in (None, "none", "drop"):
            continue
        if spec.method.type not in ("sft", "pt"):
            yield Refusal(name, f"{wanted} cuts or joins texts, and method {spec.method.type} compares whole answers")
        elif spec.model.task not in (None, "causal-lm"):
            yield Refusal(name, f"{wanted} is for task causal-lm, and model.task is {spec.model.task}")
        elif other := [source.format for source in data.train if source.format in _ALONE]:
            yield Refusal(name, f"{wanted} is for texts, and a dataset is of format {other[0]}")


def _adapter(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    adapter = spec.method.adapter
    if adapter.type != "lora":
        for name in sorted(_given(adapter) & {*LORA_FIELDS, "load_in_4bit"}):
            alias = type(adapter).model_fields[name].alias
            yield Refusal(f"method.adapter.{alias}", f"is for type lora, and type is {adapter.type}; leave it out")
    if adapter.type not in _VIRTUAL and "num_virtual_tokens" in _given(adapter):
        yield Refusal(
            "method.adapter.numVirtualTokens",
            f"is for {_listed(list(_VIRTUAL))}, and type is {adapter.type}; leave it out",
        )
    if adapter.type not in ("lora", "ia3") and "target_modules" in _given(adapter):
        yield Refusal("method.adapter.targetModules", f"is for lora or ia3, and type is {adapter.type}; leave it out")
    if adapter.type == "full" and adapter.continue_from:
        yield Refusal(
            "method.adapter.continueFrom", "names an adapter, and type full trains none; name the model in model.uri"
        )
    if adapter.load_in_4bit and not spec.resources.gpu:
        yield Refusal(
            "method.adapter.loadIn4bit",
            "needs a CUDA GPU; set resources.gpu, or leave it out to train in full precision",
        )
    if adapter.load_in_4bit and adapter.use_dora:
        yield Refusal(
            "method.adapter.useDora",
            "DoRA needs the lengths of unquantised weights; leave out one of useDora and loadIn4bit",
        )
    if adapter.type in _VIRTUAL and spec.training.activation_checkpointing:
        yield Refusal(
            "training.activationCheckpointing",
            f"the vectors of {adapter.type} get no gradient through it; leave it out",
        )
    if spec.output.merge and adapter.type in _VIRTUAL:
        yield Refusal(
            "output.merge", f"an adapter of type {adapter.type} cannot be merged into the model; leave it out"
        )


def _preferences(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    method, training = spec.method.type, spec.training
    if method in ("dpo", "kto") and spec.method.adapter.dropout:
        yield Refusal(
            "method.adapter.dropout",
            f"method {method} compares two passes, which dropout would make differ; set it to 0",
        )
    if method in ("rm", "orpo") and spec.method.adapter.type == "prompt-tuning":
        yield Refusal("method.adapter.type", f"method {method} cannot train prompt-tuning; use lora, ia3 or full")
    if method == "kto" and training.per_device_train_batch_size < 2:
        yield Refusal(
            "training.perDeviceTrainBatchSize",
            "method kto compares the records of a batch with each other; use 2 or more",
        )


def _judged(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    unlabelled = [field for field, source in _sources(spec) if source.format == "pairs"]
    if unlabelled and spec.data.judge is None:
        yield Refusal(
            "data.judge",
            f"{_listed(unlabelled, 'and')} is of format pairs, and nobody says which answers are better; set judge, or "
            "use format preference",
        )
    if spec.data.judge and not unlabelled:
        yield Refusal("data.judge", "no dataset is of format pairs, so that there is nothing to judge; leave it out")


def _domain(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    yield from (Refusal(field, message) for field, message in misfits_of_domain(spec))


def _deepspeed(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    adapter = spec.method.adapter
    if spec.deepspeed is None:
        return
    mounts = tuple(str(mount.get("mountPath", "")) for mount in spec.pod_template.volume_mounts)
    yield from (Refusal(field, message) for field, message in misfits(spec.deepspeed, mounts))
    if spec.deepspeed.zero_stage == 0 and spec.training.precision == "fp16":
        yield Refusal("deepspeed.zeroStage", "stage 0 does not scale losses of fp16 as it should; use 1, 2 or 3")
    if spec.deepspeed.zero_stage != 3:
        return
    if spec.training.torch_compile:
        yield Refusal(
            "training.torchCompile",
            "zeroStage 3 takes weights apart while compiled code computes with them; use zeroStage 2, or leave it out",
        )
    if adapter.type in _VIRTUAL:
        yield Refusal("deepspeed.zeroStage", f"stage 3 cannot spread the vectors of {adapter.type}; use 2")
    if adapter.load_in_4bit:
        yield Refusal("deepspeed.zeroStage", "stage 3 cannot spread 4-bit weights; use 2, or leave out loadIn4bit")
    if adapter.continue_from:
        yield Refusal("deepspeed.zeroStage", "stage 3 cannot load an adapter to go on from; use 2")


def _precision(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    if spec.training.precision == "fp16" and not spec.resources.gpu:
        yield Refusal("training.precision", "fp16 needs a CUDA GPU; set resources.gpu, or use bf16 or fp32")
    if spec.method.type == "grpo":
        training, devices = spec.training, spec.workers * max(spec.resources.gpu, 1)
        generations = (spec.method.grpo or GroupRelative()).num_generations
        batch, accumulation = training.per_device_train_batch_size, training.gradient_accumulation_steps
        if reason := ungrouped(batch, accumulation, devices, generations):
            yield Refusal("training.perDeviceTrainBatchSize", reason)
    if spec.training.label_smoothing_factor and spec.method.type not in ("sft", "pt"):
        yield Refusal(
            "training.labelSmoothingFactor", f"method {spec.method.type} has no targets to smooth; leave it out"
        )


def _evaluation(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    wanted = spec.evaluation
    if wanted is None:
        return
    if wanted.suites:
        yield from _suites(spec)
    names = wanted.metric_names()
    if len(names) >= MOST_METRICS:
        yield Refusal(
            "evaluation.suites",
            f"give {len(names)} metrics, and status has room for {MOST_METRICS - 1} besides {EVAL_LOSS}; drop some",
        )
    if wanted.parallel is False and wanted.suites and spec.deepspeed and spec.deepspeed.zero_stage == 3:
        yield Refusal(
            "evaluation.parallel",
            "by zeroStage 3 no worker has all of the weights between steps; leave it out, so that a process of its own "
            "measures the checkpoints, or use stage 2",
        )
    if wanted.early_stopping is None:
        return
    metric, known = wanted.early_stopping.metric, [*([EVAL_LOSS] if spec.data.validation else []), *names]
    if metric == EVAL_LOSS and spec.data.validation is None:
        yield Refusal(
            "evaluation.earlyStopping.metric",
            f"{EVAL_LOSS} is measured on validation records; set data.validation, or name a metric of a suite",
        )
    elif metric not in known:
        yield Refusal(
            "evaluation.earlyStopping.metric",
            f"no suite gives {metric}; there is {_listed(known, 'and')}" if known else f"no suite gives {metric}",
        )
    elif metric == EVAL_LOSS and spec.method.type == "grpo":
        yield Refusal(
            "evaluation.earlyStopping.metric",
            f"{EVAL_LOSS} of method grpo is near 0 however good the answers are; name a metric of a suite",
        )


def _suites(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    task, labelled = spec.model.task, [each.format for each in spec.data.train if each.format in _LABELLED]
    if spec.method.type == "rm":
        yield Refusal("evaluation.suites", "ask a model that writes, and method rm makes one that judges; drop them")
    elif task not in (None, "causal-lm"):
        yield Refusal("evaluation.suites", f"are for task causal-lm, and model.task is {task}; drop them")
    elif labelled:
        yield Refusal("evaluation.suites", f"ask a model that writes, and {labelled[0]} makes a classifier; drop them")


def _tuning(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    if spec.tuning is None:
        return
    others = refusals(spec.model_copy(update={"tuning": None}))
    known = {f"{refusal.field}: {refusal.message}" for refusal in others}
    yield from (Refusal(field, message) for field, message in misfits_of_tuning(spec, known))


def _policy(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    if spec.run_policy.gpu_hours is not None and not spec.resources.gpu:
        yield Refusal(
            "runPolicy.gpuHours",
            "counts GPUs, and resources.gpu is 0; leave it out and use activeDeadlineSeconds, or set resources.gpu",
        )
    if spec.run_policy.gpu_hours is not None and spec.tuning is not None:
        yield Refusal(
            "runPolicy.gpuHours",
            "a search that ends early has trials that cannot be compared, and no model to publish as partial; leave "
            "it out and limit tuning.numTrials, or use activeDeadlineSeconds",
        )


def _elastic(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    yield from (Refusal(field, message) for field, message in misfits_of_elastic(spec))


def _queue(spec: "FineTuneJobSpec") -> Iterator[Refusal]:
    yield from (Refusal(field, message) for field, message in misfits_of_queue(spec))


def _sources(spec: "FineTuneJobSpec") -> Iterator[tuple[str, DatasetSource]]:
    for index, source in enumerate(spec.data.train):
        yield f"data.train[{index}]", source
    if spec.data.validation and spec.data.validation.dataset:
        yield "data.validation.dataset", spec.data.validation.dataset
    if spec.method.rm and spec.method.rm.domain:
        for index, pairs in enumerate(spec.method.rm.domain.train):
            yield f"method.rm.domain.train[{index}]", pairs


def _given(model: ApiModel) -> set[str]:
    """Return the fields that are not at their defaults: an API server writes the others out, so nobody may have."""
    return set(model.model_dump(exclude_defaults=True))


def _listed(words: list[str], last: str = "or") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


_CHECKS: tuple[Callable[["FineTuneJobSpec"], Iterator[Refusal]], ...] = (
    _formats,
    _method_of_task,
    _columns_and_splits,
    _feedback,
    _mixing,
    _lengths,
    _adapter,
    _preferences,
    _judged,
    _domain,
    _deepspeed,
    _precision,
    _evaluation,
    _tuning,
    _policy,
    _elastic,
    _queue,
)
