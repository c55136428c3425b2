"""Direct preference optimisation: the model learns to prefer one answer to the other, staying near what it was."""

import datasets
from trl import DPOConfig, DPOTrainer

from tunesmith_api.training import DirectPreference
from tunesmith_runtime.data.records import Preference
from tunesmith_runtime.train.recipes.preference import (
    check_reference,
    copying_adapter,
    encode_pair,
    pair_length,
    reference_model,
    settle_reference,
)
from tunesmith_runtime.train.recipes.recipe import Recipe, Setup


class _DirectPreferenceTrainer(DPOTrainer):
    """TRL's trainer over rows of tokens, which need no preparation."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: object) -> datasets.Dataset:
        return dataset


def make_trainer(setup: Setup) -> DPOTrainer:
    """Return TRL's DPOTrainer (Rafailov et al. 2023, arXiv:2305.18290).

    Raises ConfigError for an adapter that cannot learn by it.
    """
    check_reference(setup)
    settings = setup.config.method.dpo or DirectPreference()
    with copying_adapter():
        trainer = _DirectPreferenceTrainer(
            model=setup.model,
            ref_model=reference_model(setup),
            args=DPOConfig(
                **setup.arguments,
                beta=settings.beta,
                loss_type=[settings.loss_type],
                label_smoothing=settings.label_smoothing,
                max_length=None,  # no record is too long
            ),
            train_dataset=setup.train,
            eval_dataset=dict(setup.validation) or None,
            processing_class=setup.tokenizer,
        )
    settle_reference(trainer, setup)
    return trainer


DPO = Recipe(
    task="causal-lm",
    method="dpo",
    accepts=(Preference,),
    encode=encode_pair,
    trainer=make_trainer,
    length=pair_length,
)
