"""Answers end where they end, and padding changes nothing of what is made of them."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from tests.reinforcing import make_toy
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.train.ppo.answers import Sampling, draw, until_end
from tunesmith_runtime.train.ppo.policy import PolicyWithValue


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def policy(toy: Path) -> PreTrainedModel:
    return load_causal_lm(toy)


@pytest.fixture
def words(toy: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(toy)


def test_an_answer_ends_with_the_first_token_that_ends_it() -> None:
    tokens = torch.tensor([[5, 9, 5, 9], [5, 5, 5, 5], [8, 1, 1, 1], [5, 5, 5, 9]])
    mask, ended = until_end(tokens, [9, 8])
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert ended.tolist() == [True, False, True, True]


def test_prompts_are_padded_on_the_left_and_answers_on_the_right(
    policy: PreTrainedModel, words: PreTrainedTokenizerBase
) -> None:
    with torch.no_grad():  # so that some answers end early
        policy.generation_config.eos_token_id = list(range(3, 60))
    set_seed(0)
    answers = draw(policy, words, [[10, 11, 12], [13]] * 8, Sampling(max_length=6, temperature=1.0))
    assert answers.input_ids[1, :3].tolist() == [words.pad_token_id, words.pad_token_id, 13]
    assert answers.attention_mask[1, :3].tolist() == [0, 0, 1]
    assert torch.equal(answers.attention_mask[:, 3:], answers.mask)
    assert answers.ended.any()
    assert not answers.ended.all()
    lengths = answers.mask.sum(1).tolist()
    for row, length, ended in zip(answers.input_ids[:, 3:].tolist(), lengths, answers.ended.tolist(), strict=True):
        assert (row[length - 1] < 60) == ended
        assert set(row[length:]) <= {words.pad_token_id}
    assert len(answers.texts(words)) == 16


def test_padding_changes_no_probability(policy: PreTrainedModel, words: PreTrainedTokenizerBase) -> None:
    both = PolicyWithValue(policy)
    torch.nn.init.normal_(both.value_head.weight)
    pad = words.pad_token_id
    ids = torch.tensor([[10, 11, 12, 20, 21], [pad, pad, 13, 22, pad]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 0]])
    with torch.no_grad():
        padded = both(ids, mask, answer_length=2, temperature=0.5)
        alone = both(torch.tensor([[13, 22]]), torch.ones(1, 2, dtype=torch.long), answer_length=1, temperature=0.5)
        logits = policy(torch.tensor([[13]])).logits[0, 0]
        hidden = policy.model(torch.tensor([[13]])).last_hidden_state[0, 0]
    assert padded.log_probs[1, 0] == pytest.approx(log_softmax(logits / 0.5, -1)[22].item(), abs=1e-5)
    assert padded.values[1, 0] == pytest.approx(both.value_head(hidden).item(), abs=1e-5)
    for whole, single in zip(padded, alone, strict=True):
        assert whole[1, 0] == pytest.approx(single[0, 0].item(), abs=1e-5)
