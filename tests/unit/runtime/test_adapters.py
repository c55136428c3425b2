"""Which weights are trained."""

import pytest
from transformers import PreTrainedModel

from tunesmith_api.finetunejob import Adapter
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.adapters import lora_config


def test_all_linear_is_the_default(model: PreTrainedModel) -> None:
    config = lora_config(Adapter(), model)
    assert config is not None
    assert (config.r, config.lora_alpha, config.target_modules) == (16, 32, "all-linear")


def test_modules_can_be_named(model: PreTrainedModel) -> None:
    config = lora_config(Adapter(target_modules=("q_proj", "v_proj")), model)
    assert config is not None
    assert set(config.target_modules) == {"q_proj", "v_proj"}


def test_full_fine_tuning_has_no_adapter(model: PreTrainedModel) -> None:
    assert lora_config(Adapter(type="full"), model) is None


def test_a_module_that_the_model_lacks_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(ConfigError, match="the model has no module named c_attn; it has down_proj, "):
        lora_config(Adapter(target_modules=("c_attn", "q_proj")), model)
