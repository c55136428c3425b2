"""Answers in a form: a model that writes at random writes what fits the schema, whoever else is answered beside it."""

import json
from pathlib import Path
from typing import Any, Literal

import jsonschema
import openai
import pytest
from pydantic import BaseModel
from transformers import PreTrainedTokenizerBase

from tests.engines import desk, run_of, served_over_http
from tunesmith_runtime.serve.engine.forms import Forms
from tunesmith_runtime.serve.engine.questions import Question, Sampling
from tunesmith_runtime.serve.engine.refusals import Refusal
from tunesmith_runtime.serve.engine.served import load

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["blue", "grey"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 2},
    },
    "required": ["colour", "stars", "tags"],
    "additionalProperties": False,
}
HOT = Sampling(temperature=1.5, seed=3)


@pytest.mark.parametrize("together", [True, False], ids=["in batches", "one at a time"])
def test_what_is_written_at_random_fits_the_schema(tiny_path: Path, together: bool) -> None:
    served = load(tiny_path)
    prompt = tuple(served.tokenizer("the sky is")["input_ids"])
    crowd = desk(served, together=together)
    formed = crowd.ask(Question((prompt,), 200, n=4, sampling=HOT, form=served.forms.form(SCHEMA)))
    free = crowd.ask(Question((prompt,), 12, sampling=HOT, logprobs=0))
    crowd.finish(formed, free)

    answers = [json.loads(formed.text(number)) for number in range(4)]
    for answer in answers:
        jsonschema.validate(answer, SCHEMA)
    assert len({json.dumps(answer) for answer in answers}) > 1, "each has a state of its own"
    assert [formed.last(number).finish for number in range(4)] == ["stop"] * 4
    alone = desk(served, together=together).answer(Question((prompt,), 12, sampling=HOT, logprobs=0))
    assert free.tokens() == alone.tokens(), "others are not held to it"


class Sky(BaseModel):
    """What the client wants."""

    colour: Literal["blue", "grey"]
    cloudy: bool


def test_openais_client_parses_its_own_types(tiny_path: Path) -> None:
    messages: list[Any] = [{"role": "user", "content": "What colour is the sky?"}]
    with (
        served_over_http(run_of(tiny_path)) as (url, _),
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        whole = client.chat.completions.parse(model="bot", messages=messages, response_format=Sky)
        assert isinstance(whole.choices[0].message.parsed, Sky)
        with client.chat.completions.stream(model="bot", messages=messages, response_format=Sky) as stream:
            assert stream.get_final_completion().choices[0].message.parsed == whole.choices[0].message.parsed
        for kind in ("json_object", "text"):
            plain: Any = {"type": kind}
            cut = client.chat.completions.create(
                model="bot", messages=messages, response_format=plain, max_tokens=8, temperature=1
            )
            assert (cut.choices[0].message.content or "").lstrip().startswith("{") is (kind == "json_object")


def test_a_model_that_never_ends_can_keep_to_no_form(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(Refusal, match="no token of this model ends an answer"):
        Forms(tokenizer, 300, frozenset()).form({"type": "object"})
