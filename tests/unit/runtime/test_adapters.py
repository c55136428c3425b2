"""Which weights are trained."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import FalconConfig, MambaConfig, MixtralConfig, PreTrainedModel

from tests.unit.runtime.families import COLOURS, MAKERS, learn_a_step, logits
from tunesmith_api.training import Adapter, Task
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models.adapters import apply_adapter, check_adapter, peft_config
from tunesmith_runtime.models.loading import load_model, load_tokenizer, skeleton
from tunesmith_runtime.models.publishing import save_model
from tunesmith_runtime.models.tasks import read_config
from tunesmith_runtime.train.recipes.recipe import Labels

Base = Callable[[str], Path]
PREFIX = Adapter(type="prefix-tuning", num_virtual_tokens=3)
PROMPT = Adapter(type="prompt-tuning", num_virtual_tokens=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return the folder of a family's model, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("models")
    return lambda family: folder / family if (folder / family).is_dir() else MAKERS[family](folder / family)


def learning(model: PreTrainedModel) -> set[str]:
    """Return the last parts of the names of the modules whose weights learn."""
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    return {
        name.partition(".lora_")[0].partition(".ia3_")[0].partition(".modules_to")[0].split(".")[-1] for name in names
    }


def test_all_linear_is_the_default(model: PreTrainedModel) -> None:
    config = peft_config(Adapter(), model, "causal-lm")
    assert config is not None
    assert (config.r, config.lora_alpha, config.target_modules) == (16, 32, "all-linear")
    assert (config.task_type, config.modules_to_save) == ("CAUSAL_LM", None)


def test_modules_can_be_named(model: PreTrainedModel) -> None:
    config = peft_config(
        Adapter(target_modules=("q_proj", "mlp.down_proj", "layers.1.self_attn.v_proj")), model, "causal-lm"
    )
    assert config is not None
    assert set(config.target_modules) == {"q_proj", "mlp.down_proj", "layers.1.self_attn.v_proj"}


def test_full_fine_tuning_has_no_adapter(model: PreTrainedModel) -> None:
    assert peft_config(Adapter(type="full"), model, "causal-lm") is None
    assert apply_adapter(model, Adapter(type="full"), "causal-lm") is model


def test_ranks_and_scales_of_single_modules(base: Base) -> None:
    adapter = Adapter(r=4, alpha=8, rank_pattern={"q_proj": 2, "layers.0.mlp.up_proj": 6}, alpha_pattern={"v_proj": 64})
    model = apply_adapter(load_model(base("llama"), "causal-lm"), adapter, "causal-lm")
    layers = model.base_model.model.model.layers
    ranks = [layer.self_attn.q_proj.r["default"] for layer in layers] + [
        layer.mlp.up_proj.r["default"] for layer in layers
    ]
    assert ranks == [2, 2, 6, 4]
    assert layers[0].self_attn.v_proj.scaling["default"] == 64 / 4


def test_rslora_divides_by_the_root_of_the_rank(base: Base) -> None:
    model = apply_adapter(load_model(base("llama"), "causal-lm"), Adapter(r=4, alpha=8, use_rslora=True), "causal-lm")
    assert model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] == 8 / 4**0.5


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("llama", {"k_proj", "v_proj", "down_proj"}),
        ("gpt2", {"c_attn", "c_proj"}),
        ("t5", {"k", "v", "wo"}),
        ("qwen3", {"q_proj", "v_proj", "down_proj"}),
    ],
)
def test_ia3_scales_keys_values_and_feed_forward_layers(base: Base, family: str, modules: set[str]) -> None:
    task: Task = "seq2seq-lm" if family == "t5" else "causal-lm"
    model = apply_adapter(load_model(base(family), task), Adapter(type="ia3"), task)
    assert learning(model) == modules
    feedforward = {
        name.split(".")[-1] for name, module in model.named_modules() if getattr(module, "is_feedforward", False)
    }
    assert feedforward == modules & {"down_proj", "c_proj", "wo"}


def test_ia3_scales_what_is_named(base: Base) -> None:
    adapter = Adapter(type="ia3", target_modules=("o_proj", "down_proj"))
    config = peft_config(adapter, load_model(base("llama"), "causal-lm"), "causal-lm")
    assert config is not None
    assert (config.target_modules, config.feedforward_modules) == ({"o_proj", "down_proj"}, {"down_proj"})


@pytest.mark.parametrize("adapter", [Adapter(), Adapter(type="ia3"), PREFIX, PROMPT], ids=lambda each: each.type)
def test_a_head_learns_beside_every_adapter(base: Base, adapter: Adapter) -> None:
    model = load_model(base("bert"), "sequence-classification", labels=COLOURS)
    model = apply_adapter(model, adapter, "sequence-classification")
    assert {"classifier", "pooler"} <= learning(model)
    assert "word_embeddings" not in learning(model)


def test_the_learnt_vectors_begin_as_words(base: Base) -> None:
    model = load_model(base("llama"), "causal-lm")
    words = model.get_input_embeddings().weight.detach().clone()
    vectors = apply_adapter(model, PROMPT, "causal-lm").prompt_encoder["default"].embedding.weight
    assert all(any(torch.equal(vector, word) for word in words) for vector in vectors)


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        (
            Adapter(target_modules=("q_prj", "v_proj")),
            r"^spec\.method\.adapter\.targetModules: the model has no module named q_prj that an adapter fits "
            r"\(did you mean q_proj.*\?\); it has down_proj, embed_tokens, gate_proj, k_proj, ",
        ),
        (
            Adapter(target_modules=("c_attn", "q_proj")),
            "no module named c_attn that an adapter fits.*; all-linear stands alone",
        ),
        (Adapter(target_modules=("all-linear", "q_proj")), "no module named all-linear"),
        (Adapter(target_modules=("norm",)), "no module named norm that an adapter fits"),
        (Adapter(target_modules=("lm_head",)), "lm_head shares its weights with another layer.*; leave lm_head out"),
        (Adapter(target_modules=("embed_tokens",)), r"model\.embed_tokens shares its weights with another layer"),
        (Adapter(type="ia3", target_modules=("embed_tokens",)), "no module named embed_tokens that an adapter fits"),
        (
            Adapter(rank_pattern={"q_prj": 2}),
            r"rankPattern: q_prj is none of the modules that get an adapter \(did you",
        ),
        (
            Adapter(target_modules=("q_proj",), alpha_pattern={"v_proj": 2}),
            "alphaPattern: v_proj is none of the modules that get an adapter.*; it has q_proj",
        ),
    ],
)
def test_a_wrong_name_is_found_before_weights_are_read(base: Base, adapter: Adapter, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_adapter(read_config(base("llama")), adapter, "causal-lm")


def test_the_head_gets_no_adapter(base: Base) -> None:
    with pytest.raises(
        ConfigError, match="classifier is part of the head, which is trained whole anyway; leave it out"
    ):
        check_adapter(base("bert"), Adapter(target_modules=("classifier",)), "token-classification")


@pytest.mark.parametrize(
    ("family", "task", "adapter", "sentence"),
    [
        (
            "bert",
            "masked-lm",
            PREFIX,
            r"^spec\.method\.adapter\.type: PEFT has no prefix-tuning for task masked-lm; use lora",
        ),
        ("roberta", "masked-lm", PROMPT, "PEFT has no prompt-tuning for task masked-lm"),
        ("llama", "sequence-classification", PROMPT, "prompt-tuning hides from a decoder's head where a text ends"),
        (
            "t5",
            "sequence-classification",
            PREFIX,
            "prefix-tuning puts its vectors in front of an encoder and a decoder",
        ),
        (
            "t5",
            "sequence-classification",
            PROMPT,
            "prompt-tuning puts its vectors in front of an encoder and a decoder",
        ),
        (
            "t5",
            "token-classification",
            PREFIX,
            "T5ForTokenClassification takes no keys and values to put in front of its",
        ),
    ],
)
def test_an_adapter_that_cannot_work_is_refused(
    base: Base, family: str, task: Task, adapter: Adapter, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_adapter(base(family), adapter, task)


def test_a_reward_model_cannot_be_prompt_tuned(base: Base) -> None:
    check_adapter(base("gpt2"), PROMPT, "causal-lm")
    with pytest.raises(ConfigError, match="hides from a decoder's head where a text ends"):
        check_adapter(base("gpt2"), PROMPT, "causal-lm", reward=True)


SMALL = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1}


def test_what_peft_alone_knows_of_a_model_is_refused_in_its_words() -> None:
    with pytest.raises(ConfigError, match=r"PEFT cannot put it onto MambaForCausalLM: .*'out_proj' is incompatible"):
        check_adapter(MambaConfig(**SMALL), Adapter(), "causal-lm")
    check_adapter(MambaConfig(**SMALL), Adapter(target_modules=("in_proj",)), "causal-lm")
    with pytest.raises(ConfigError, match="MambaForCausalLM takes no keys and values"):
        check_adapter(MambaConfig(**SMALL), PREFIX, "causal-lm")
    with pytest.raises(ConfigError, match=r"PEFT cannot put it onto MixtralForCausalLM: .*use_dora=True"):
        check_adapter(MixtralConfig(**SMALL, num_attention_heads=2), Adapter(use_dora=True), "causal-lm")
    with pytest.raises(ConfigError, match="PEFT cannot shape the keys and values of falcon for prefix-tuning"):
        check_adapter(FalconConfig(**SMALL, num_attention_heads=2), PREFIX, "causal-lm")


@pytest.mark.parametrize(
    ("family", "task", "positions"), [("gpt2", "causal-lm", 512), ("roberta", "token-classification", 512)]
)
def test_vectors_and_texts_must_fit_the_positions(base: Base, family: str, task: Task, positions: int) -> None:
    check_adapter(base(family), PREFIX, task, max_length=positions - 3)
    with pytest.raises(
        ConfigError, match=rf"numVirtualTokens: 3 vectors and texts of data\.maxLength {positions - 2} tok"
    ):
        check_adapter(base(family), PREFIX, task, max_length=positions - 2)
    check_adapter(base(family), Adapter(), task, max_length=10_000)
    check_adapter(base("llama"), PREFIX, "causal-lm", max_length=10_000)


def test_a_check_costs_no_memory(base: Base) -> None:
    empty = skeleton(read_config(base("llama")), "causal-lm")
    assert {weight.device.type for weight in empty.parameters()} == {"meta"}


@pytest.fixture
def earlier(base: Base, tmp_path: Path) -> Callable[[str, Task, Adapter], Adapter]:
    """Return a maker of adapters that were trained before, as settings that go on from them."""

    def make(family: str, task: Task, adapter: Adapter) -> Adapter:
        path = base(family)
        model = load_model(path, task, torch.float32, labels=COLOURS, seed=1)
        model = apply_adapter(model, adapter, task)
        learn_a_step(model, task)
        save_model(model, load_tokenizer(path, task), tmp_path / "earlier", str(path))
        return adapter.model_copy(update={"continue_from": f"file://{tmp_path}/earlier"})

    return make


Earlier = Callable[[str, Task, Adapter], Adapter]


@pytest.mark.parametrize(
    ("family", "task", "adapter"),
    [
        ("llama", "causal-lm", Adapter(r=4, use_dora=True)),
        ("gpt2", "causal-lm", Adapter(type="ia3")),
        ("bert", "sequence-classification", Adapter(r=4)),
        ("roberta", "token-classification", Adapter(type="ia3")),
        ("qwen2", "causal-lm", PREFIX),
        ("t5", "seq2seq-lm", PROMPT),
        ("bert", "question-answering", PREFIX),
    ],
)
def test_training_goes_on_from_an_adapter(
    base: Base, earlier: Earlier, tmp_path: Path, family: str, task: Task, adapter: Adapter
) -> None:
    again = earlier(family, task, adapter)
    check_adapter(base(family), again, task)
    first = load_model(base(family), task, torch.float32, labels=COLOURS, seed=1)
    begun = logits(apply_adapter(first, adapter, task), task)

    model = load_model(base(family), task, torch.float32, labels=COLOURS, seed=2)  # another random head
    resumed = apply_adapter(model, again, task)

    before = logits(resumed, task)
    assert not torch.allclose(before, begun, atol=1e-3)
    learn_a_step(resumed, task)
    assert not torch.allclose(logits(resumed, task), before, atol=1e-4)
    save_model(resumed, load_tokenizer(base(family), task), tmp_path / "later", str(base(family)), merge=False)
    once_more = again.model_copy(update={"continue_from": f"file://{tmp_path}/later"})
    model = load_model(base(family), task, torch.float32, labels=COLOURS, seed=3)
    torch.testing.assert_close(logits(apply_adapter(model, once_more, task), task), logits(resumed, task))


def test_an_adapter_of_another_type_cannot_go_on(base: Base, earlier: Earlier) -> None:
    ia3 = earlier("llama", "causal-lm", Adapter(type="ia3")).model_copy(update={"type": "lora"})
    with pytest.raises(
        ConfigError, match=r"continueFrom: .* holds an adapter of type IA3, and spec\.method\.adapter\.type is"
    ):
        check_adapter(base("llama"), ia3, "causal-lm")


def test_an_adapter_of_another_task_cannot_go_on(base: Base, earlier: Earlier) -> None:
    lora = earlier("llama", "token-classification", Adapter())
    with pytest.raises(ConfigError, match="was trained for task TOKEN_CLS, and this job trains for CAUSAL_LM"):
        check_adapter(base("llama"), lora, "causal-lm")


@pytest.mark.parametrize("adapter", [Adapter(r=4), PREFIX, PROMPT], ids=lambda each: each.type)
def test_an_adapter_of_another_base_model_cannot_go_on(base: Base, earlier: Earlier, adapter: Adapter) -> None:
    again = earlier("llama", "causal-lm", adapter)
    config = read_config(base("llama"))
    config.hidden_size, config.num_attention_heads, config.num_key_value_heads = 48, 6, 6
    with pytest.raises(ConfigError, match=r"was made for another base model than this LlamaForCausalLM: .* of shape"):
        check_adapter(config, again, "causal-lm")


def test_a_head_for_other_classes_cannot_go_on(base: Base, earlier: Earlier) -> None:
    again = earlier("bert", "token-classification", Adapter(r=4))
    model = load_model(base("bert"), "token-classification", labels=Labels("single", ("no", "yes")))
    with pytest.raises(ConfigError, match=r"classifier\.bias is of shape 3 there and of shape 2 here"):
        apply_adapter(model, again, "token-classification")


def test_an_adapter_of_another_architecture_cannot_go_on(base: Base, earlier: Earlier) -> None:
    again = earlier("llama", "causal-lm", Adapter(r=4))
    with pytest.raises(ConfigError, match="was made for another base model than this GPT2LMHeadModel"):
        check_adapter(base("gpt2"), again, "causal-lm")


def test_a_folder_without_an_adapter_cannot_go_on(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no adapter: neither .* nor adapter/ in it has an adapter_config\.json"):
        check_adapter(base("llama"), Adapter(continue_from=f"file://{tmp_path}/none"), "causal-lm")
