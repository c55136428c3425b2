"""lm-eval asks a model behind an endpoint."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from tunesmith_runtime.endpoint import TooLongError
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.asking import ask_all
from tunesmith_runtime.evaluate.endpoint_model import EndpointModel
from tunesmith_runtime.evaluate.harness.asking import Asked
from tunesmith_runtime.storage.journal import Entry

# What lm-eval's own clients ask for when a task does not say.
_MOST_TOKENS = 256
# As many as OpenAI's API takes; text after any other is cut off all the same.
_STOPS = 4


class EndpointHarness(LM):
    """Chat completions as a model of lm-eval. It has no likelihoods."""

    tokenizer_name = "endpoint"

    def __init__(self, subject: EndpointModel, asked: Asked) -> None:
        """Take the endpoint, and what counts the samples that are done."""
        super().__init__()
        self._subject = subject
        self._asked = asked

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return turns as text: the endpoint has the template."""
        return json.dumps(chat_history, ensure_ascii=False)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return what the model answers, up to what it is to stop at."""
        known = self._subject.known
        drawn: Counter[str] = Counter()
        keys: list[str] = []
        asks: dict[str, Callable[[], Entry]] = {}
        for request in requests:
            turns, options = json.loads(request.args[0]), normalize_gen_kwargs(request.args[1], _MOST_TOKENS)
            same = known.key("generate until", turns, options)
            number = drawn[same] if options["do_sample"] else 0
            drawn[same] += 1
            keys.append(known.key("generate until", turns, options, number))
            if known.get(keys[-1]) is None:
                called = f"sample {(request.doc_id or 0) + 1} of task {request.task_name}"
                asks[keys[-1]] = partial(self._ask, turns, options, number, called)
        with self._asked.of(requests):
            done = self._asked.counter(keys)
            done(key for key in keys if key not in asks)
            ask_all(asks, known, self._subject.endpoint.spec.max_concurrency, lambda _: None, lambda key: done([key]))
        return [str((known.get(key) or {})["answer"]) for key in keys]

    def _ask(self, turns: list[dict[str, str]], options: Mapping[str, Any], seed: int, called: str) -> Entry:
        until = handle_stop_sequences(list(options["until"]), eos=None)
        further: dict[str, Any] = {"max_tokens": options["max_gen_toks"], "temperature": 0.0}
        if options["do_sample"]:
            further |= {"temperature": options.get("temperature", 1.0), "seed": seed}
            further |= {"top_p": options["top_p"]} if "top_p" in options else {}
        if until:
            further["stop"] = until[:_STOPS]
        try:
            answer = self._subject.endpoint.chat(turns, **further)
        except TooLongError as error:
            raise DataError(f"{called} is longer than the model can read: {error}. Lower numFewshot") from error
        return {"answer": postprocess_generated_text(answer, stop=until, think_end_token=None)}

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Raise: tasks that ask for it are refused before."""
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Raise: tasks that ask for it are refused before."""
        raise NotImplementedError
