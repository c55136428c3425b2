"""One answer at a time, by transformers' own generate: for models whose past is not kept in the plain way."""

from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from tunesmith_runtime.serve.engine.answers import Answer, Prompt
from tunesmith_runtime.serve.engine.failing import failing
from tunesmith_runtime.serve.engine.questions import Score
from tunesmith_runtime.serve.engine.sampling import choose, score
from tunesmith_runtime.serve.engine.scheduler import Waiting
from tunesmith_runtime.serve.engine.served import Served


class Alone:
    """Writes whole answers, one after the other."""

    # What it begins it ends in the same turn.
    busy = False

    def __init__(self, served: Served) -> None:
        self._served = served

    def uses(self, adapter: str) -> bool:
        """Return whether answers of an adapter are under way."""
        return False

    def turn(self, waiting: Waiting) -> int:
        """Write the answers to one prompt; return how many they were."""
        prompt = waiting.next()
        if prompt is None:
            return 0
        waiting.take(prompt)
        with failing(prompt.answers):
            self._served.adapters.use(prompt.asked.question.adapter)
            self._answer(prompt)
        return len(prompt.answers)

    def _answer(self, prompt: Prompt) -> None:
        model = self._served.model
        ids = torch.tensor([prompt.tokens], device=model.device)
        scores = self._scores(prompt, ids) if prompt.asked.question.scores_prompt else ()
        for answer in prompt.answers:
            answer.prompt_scores = scores
            if answer.over:
                continue
            if not answer.left:
                answer.close()
                continue
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=GenerationConfig(
                    max_new_tokens=answer.left, do_sample=False, pad_token_id=self._served.tokenizer.pad_token_id
                ),
                logits_processor=LogitsProcessorList([_Taking(answer)]),
                stopping_criteria=StoppingCriteriaList([_Over(answer)]),
            )

    def _scores(self, prompt: Prompt, ids: torch.Tensor) -> tuple[Score, ...]:
        logits = self._served.model(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :]
        first = Score(prompt.tokens[0])
        if len(prompt.tokens) == 1:
            return (first,)
        return (first, *score(logits[:-1], prompt.tokens[1:], prompt.asked.question.logprobs or 0))


class _Taking(LogitsProcessor):
    """Gives each token to the answer, which has the choice."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        (token,) = choose(scores, [self._answer.sampler])
        top = self._answer.asked.question.logprobs
        self._answer.take(token, None if top is None else score(scores, [token], top)[0])
        only = torch.full_like(scores, -torch.inf)
        only[0, token] = 0
        return only


class _Over(StoppingCriteria):
    """Ends with the answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._answer.over, dtype=torch.bool, device=input_ids.device)
