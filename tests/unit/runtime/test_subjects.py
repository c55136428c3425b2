"""What an EvalJob names becomes somebody who answers."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_api.evaljob import Subject
from tunesmith_runtime.data.records import Completion
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.evaluate import subjects
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.respondent import Answers, Generation
from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.loading import load_causal_lm

GREEDY = Generation(max_new_tokens=6)
RECORD = (Completion("The sky is", " blue"),)


@pytest.fixture
def adapter_path(tiny_path: Path, tmp_path: Path) -> Path:
    """An adapter that changes what the tiny model says."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    wrapping.wrap(load_causal_lm(tiny_path), config).save_pretrained(tmp_path / "checkpoint-10")
    return tmp_path / "checkpoint-10"


def answer(subject: Subject) -> str:
    with subjects.opened(subject, "spec.target", Answers("x"), None) as respondent:
        assert isinstance(respondent, LocalModel)
        (found,) = respondent.answer(RECORD, GREEDY, lambda _: None)
    return found


def test_an_adapter_answers_on_its_base(tiny_path: Path, adapter_path: Path) -> None:
    alone = answer(Subject(uri=f"file://{tiny_path}"))
    adapted = Subject(uri=f"file://{adapter_path}", base=f"file://{tiny_path}")

    assert subjects.check(adapted) == adapter_path.resolve()
    assert answer(adapted) != alone


def test_a_checkpoint_of_all_weights_takes_its_tokenizer_from_the_base(tiny_path: Path, tmp_path: Path) -> None:
    load_causal_lm(tiny_path).save_pretrained(tmp_path / "checkpoint-20")
    whole = Subject(uri=f"file://{tmp_path}/checkpoint-20", base=f"file://{tiny_path}")

    assert answer(whole) == answer(Subject(uri=f"file://{tiny_path}"))


def test_a_folder_that_is_neither_is_told(tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-30").mkdir()
    strange = Subject(uri=f"file://{tmp_path}/checkpoint-30", base=f"file://{tiny_path}")

    with pytest.raises(ModelError, match=r"checkpoint-30 is neither a model nor an adapter"):
        answer(strange)
    gone = strange.model_copy(update={"uri": f"file://{tmp_path}/checkpoint-40"})
    with pytest.raises(ModelError, match=r"checkpoint-40: no such folder"):
        subjects.check(gone)


def test_only_a_digest_makes_answers_good_for_other_runs() -> None:
    published = Subject(uri="pvc://models/bot", digest="sha256:1")
    unknown = Subject(uri="pvc://models/bot")
    endpoint = Subject(uri="http://bot/v1", endpoint=KeyedEndpoint(url="http://bot/v1", model="bot"))

    assert subjects.identity(published, "one") == subjects.identity(published, "two")
    assert subjects.identity(unknown, "one") != subjects.identity(unknown, "two")
    assert subjects.identity(endpoint, "one") != subjects.identity(endpoint, "two")
    # An adapter on another base is another model; and through an endpoint it may be put another way.
    bases = {subjects.identity(Subject(uri="pvc://a", base=base), "one") for base in ("pvc://b", "pvc://c")}
    assert len(bases) == 2
    served = published.model_copy(update={"endpoint": endpoint.endpoint})
    assert subjects.identity(served, "one") != subjects.identity(published, "one")
