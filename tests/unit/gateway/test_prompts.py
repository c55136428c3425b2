"""Prompts of a revision are put before chat requests that bring none."""

from pathlib import Path

from tests.gateways import CHAT, engine, gateway, story, upstream
from tunesmith_api.serving.prompt import Prompt
from tunesmith_runtime.serve.gateway.prompting import CHAIN_OF_THOUGHT, prompted

HELLO = {"role": "user", "content": "Hello"}
PROMPT = {"system": "Be kind.", "fewShot": [{"user": "2+2?", "assistant": "4"}], "chainOfThought": "stepByStep"}
SYSTEM = {"role": "system", "content": f"Be kind.\n\n{CHAIN_OF_THOUGHT['stepByStep']}"}
SHOT = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]


@story
async def test_a_chat_gets_its_revisions_prompt(folder: Path) -> None:
    async with (
        engine("old") as old,
        engine("new") as new,
        gateway(folder, upstream(1, old, 50), upstream(2, new, 50, prompt=PROMPT)) as served,
    ):
        for _ in range(2):
            assert (await served.ask(CHAT | {"temperature": 0.5})).status == 200
        assert old.bodies == [CHAT | {"temperature": 0.5}]
        assert new.bodies == [CHAT | {"temperature": 0.5, "messages": [SYSTEM, *SHOT, HELLO]}]


@story
async def test_a_prompt_changes_without_a_restart(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        await served.takes_up(upstream(1, stable, prompt={"system": "Be brief."}))
        await served.ask()
        assert stable.bodies[0]["messages"] == [{"role": "system", "content": "Be brief."}, HELLO]


@story
async def test_requests_that_have_said_all_themselves_stay_as_they_are(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable, prompt=PROMPT)) as served:
        for role in ("system", "developer"):
            messages = [HELLO, {"role": role, "content": "Be rude."}]
            await served.ask(CHAT | {"messages": messages})
            assert stable.bodies[-1]["messages"] == messages
        await served.ask({"model": "bot", "prompt": "Once"}, path="/v1/completions")
        assert stable.bodies[-1] == {"model": "bot", "prompt": "Once"}


def test_a_prompt_may_be_any_part_of_one() -> None:
    assert prompted(None, [HELLO]) is None
    assert prompted(Prompt(), [HELLO]) is None
    thinking = prompted(Prompt(chain_of_thought="checkAnswer"), [HELLO])
    assert thinking == [{"role": "system", "content": CHAIN_OF_THOUGHT["checkAnswer"]}, HELLO]
    assert prompted(Prompt.model_validate_json('{"fewShot": [{"user": "2+2?", "assistant": "4"}]}'), [HELLO]) == [
        *SHOT,
        HELLO,
    ]
