"""Answers that are written together are those that are written alone, whoever comes and goes."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tests.engines import Desk, Told, desk, plain_logprobs
from tests.tiny import make_tiny_gpt2, make_tiny_mixtral, make_tiny_qwen3
from tunesmith_runtime.models.loading import load_causal_lm
from tunesmith_runtime.serve.engine.adapters import Adapters
from tunesmith_runtime.serve.engine.questions import Piece, Question, Sampling
from tunesmith_runtime.serve.engine.refusals import Refusal
from tunesmith_runtime.serve.engine.scheduler import Limits
from tunesmith_runtime.serve.engine.served import Served

TEXTS = ["some words to learn from"]
DRAWN = Sampling(temperature=1.0, top_p=0.95, seed=5)
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


def lively(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with weights that make each next token another one."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, weight in model.named_parameters():
            if "norm" not in name and "ln" not in name:
                weight.normal_(std=0.3)
    return model


def served_as(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **changes: Any) -> Served:
    model.generation_config = GenerationConfig(pad_token_id=0)
    whole = Served(model, tokenizer, Adapters(model), True, 512, frozenset({2}), Sampling())
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def served(tiny_path: Path, tokenizer: PreTrainedTokenizerBase) -> Served:
    return served_as(lively(load_causal_lm(tiny_path)), tokenizer)


def question(*lengths: int, seed: int = 0, **more: Any) -> Question:
    drawn = torch.Generator().manual_seed(seed)
    prompts = tuple(tuple(torch.randint(3, 250, (length,), generator=drawn).tolist()) for length in lengths)
    return Question(prompts=prompts, **{"max_tokens": 12, "logprobs": 0, "ignores_end": True, **more})


def by_generate(model: PreTrainedModel, asked: Question) -> list[int]:
    ids = torch.tensor(asked.prompts)
    config = GenerationConfig(max_new_tokens=asked.max_tokens, do_sample=False, eos_token_id=None, pad_token_id=0)
    found = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return list(found[0, ids.shape[1] :].tolist())


@torch.no_grad()
@pytest.mark.parametrize("make", [make_tiny_gpt2, make_tiny_qwen3, make_tiny_mixtral])
def test_in_a_crowd_as_alone(make: Callable[..., Path], tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = lively(load_causal_lm(make(tmp_path / "model", TEXTS)))
    busy = desk(served_as(model, tokenizer))
    greedy = [question(length, seed=length, max_tokens=4 + length % 9) for length in (1, 40, 3, 17, 64)]
    drawn = [replace(each, sampling=DRAWN) for each in greedy]
    told: list[Told] = []
    for each in (*greedy, *drawn):  # each comes while those before it are being written
        told.append(busy.ask(each))
        busy.turn(2)
    busy.finish(*told)
    for each, found in zip(greedy, told, strict=False):
        assert found.tokens() == by_generate(model, each)
    for each, found in zip(drawn, told[len(greedy) :], strict=True):
        assert found.tokens() == desk(served_as(model, tokenizer)).answer(each).tokens()
        assert found.tokens() != told[drawn.index(each)].tokens()


def test_logprobs_are_those_of_a_plain_forward_pass(served: Served) -> None:
    busy = desk(served)
    asked = [question(length, seed=length, logprobs=3, sampling=DRAWN) for length in (5, 30, 9)]
    told = [busy.ask(each) for each in asked]
    busy.finish(*told)
    for each, found in zip(asked, told, strict=True):
        tokens = [*each.prompts[0], *found.tokens()]
        plain = plain_logprobs(served.model, tokens)[len(each.prompts[0]) - 1 :]
        for place, score in enumerate(found.scores()):
            assert score.logprob == pytest.approx(float(plain[place, score.token]), abs=1e-4)
            best = plain[place].topk(3)
            assert [token for token, _ in score.top] == best.indices.tolist()
            assert [logprob for _, logprob in score.top] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("length", [1, 2, 300])
def test_the_prompts_own_tokens_have_likelihoods(served: Served, length: int, together: bool) -> None:
    asked = question(length, logprobs=1, scores_prompt=True, max_tokens=0)
    told = desk(served, Limits(read=64), together=together).answer(asked)
    scores = told.pieces[0].prompt_scores
    plain = plain_logprobs(served.model, asked.prompts[0])
    assert [each.token for each in scores] == list(asked.prompts[0])
    assert scores[0].logprob is None
    for place, score in enumerate(scores[1:]):
        assert score.logprob == pytest.approx(float(plain[place, score.token]), abs=1e-4)
        assert score.top[0][1] == pytest.approx(float(plain[place].max()), abs=1e-4)
    assert (told.last().finish, told.last().tokens) == ("length", 0)


def test_likelihoods_of_prompts_that_are_read_together(served: Served) -> None:
    busy = desk(served)
    asked = [
        question(length, seed=length, logprobs=1, scores_prompt=True, max_tokens=length % 2) for length in range(3, 9)
    ]
    told = [busy.ask(each) for each in asked]
    busy.turn()
    assert all(each.over for each in told)
    for each, found in zip(asked, told, strict=True):
        scores, plain = found.pieces[0].prompt_scores, plain_logprobs(served.model, each.prompts[0])
        own = plain[range(len(scores) - 1), list(each.prompts[0][1:])].tolist()
        assert [score.logprob for score in scores[1:]] == pytest.approx(own, abs=1e-4)
        assert found.tokens() == [int(plain[-1].argmax())][: each.max_tokens]


def test_one_at_a_time_is_the_same(served: Served) -> None:
    together, apart = desk(served), desk(served, together=False)
    for asked in (
        question(7, 9, n=2, sampling=DRAWN, logprobs=2),
        question(4, ignores_end=False, max_tokens=60),
        question(5, sampling=Sampling(presence_penalty=2.0, bias=((9, 5.0),))),
        question(5, stops=("e",), sampling=DRAWN, max_tokens=60),
    ):
        first, second = together.answer(asked), apart.answer(asked)
        for answer in range(len(asked.prompts) * asked.n):
            assert first.text(answer) == second.text(answer)
            assert first.tokens(answer) == second.tokens(answer)
            assert first.last(answer).finish == second.last(answer).finish


def test_models_with_sliding_windows_and_virtual_tokens(tokenizer: PreTrainedTokenizerBase, tiny_path: Path) -> None:
    sliding = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            sliding_window=8,
        )
    ).eval()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        soft = get_peft_model(
            lively(load_causal_lm(tiny_path)), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        ).eval()
    for model in (lively(sliding), soft):
        served = served_as(model, tokenizer)
        assert not served.batches
        asked = question(20)
        told = desk(served).answer(asked)
        assert told.tokens() == by_generate(model, asked)
        scored = question(20, logprobs=0, scores_prompt=True)
        assert len(desk(served).answer(scored).pieces[0].prompt_scores) == 20


def test_several_answers_to_a_prompt(served: Served) -> None:
    told = desk(served).answer(question(6, 8, n=3, sampling=DRAWN))
    assert len({tuple(told.tokens(answer)) for answer in range(3)}) == 3
    again = desk(served).answer(question(6, n=3, sampling=DRAWN))
    assert [again.tokens(answer) for answer in range(3)] == [told.tokens(answer) for answer in range(3)]


def test_an_answer_ends_where_the_model_ends_it(served: Served) -> None:
    whole = desk(served).answer(question(5, max_tokens=9)).tokens()
    ending = replace(served, ends=frozenset({whole[4]}))
    told = desk(ending).answer(question(5, max_tokens=9, ignores_end=False))
    assert told.tokens() == whole[: whole.index(whole[4]) + 1]
    assert told.scores()[-1].ends
    assert (told.last().finish, told.last().tokens) == ("stop", whole.index(whole[4]) + 1)
    assert told.text() == served.tokenizer.decode(told.tokens()[:-1], skip_special_tokens=True)


def rows_of_steps(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that will hold how many rows each step computed."""
    rows: list[int] = []
    forward = served.model.forward

    @wraps(forward)  # its parameters say whether a model can write in batches
    def counted(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[1] == 1:
            rows.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(served.model, "forward", counted)
    return rows


def test_who_gives_up_frees_the_row_at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of_steps(served, monkeypatch)
    busy = desk(served)
    stays, goes = busy.ask(question(6, max_tokens=30)), busy.ask(question(7, max_tokens=30))
    busy.turn(3)
    assert rows[-1] == 2
    goes.asked.give_up()
    heard = len(goes.news)
    busy.turn()
    assert rows[-1] == 1
    busy.finish(stays)
    assert len(goes.news) == heard
    assert stays.last().tokens == 30
    waits = busy.ask(question(3))
    waits.asked.give_up()
    busy.turn()
    assert not waits.news


def test_no_more_rows_than_allowed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of_steps(served, monkeypatch)
    busy = desk(served, Limits(rows=3))
    told = [busy.ask(question(4, seed=seed, max_tokens=6 + seed)) for seed in range(8)]
    busy.finish(*told)
    assert max(rows) == 3
    # However few places there are, a prompt by itself is answered.
    small = desk(served, Limits(tokens=10))
    long = [small.ask(question(50, seed=seed)) for seed in range(2)]
    rows.clear()
    small.finish(*long)
    assert set(rows) == {1}


def test_a_long_prompt_does_not_hold_up_what_is_being_written(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of_steps(served, monkeypatch)
    busy = desk(served, Limits(read=16))
    first = busy.ask(question(4, max_tokens=40))
    busy.turn(2)
    long = busy.ask(question(160))
    rows.clear()
    busy.turn(5)
    assert rows == [1] * 5
    assert not long.pieces
    busy.finish(first, long)
    assert long.tokens() == desk(served).answer(question(160)).tokens()


def test_too_many_that_wait_are_sent_away(served: Served) -> None:
    busy = desk(served, Limits(waiting=3))
    told = [busy.ask(question(4)), busy.ask(question(4, n=2))]
    with pytest.raises(Refusal, match="3 answers wait already; ask again in a moment") as refused:
        busy.ask(question(4))
    assert refused.value.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert refused.value.headers["Retry-After"]
    busy.finish(*told)
    busy.answer(question(4))


def test_before_the_end_all_that_was_taken_is_answered(served: Served) -> None:
    busy: Desk = desk(served)
    told = busy.ask(question(4))
    busy.scheduler.drain()
    with pytest.raises(Refusal, match="about to end"):
        busy.ask(question(4))
    busy.scheduler.run()
    assert told.over


def test_a_model_that_fails_is_said_and_others_go_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = desk(served)
    forward = served.model.forward
    errors: list[Exception] = [ValueError("a bad day"), torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")]
    told = busy.ask(question(5))
    busy.turn(2)

    @wraps(forward)
    def failing(*args: Any, **kwargs: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return forward(*args, **kwargs)

    monkeypatch.setattr(served.model, "forward", failing)
    busy.turn()
    failed = told.news[-1]
    assert isinstance(failed, Refusal)
    assert (failed.status, str(failed)) == (500, "the model failed: ValueError: a bad day")
    short = busy.ask(question(5))
    busy.turn()
    refused = short.news[-1]
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    last = busy.answer(question(5)).news[-1]
    assert isinstance(last, Piece)
    assert last.finish == "length"
