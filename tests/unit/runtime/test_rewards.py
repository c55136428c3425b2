"""What answers are worth."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaForSequenceClassification

from tests import reinforcing
from tests.reinforcing import LETTERS, TEXTS, make_toy
from tests.tiny import make_tiny_model
from tunesmith_api.reinforcement import REWARD_FUNCTIONS, Reward
from tunesmith_runtime.data.records import ASSISTANT, Completion, Conversation, Message
from tunesmith_runtime.data.tokenizing import tokenize
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models.loading import load_tokenizer
from tunesmith_runtime.train.rewards import Asked, load_scorers, total
from tunesmith_runtime.train.rewards.functions import find
from tunesmith_runtime.train.rewards.models import load_reward_model

CPU = torch.device("cpu")
ASKED = Asked("Sky?", (Message("user", "Sky?"),), ("It is blue.", "azure"))
RAW = Asked("The sky", (Message("", "The sky"),), (" is blue.",))


def reward(name: str, *answers: str) -> list[float]:
    scorer = load_scorers([Reward(function=name)], Path, CPU)[0]
    return scorer([ASKED] * len(answers), answers)


def test_every_function_of_the_api_is_there() -> None:
    for name in REWARD_FUNCTIONS:
        assert len(reward(name, "blue", "")) == 2


def test_answers_equal_a_reference_or_contain_one() -> None:
    assert reward("exactMatch", "it is BLUE", "Azure!", "It is bluer.") == [1, 1, 0]
    assert reward("containsReference", "I say it is blue, or so.", "an azure sky", "azuresque", "") == [1, 1, 0, 0]
    assert reward("f1", "is blue", "green") == [pytest.approx(0.8), 0]


def test_an_empty_reference_is_contained_in_nothing() -> None:
    contains = find("containsReference")
    assert list(contains(["?"], ["anything"], [["the"]])) == [0.0]


def test_json_is_one_value_and_nothing_else() -> None:
    assert reward("jsonValid", '{"a": [1]}', " 3 ", '{"a": 1} thanks', "", "NaN", "[" * 100_000) == [1, 1, 0, 0, 0, 0]


def test_words_are_counted() -> None:
    assert reward("wordCount", "one, two three", "") == [3, 0]


def test_a_function_of_the_image_is_imported() -> None:
    assert reward(LETTERS, "ab12", "") == [0.5, 0]


def test_weighted_rewards_are_added_up() -> None:
    rewards = [Reward(function="exactMatch", weight=2.0), Reward(function="wordCount", weight=-0.1)]
    scorers = load_scorers(rewards, Path, CPU)
    assert total(scorers, [ASKED, ASKED], ["It is blue.", "no"]) == [pytest.approx(1.7), pytest.approx(-0.1)]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no.such.module:f", r"no\.such\.module:f cannot be imported: ModuleNotFoundError"),
        ("tests.reinforcing:missing", r"tests\.reinforcing has no function missing"),
        ("tests.reinforcing:TEXTS", r"tests\.reinforcing has no function TEXTS"),
    ],
)
def test_a_function_that_is_not_there_is_refused(function: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scorers([Reward(function=function)], Path, CPU)


def test_an_unknown_built_in_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no function exact; use exactMatch, f1"):
        find("exact")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_a_number", r"not_a_number returned nan for the answer 'blue'"),
        ("too_few", r"too_few returned 1 rewards for 2 answers; it must return a number for each"),
        ("failing", r"failing fails on answers: no such table"),
    ],
)
def test_what_is_no_reward_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"spec\.method\.rewards: {reinforcing.__name__}:{message}"):
        reward(f"{reinforcing.__name__}:{name}", "blue", "red")


def test_there_must_be_a_reward() -> None:
    with pytest.raises(ConfigError, match="there is none, so that nothing can be learnt"):
        load_scorers([], Path, CPU)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a reward model with tokens of its own."""
    return make_judge(tmp_path_factory.mktemp("models") / "judge", outputs=1)


def make_judge(path: Path, outputs: int) -> Path:
    base = make_tiny_model(path, [*TEXTS, "blue blue"], hidden_size=32, layers=1, vocab_size=290)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForSequenceClassification.from_pretrained(base, num_labels=outputs)
    model.save_pretrained(path)
    return path


def test_a_reward_model_scores_a_prompt_with_its_answer_by_its_own_tokens(judge: Path) -> None:
    answers: Sequence[str] = ["blue", "a much longer answer"]
    scores = load_scorers([Reward(model=f"file://{judge}")], lambda _: judge, CPU)[0]([ASKED, RAW], answers)
    tokenizer = load_tokenizer(judge)
    model = LlamaForSequenceClassification.from_pretrained(judge)
    wanted = []
    for record in (
        Conversation((Message("user", "Sky?"), Message(ASSISTANT, "blue"))),
        Completion("The sky", "a much longer answer"),
    ):
        ids = torch.tensor([tokenize(record, tokenizer).input_ids])
        with torch.no_grad():
            wanted.append(model(ids).logits.item())
    assert scores == pytest.approx(wanted, abs=1e-5)
    assert scores[0] != scores[1]


def test_a_model_that_scores_nothing_is_refused(judge: Path, tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy")
    with pytest.raises(ModelError, match=r"is not a reward model: its files lack score\.weight; train one with"):
        load_reward_model(toy, CPU)
    with pytest.raises(ModelError, match="has 3 outputs, and a reward model has one"):
        load_reward_model(make_judge(tmp_path / "three", outputs=3), CPU)
    (toy / "config.json").write_text("{")
    with pytest.raises(ModelError, match="toy"):
        load_reward_model(toy, CPU)
