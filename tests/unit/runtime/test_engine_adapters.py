"""Adapters by name: each answers as it does by itself on the model, whoever else is asked at the same time."""

from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import PreTrainedTokenizerBase

from tests.engines import Desk, desk, plain_logprobs, run_of
from tests.tiny import make_tiny_gpt2
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models.loading import load_causal_lm
from tunesmith_runtime.serve.engine.engine import Engine
from tunesmith_runtime.serve.engine.questions import Question
from tunesmith_runtime.serve.engine.refusals import Refusal
from tunesmith_runtime.serve.engine.scheduler import Limits
from tunesmith_runtime.serve.engine.served import Served, load

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
TARGETS = ["q_proj", "v_proj", "up_proj"]


def lora(seed: int, **more: object) -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", r=4 + seed, target_modules=TARGETS, init_lora_weights=False, **more)


def save(base: Path, folder: Path, config: PeftConfig, seed: int = 0) -> Path:
    """Write an adapter with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(load_causal_lm(base), config)
        for name, weight in model.named_parameters():
            if "lora" in name:
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        "formal": save(tiny_path, root / "formal", lora(1), 1),
        "v1.5": save(tiny_path, root / "v1.5", lora(2), 2),
        "dora": save(tiny_path, root / "dora", lora(3, use_dora=True), 3),
    }


@pytest.fixture
def served(tiny_path: Path, folders: dict[str, Path]) -> Served:
    found = load(tiny_path)
    for name, folder in folders.items():
        found.adapters.load(name, folder)
    return found


def question(adapter: str | None, seed: int = 0, **more: object) -> Question:
    prompt = tuple(torch.randint(3, 250, (5 + seed,), generator=torch.Generator().manual_seed(seed)).tolist())
    fields: dict[str, object] = {"max_tokens": 10, "logprobs": 0, "ignores_end": True, **more}
    return Question(prompts=(prompt,), adapter=adapter, **fields)  # type: ignore[arg-type]


def test_adapters_and_the_model_answer_at_the_same_time(
    served: Served, tiny_path: Path, folders: dict[str, Path]
) -> None:
    busy = desk(served)
    asked = [question(adapter, seed) for seed, adapter in enumerate([None, "formal", "v1.5", "dora", "formal", None])]
    told = [busy.ask(each) for each in asked]
    busy.finish(*told)
    for each, found in zip(asked, told, strict=True):
        alone = load_causal_lm(tiny_path)
        if each.adapter:
            alone = PeftModel.from_pretrained(alone, folders[each.adapter]).eval()
        tokens = [*each.prompts[0], *found.tokens()]
        plain = plain_logprobs(alone, tokens)[len(each.prompts[0]) - 1 : -1]
        assert plain.argmax(dim=-1).tolist() == found.tokens()
        for place, score in enumerate(found.scores()):
            assert score.logprob == pytest.approx(float(plain[place, score.token]), abs=1e-4)


def test_a_crowd_at_one_adapter_does_not_keep_out_another(served: Served) -> None:
    busy = desk(served, Limits(rows=4))
    crowd = [busy.ask(question("formal", seed % 5)) for seed in range(40)]
    busy.turn(3)
    late = busy.ask(question("v1.5"))
    busy.finish(late)
    assert sum(not each.news for each in crowd) > 20
    busy.finish(*crowd)


def test_unloaded_and_loaded_again(served: Served, tiny_path: Path, folders: dict[str, Path]) -> None:
    busy: Desk = desk(served)
    before = {name: busy.answer(question(name)).tokens() for name in (None, *folders)}
    for name in folders:
        served.adapters.unload(name)
    assert served.adapters.names == ()
    assert busy.answer(question(None)).tokens() == before[None]
    assert not any("lora" in name for name, _ in served.model.named_parameters())
    served.adapters.load("v1.5", folders["v1.5"])
    assert busy.answer(question("v1.5")).tokens() == before["v1.5"]
    assert before["v1.5"] != before[None]


@pytest.mark.parametrize("together", [True, False])
def test_an_adapter_that_is_gone_ends_nobody_elses_answer(served: Served, together: bool) -> None:
    busy = desk(served, together=together)
    stays = busy.ask(question("formal"))
    gone = busy.ask(question("gone"))
    for _ in range(3):
        busy.turn()
    assert isinstance(gone.news[0], Refusal)
    busy.finish(stays)


def test_what_does_not_fit_is_refused_and_changes_nothing(
    tiny_path: Path, tmp_path: Path, folders: dict[str, Path]
) -> None:
    other = make_tiny_gpt2(tmp_path / "other", ["words"])
    foreign = save(
        other, tmp_path / "foreign", LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True)
    )
    small = save(tiny_path, tmp_path / "small", lora(1))
    (small / "adapter_config.json").write_text((folders["v1.5"] / "adapter_config.json").read_text())
    soft = save(tiny_path, tmp_path / "soft", PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    scaled = save(
        tiny_path,
        tmp_path / "scaled",
        IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]),
    )
    served = load(tiny_path)
    busy = desk(served)
    before = busy.answer(question(None)).tokens()
    for folder, sentence in (
        (foreign, "does not fit the model that is served"),
        (small, "does not fit the model that is served"),
        (soft, "an adapter of type PROMPT_TUNING cannot be served beside others; serve it by itself"),
    ):
        with pytest.raises(ModelError, match=sentence):
            served.adapters.load("new", folder)
        assert busy.answer(question(None)).tokens() == before
    served.adapters.load("formal", folders["formal"])
    with pytest.raises(ModelError, match="an adapter formal is loaded already"):
        served.adapters.load("formal", folders["formal"])
    with pytest.raises(ModelError, match="is of type IA3, and adapters of type LORA are loaded already"):
        served.adapters.load("scaled", scaled)
    with pytest.raises(ModelError, match="does not fit"):
        served.adapters.load("small", small)
    formal = busy.answer(question("formal")).tokens()
    assert busy.answer(question(None)).tokens() == before != formal


def test_the_run_names_adapters(tiny_path: Path, folders: dict[str, Path]) -> None:
    engine = Engine(run_of(tiny_path, formal=folders["formal"]))
    engine.open(load(tiny_path))
    assert engine.adapter_of("formal") == "formal"
    taken = Engine(run_of(tiny_path, bot=folders["formal"]))
    with pytest.raises(ConfigError, match="the name bot is taken"):
        taken.open(load(tiny_path))


def test_a_prompt_is_rendered_by_the_served_models_tokenizer(
    tiny_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert load(tiny_path).ends == {tokenizer.eos_token_id}
