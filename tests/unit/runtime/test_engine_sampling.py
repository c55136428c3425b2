"""Which token is chosen, and how likely it is said to have been."""

from collections import Counter

import pytest
import torch

from tunesmith_runtime.serve.engine.questions import Sampling
from tunesmith_runtime.serve.engine.sampling import Sampler, choose, score

SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05])
LOGITS = SHARES.log()


def drawn(sampling: Sampling, times: int = 400) -> Counter[int]:
    sampler = Sampler(sampling, 0)
    return Counter(sampler.choose(LOGITS) for _ in range(times))


def test_without_temperature_the_likeliest_is_taken() -> None:
    assert drawn(Sampling()) == {0: 400}
    assert choose(torch.stack([LOGITS, -LOGITS]), [Sampler(Sampling(), 0)] * 2) == [0, 3]


def test_at_temperature_one_tokens_are_drawn_as_likely_as_they_are() -> None:
    found = drawn(Sampling(temperature=1.0, seed=1), 4000)
    assert [found[token] / 4000 for token in range(4)] == pytest.approx(SHARES.tolist(), abs=0.03)


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        (Sampling(temperature=1.0, top_k=2, seed=1), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.75, seed=1), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.01, seed=1), {0}),
        (Sampling(temperature=1.0, min_p=0.25, seed=1), {0, 1, 2}),
        (Sampling(temperature=0.01, seed=1), {0}),
        (Sampling(temperature=1.0, bias=((0, -100), (1, -100)), seed=1), {2, 3}),
    ],
    ids=["top k", "top p", "small top p", "min p", "cold", "bias"],
)
def test_unlikely_tokens_are_left_out(sampling: Sampling, left: set[int]) -> None:
    assert set(drawn(sampling)) == left


def test_the_seed_and_the_number_of_the_answer_decide() -> None:
    def tokens(seed: int | None, number: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), number)
        return [sampler.choose(LOGITS) for _ in range(40)]

    assert tokens(7, 0) == tokens(7, 0)
    assert tokens(7, 0) != tokens(7, 1)
    assert tokens(7, 0) != tokens(8, 0)
    assert tokens(None, 0) != tokens(None, 0)


def test_penalties_keep_off_what_has_been_written() -> None:
    present = Sampler(Sampling(presence_penalty=1.0), 0)
    present.took(0)
    assert present.choose(LOGITS) == 1
    frequent = Sampler(Sampling(frequency_penalty=0.3), 0)
    frequent.took(0)
    assert frequent.choose(LOGITS) == 0
    frequent.took(0)
    assert frequent.choose(LOGITS) == 1


def test_scores_are_of_the_model_itself() -> None:
    (found,) = score(LOGITS[None] + 3, [2], top=2)
    assert found.logprob == pytest.approx(float(LOGITS[2]), abs=1e-6)
    assert [token for token, _ in found.top] == [0, 1]
    assert [logprob for _, logprob in found.top] == pytest.approx(LOGITS[:2].tolist(), abs=1e-6)
