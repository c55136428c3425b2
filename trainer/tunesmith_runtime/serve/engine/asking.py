"""A request becomes a question: its text becomes tokens, and what it leaves out is filled in."""

import difflib
from dataclasses import replace
from http import HTTPStatus
from typing import TypeVar

from jinja2 import TemplateError
from pydantic import BaseModel, ValidationError

from tunesmith_api.errors import explain
from tunesmith_runtime.serve.engine.questions import Question, Sampling
from tunesmith_runtime.serve.engine.refusals import Refusal, wrong
from tunesmith_runtime.serve.engine.requests import USUAL_TOKENS, ChatRequest, CompletionRequest, Generating
from tunesmith_runtime.serve.engine.served import Served
from tunesmith_runtime.serve.engine.tool_calls import template_of

BodyT = TypeVar("BodyT", bound=BaseModel)


def parsed(body: bytes, model: type[BodyT]) -> BodyT:
    """Return a request. Raises Refusal with what is wrong with it."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][0]) if detail["loc"] else None
        if detail["type"] == "json_invalid":
            raise wrong(f"the body is not JSON: {detail['ctx']['error']}") from error
        if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
            close = difflib.get_close_matches(str(name), model.model_fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise wrong(
                f"the parameter {str(name)[:100]} is not known here{hint}", name, "unknown_parameter"
            ) from error
        sentence = explain(error)[0].removeprefix("the document: ")
        raise wrong(sentence[:1000], name) from error


def chat_question(request: ChatRequest, served: Served, adapter: str | None) -> Question:
    """Return the question of a chat. Raises Refusal."""
    try:
        text = served.tokenizer.apply_chat_template(
            [message.for_template() for message in request.messages],
            tools=request.tools if request.tools and request.tool_choice != "none" else None,
            add_generation_prompt=True,
            tokenize=False,
            **(request.chat_template_kwargs or {}),
        )
    except (TemplateError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise wrong(f"the model's chat template refuses these messages: {error}"[:1000], "messages") from error
    prompt = tuple(served.tokenizer(str(text), add_special_tokens=False, verbose=False)["input_ids"])
    room = served.limit - len(prompt)
    most = request.max_completion_tokens or request.max_tokens
    _check_length(served, len(prompt), most or 1, "messages")
    question = _question(request, served, adapter, (prompt,), most or room)
    schema = request.response_format.wanted if request.response_format else None
    return replace(
        question,
        form=None if schema is None else served.forms.form(schema),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        keeps_special=template_of(request, served.tokenizer) is not None,
    )


def completion_question(request: CompletionRequest, served: Served, adapter: str | None) -> Question:
    """Return the question of a completion. Raises Refusal."""
    prompts = tuple(
        _prompt(each, served) if isinstance(each, str) else _known(tuple(each), served) for each in request.prompt
    )
    most = USUAL_TOKENS if request.max_tokens is None else request.max_tokens
    for prompt in prompts:
        _check_length(served, len(prompt), most, "prompt")
    question = _question(request, served, adapter, prompts, most)
    scored = request.logprobs is not None and bool(request.echo)
    return replace(question, logprobs=request.logprobs, scores_prompt=scored)


def tokens_of_input(texts: list[str] | list[list[int]], served: Served) -> list[tuple[int, ...]]:
    """Return the tokens of what is to be embedded. Raises Refusal."""
    rows = [_prompt(each, served) if isinstance(each, str) else _known(tuple(each), served) for each in texts]
    for row in rows:
        _check_length(served, len(row), 0, "input")
    return rows


def _question(
    request: Generating, served: Served, adapter: str | None, prompts: tuple[tuple[int, ...], ...], most: int
) -> Question:
    own = served.sampling
    given = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": None if request.top_k is None else max(request.top_k, 0),
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    return Question(
        prompts=prompts,
        max_tokens=most,
        adapter=adapter,
        n=request.n or 1,
        sampling=Sampling(
            **{**vars(own), **{name: value for name, value in given.items() if value is not None}}
            | {"bias": _bias(request, served), "seed": request.seed}
        ),
        stops=tuple(request.stop or ()),
        ignores_end=request.ignore_eos,
    )


def _prompt(text: str, served: Served) -> tuple[int, ...]:
    """Return the tokens of a text; those of an empty one are the token that begins texts."""
    ids = tuple(served.tokenizer(text, verbose=False)["input_ids"])
    start = served.tokenizer.bos_token_id
    return ids or (served.tokenizer.eos_token_id if start is None else start,)


def _known(tokens: tuple[int, ...], served: Served) -> tuple[int, ...]:
    for token in tokens:
        if not 0 <= token < served.vocabulary:
            raise wrong(f"{token} is no token of this model: its ids go from 0 to {served.vocabulary - 1}", "prompt")
    return tokens


def _bias(request: Generating, served: Served) -> tuple[tuple[int, float], ...]:
    found = []
    for token, bias in (request.logit_bias or {}).items():
        if not token.isascii() or not token.isdigit() or int(token) >= served.vocabulary:
            raise wrong(f"logit_bias: {token[:40]!r} is no token id of this model", "logit_bias")
        found.append((int(token), bias))
    return tuple(found)


def _check_length(served: Served, tokens: int, most: int, param: str) -> None:
    if tokens + most > served.limit:
        more = f" and up to {most} of the answer" if most else ""
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"this model's maximum context length is {served.limit} tokens, and the request has {tokens}{more}; "
            "shorten it",
            param=param,
            code="context_length_exceeded",
        )
