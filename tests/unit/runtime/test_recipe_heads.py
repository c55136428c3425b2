"""The loss of an optimizer step is the mean over all its targets, however they were divided into batches."""

from pathlib import Path

import pytest
import torch
from transformers import BertForMaskedLM, BertForQuestionAnswering, BertForSequenceClassification, PreTrainedModel

from tests.unit.runtime import tiny_encoders as tiny
from tunesmith_runtime.data.records import Answer, Completion, LabelledText, PlainText, Question, Record
from tunesmith_runtime.train.recipes import answering, classification, masked, seq2seq
from tunesmith_runtime.train.recipes.recipe import Encoder, Labels, Recipe, StreamLosses

UNEVEN = [PlainText(text) for text in ("The moon", "Berlin", " ".join(tiny.TEXTS[:2]), "The sky is blue.")]
CLASSES = Labels("multi", ("a", "b", "c"))
QUESTION = Question("q", "What colour?", "The sky is blue.", (Answer("blue", 11),))

Case = tuple[Recipe, type[PreTrainedModel] | None, Labels | None, list[Record]]
CASES: dict[str, Case] = {
    "masked": (masked.PT, BertForMaskedLM, None, list(UNEVEN)),
    "classification": (
        classification.SFT,
        BertForSequenceClassification,
        CLASSES,
        [LabelledText(record.text, None, ("a",)) for record in UNEVEN],
    ),
    "regression": (
        classification.SFT,
        BertForSequenceClassification,
        Labels("regression", ()),
        [LabelledText(record.text, None, -100.0 + number) for number, record in enumerate(UNEVEN)],
    ),
    "answering": (answering.SFT, BertForQuestionAnswering, None, [QUESTION] * 4),
    "seq2seq": (seq2seq.SFT, None, None, [Completion("Say", record.text) for record in UNEVEN]),
}


@pytest.mark.parametrize("name", CASES)
def test_accumulated_batches_learn_what_one_batch_learns(name: str, tmp_path: Path) -> None:
    recipe, kind, labels, records = CASES[name]
    tokenizer = tiny.wordpiece()
    rows = tiny.encoded(recipe, records, Encoder(tokenizer, 64, labels))
    learnt = []
    for size in (4, 1):
        model = tiny.t5() if kind is None else tiny.bert(kind, num_labels=_outputs(labels))
        trainer = recipe.trainer(
            tiny.setup(
                tmp_path,
                model,
                tokenizer,
                rows,
                labels=labels,
                max_steps=1,
                max_grad_norm=0.0,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=4 // size,
            )
        )
        learnt.append((tiny.weights_after(trainer), trainer.state.log_history[0]["loss"]))
    (whole, whole_loss), (parts, parts_loss) = learnt
    assert parts_loss == pytest.approx(whole_loss, rel=1e-5)
    for weight, values in whole.items():
        torch.testing.assert_close(parts[weight], values, rtol=1e-4, atol=1e-5)


def _outputs(labels: Labels | None) -> int:
    return 2 if labels is None else max(1, len(labels.names))


def test_the_loss_of_each_stream_is_noted(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    rows = tiny.encoded(masked.PT, UNEVEN, Encoder(tokenizer, 64))
    setup = tiny.setup(
        tmp_path,
        tiny.bert(BertForMaskedLM),
        tokenizer,
        rows,
        config=tiny.train_run(streams=2),
        validation={"validation": rows},
        eval_strategy="steps",
        max_steps=1,
    )
    (loss,) = tiny.losses(masked.PT.trainer(setup))
    noted = setup.stream_losses.take()
    assert set(noted) == {0, 1}
    total, count = (sum(part) for part in zip(*noted.values(), strict=True))
    assert total / count == pytest.approx(loss, rel=1e-5)
    assert setup.stream_losses == StreamLosses()


def test_one_stream_is_not_noted_apart(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    rows = tiny.encoded(masked.PT, UNEVEN, Encoder(tokenizer, 64))
    setup = tiny.setup(tmp_path, tiny.bert(BertForMaskedLM), tokenizer, rows, max_steps=1)
    tiny.losses(masked.PT.trainer(setup))
    assert setup.stream_losses.take() == {}
