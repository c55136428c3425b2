"""lm-eval asks a model of this process."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch.nn.functional import log_softmax
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.evaluate.harness.asking import Asked
from tunesmith_runtime.evaluate.likelihood import scored_logits
from tunesmith_runtime.evaluate.local_model import LocalModel

# A request for a log-likelihood as HFLM makes it: texts for its cache, tokens of the context, tokens to score.
_Pair = tuple[Any, list[int], list[int]]


class LocalHarness(HFLM):
    """HFLM, which says what the tokens of a request are, with our batches, and nothing asked twice."""

    def __init__(self, subject: LocalModel, asked: Asked) -> None:
        """Take the model, and what counts the samples that are done."""
        logger = logging.getLogger("lm_eval.models.huggingface")
        level = logger.level
        logger.setLevel(logging.ERROR)  # it warns of models that are loaded already
        try:
            super().__init__(pretrained=subject.model, tokenizer=subject.tokenizer, batch_size=1)
        finally:
            logger.setLevel(level)
        self._subject = subject
        self._asked = asked

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Return how likely each continuation is, in nats, and whether the model itself would go on so."""
        for request in requests:
            if not request.args[1]:
                raise DataError(
                    f"task {request.task_name}: sample {(request.doc_id or 0) + 1} has an empty answer, of which no "
                    "model has a likelihood; give it a text, or leave the sample out"
                )
        with self._asked.of(requests):
            return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Return how likely each text is, in nats, read in windows as long as the model can read."""
        pieces: list[_Pair] = []
        of_request: list[int] = []
        for index, request in enumerate(requests):
            (text,) = request.args
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
            pieces += [(None, *make_disjoint_window(window)) for window in windows]
            of_request += [index] * (len(pieces) - len(of_request))
        totals = [0.0] * len(requests)
        with self._asked.of(requests, of_request):
            for index, (found, _) in zip(of_request, self._loglikelihood_tokens(pieces), strict=True):
                totals[index] += found
        return totals

    @torch.no_grad()
    def _loglikelihood_tokens(self, requests: list[_Pair], **_: Any) -> list[tuple[float, bool]]:
        subject, known = self._subject, self._subject.known
        if any(not 0 < len(scored) <= self.max_length for _, _, scored in requests):
            raise DataError(f"an answer has no tokens, or more than the {self.max_length} that the model can read")
        # Whatever does not fit is cut off on the left; the last token is only predicted.
        inputs = [(context + scored)[-(self.max_length + 1) :][:-1] for _, context, scored in requests]
        keys = [
            known.key("loglikelihood", given, scored) for given, (_, _, scored) in zip(inputs, requests, strict=True)
        ]
        members: dict[tuple[int, ...], dict[str, list[int]]] = {}
        for index, key in enumerate(keys):
            if known.get(key) is None:
                members.setdefault(tuple(inputs[index]), {})[key] = requests[index][2]
        # Answers of one token to one question have the same input: it is read once.
        rows = list(members)
        done = self._asked.counter(keys)
        done(key for key in keys if known.get(key) is not None)

        def work(batch: list[int]) -> None:
            found: dict[str, dict[str, Any]] = {}
            places = [
                range(len(rows[index]) - max(map(len, members[rows[index]].values())), len(rows[index]))
                for index in batch
            ]
            for index, logits in zip(
                batch, scored_logits(subject.model, [rows[index] for index in batch], places), strict=True
            ):
                row = members[rows[index]]
                every = log_softmax(logits.float(), dim=-1)
                greedy = every.argmax(dim=-1)
                for key, scored in row.items():
                    targets = torch.tensor(scored, device=every.device)
                    chosen = every[-len(scored) :].gather(1, targets[:, None])
                    found[key] = {
                        "logprob": float(chosen.double().sum()),
                        "greedy": bool((greedy[-len(scored) :] == targets).all()),
                    }
            known.add(found)
            done(found)

        subject.batching.run([len(row) for row in rows], work)
        entries = [known.get(key) or {} for key in keys]
        return [(float(entry["logprob"]), bool(entry["greedy"])) for entry in entries]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Return how the model goes on after each text, up to what it is to stop at."""
        known = self._subject.known
        end = self.tok_decode([self.eot_token_id], skip_special_tokens=False)
        drawn: Counter[str] = Counter()
        keys: list[str] = []
        left: dict[str, tuple[list[int], dict[str, Any], str]] = {}
        for request in requests:
            options = normalize_gen_kwargs(request.args[1], self.max_gen_toks)
            room = self.max_length - options["max_gen_toks"]
            if room <= 0:
                raise ConfigError(
                    f"task {request.task_name} lets the model write {options['max_gen_toks']} tokens, and it can read "
                    f"no more than {self.max_length}; lower generation_kwargs.max_gen_toks of the task"
                )
            tokens = self._prompt(request.args[0])[-room:]
            options["until"] = handle_stop_sequences(options["until"], eos=end)
            same = known.key("generate until", tokens, options)
            # A text that is to be drawn several times is another one each time.
            key = known.key("generate until", tokens, options, drawn[same]) if options["do_sample"] else same
            drawn[same] += 1
            keys.append(key)
            if known.get(key) is None:
                left[key] = (tokens, options, known.key(options))
        with self._asked.of(requests):
            done = self._asked.counter(keys)
            done(key for key in keys if known.get(key) is not None)
            for kind in dict.fromkeys(each for _, _, each in left.values()):
                rows = {key: (tokens, options) for key, (tokens, options, each) in left.items() if each == kind}
                self._generate(rows, done)
        return [str((known.get(key) or {})["answer"]) for key in keys]

    def _prompt(self, text: str) -> list[int]:
        # Not tok_encode, which looks for the prefix token: HFLM generates from what it encodes in batches.
        tokens, _ = self.tok_batch_encode([text])
        return list(tokens[0].tolist()) or [self.prefix_token_id]

    @torch.no_grad()
    def _generate(
        self, rows: Mapping[str, tuple[list[int], dict[str, Any]]], done: Callable[[Sequence[str]], None]
    ) -> None:
        """Generate from prompts of one configuration, and keep what comes by the prompts' keys."""
        subject, tokenizer = self._subject, self._subject.tokenizer
        keys = list(rows)
        prompts = [tokens for tokens, _ in rows.values()]
        options = dict(next(iter(rows.values()))[1])
        until, most = options.pop("until"), options.pop("max_gen_toks")
        if not options.get("do_sample"):
            options.pop("temperature", None)

        def work(batch: list[int]) -> None:
            width = max(len(prompts[index]) for index in batch)
            ids = torch.full((len(batch), width), tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, index in enumerate(batch):
                ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
                mask[row, width - len(prompts[index]) :] = 1
            with torch.random.fork_rng():
                torch.manual_seed(int(keys[batch[0]][:8], 16))
                try:
                    output = subject.model.generate(
                        input_ids=ids.to(self.device),
                        attention_mask=mask.to(self.device),
                        max_new_tokens=most,
                        pad_token_id=tokenizer.pad_token_id,
                        stopping_criteria=StoppingCriteriaList([_Stop(tokenizer, until, width)]),
                        **options,
                    )
                except (TypeError, ValueError) as error:
                    raise ConfigError(f"generation_kwargs of a task cannot be used: {error}") from error
            texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
            found = {
                keys[index]: {"answer": postprocess_generated_text(text, stop=until, think_end_token=None)}
                for index, text in zip(batch, texts, strict=True)
            }
            subject.known.add(found)
            done(list(found))

        subject.batching.run([len(prompt) + most for prompt in prompts], work, answered=True)


class _Stop(StoppingCriteria):
    """Ends each row of a batch on its own once its text holds one of several strings.

    lm-eval's own criterion lets all rows go on until the last one has ended. What follows a string is cut off either
    way, so that this one gives what lm-eval gives for a row alone.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str], start: int) -> None:
        self._tokenizer = tokenizer
        self._strings = [each for each in strings if each]
        self._start = start
        self._done: torch.Tensor | None = None
        longest = max((len(tokenizer.encode(each, add_special_tokens=False)) for each in self._strings), default=0)
        # A string may be written in other tokens than it is encoded in.
        self._last = longest + 2
        # By this attribute transformers knows that rows which have ended are to be padded.
        self.eos_token_id = torch.tensor([tokenizer.eos_token_id])

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return for each row whether it has ended."""
        if self._done is None:
            self._done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        rows = (~self._done).nonzero()[:, 0]
        texts = self._tokenizer.batch_decode(input_ids[rows, self._start :][:, -self._last :])
        for row, text in zip(rows.tolist(), texts, strict=True):
            self._done[row] = any(each in text for each in self._strings)
        return self._done
