"""Which adapter fits which model: a table of what does not go together, found by trying."""

from transformers import PretrainedConfig

from tunesmith_api.training import Adapter, AdapterType, Task
from tunesmith_runtime.models.tasks import Kind, kind_of

_NO_TASK = "PEFT has no {type} for task masked-lm"
_ENCODER_DECODER = (
    "{type} puts its vectors in front of an encoder and a decoder, and a model of task {task} has the head of one"
)
_UNPADDED = (
    "{type} hides from a decoder's head where a text ends and its padding begins, so that it would judge the padding"
)

# By type, task and kind of model; what is not in here trains, saves and loads as it should. LoRA (also rsLoRA and
# DoRA), IA3 and full fine-tuning fit every task of every kind.
#
# |                         | prefix-tuning         | prompt-tuning         |
# |-------------------------|-----------------------|-----------------------|
# | causal-lm               | yes                   | yes                   |
# | causal-lm, method rm    | yes                   | no                    |
# | seq2seq-lm              | yes                   | yes                   |
# | masked-lm               | no                    | no                    |
# | sequence-classification | decoders and encoders | encoders              |
# | token-classification    | decoders and encoders | decoders and encoders |
# | question-answering      | decoders and encoders | decoders and encoders |
#
# Prompt tuning makes the logits longer than the text, at the left: PEFT's own loss of the last two tasks misses that,
# ours does not.
_REFUSED: dict[tuple[AdapterType, Task, Kind], str] = {
    ("prefix-tuning", "masked-lm", "encoder"): _NO_TASK,
    ("prompt-tuning", "masked-lm", "encoder"): _NO_TASK,
    ("prefix-tuning", "sequence-classification", "encoder-decoder"): _ENCODER_DECODER,
    ("prefix-tuning", "token-classification", "encoder-decoder"): _ENCODER_DECODER,
    ("prefix-tuning", "question-answering", "encoder-decoder"): _ENCODER_DECODER,
    ("prompt-tuning", "sequence-classification", "encoder-decoder"): _ENCODER_DECODER,
    ("prompt-tuning", "sequence-classification", "decoder"): _UNPADDED,
    ("prompt-tuning", "token-classification", "encoder-decoder"): _ENCODER_DECODER,
    ("prompt-tuning", "question-answering", "encoder-decoder"): _ENCODER_DECODER,
}
# Models that share one pair of keys and values between all heads, which PEFT does not know of them.
_ONE_PAIR = frozenset({"falcon", "gpt_bigcode"})
_INSTEAD = "; use lora, ia3 or full"


def refusal(adapter: Adapter, task: Task, config: PretrainedConfig, *, reward: bool = False) -> str | None:
    """Return why an adapter of this type cannot train a model of this configuration, in a sentence; None when it can.

    `reward` says that a model of task causal-lm gets a head of one output.
    """
    if adapter.type == "prefix-tuning" and config.model_type in _ONE_PAIR:
        return f"PEFT cannot shape the keys and values of {config.model_type} for {adapter.type}{_INSTEAD}"
    headed: Task = "sequence-classification" if reward else task
    found = _REFUSED.get((adapter.type, headed, kind_of(config)))
    return found and found.format(type=adapter.type, task=task) + _INSTEAD
