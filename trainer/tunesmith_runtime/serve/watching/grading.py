"""Answers are graded by a judge, or by a classifier, behind an endpoint."""

import json
import urllib.request
from collections import deque
from contextlib import ExitStack
from typing import Any

from tunesmith_api.serving.watch import FEWEST_SCORES, QualityReport, Watcher
from tunesmith_api.suites.judge import Criterion, Scale
from tunesmith_runtime.endpoint import (
    Caller,
    Endpoint,
    EndpointRefusedError,
    EndpointUnavailableError,
    caller_of,
    connected,
)
from tunesmith_runtime.evaluate.judge_questions import grading, read_score

_SCALE = Scale()
_FIELD = "spec.watch.watcher.endpoint"
_TOKENS = 16


class Grader:
    """Grades answers one at a time, and remembers the last scores of the revision that serves."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._scores: deque[float] = deque(maxlen=watcher.window_answers)
        self._caller = caller_of(watcher.endpoint, "the judge", _FIELD)
        self._criterion = Criterion(name="quality", description=watcher.rubric)
        self._graded = 0
        self._revision = 0
        self._step = max(1, watcher.window_answers // 5)
        self._endpoint: Endpoint | None = None
        self._open = ExitStack()

    def grade(self, prompt: str, answer: str, revision: int) -> QualityReport | None:
        """Grade an answer; return the mean where there is news.

        There is none while there are few scores, when this one could not be read, and within each fifth of a window,
        because whoever reads the news writes them down.
        Raises RunError when the endpoint does not answer, and TooLongError.
        """
        score = self._judged(prompt, answer) if self._watcher.good_label is None else self._classified(answer)
        if score is None:
            return None
        if revision != self._revision:
            self._scores.clear()
            self._revision, self._graded = revision, 0
        self._scores.append(score)
        self._graded += 1
        if self._graded < FEWEST_SCORES or (self._graded > FEWEST_SCORES and self._graded % self._step):
            return None
        return QualityReport(score=round(sum(self._scores) / len(self._scores), 4), answers=len(self._scores))

    def _judged(self, prompt: str, answer: str) -> float | None:
        if self._endpoint is None:
            self._endpoint = self._open.enter_context(connected(self._watcher.endpoint, self._caller))
        question = grading(self._criterion, _SCALE, prompt, (), answer)
        reply = self._endpoint.chat([{"role": "user", "content": question}], temperature=0.0, max_tokens=_TOKENS)
        score = read_score(reply, _SCALE)
        return None if score is None else (score - _SCALE.min) / (_SCALE.max - _SCALE.min)

    def _classified(self, answer: str) -> float:
        spec = self._watcher.endpoint
        url = f"{spec.url.rstrip('/').removesuffix('/v1')}/classify"
        headers = {"Content-Type": "application/json", **_authorization(self._caller)}
        body = json.dumps({"model": spec.model, "input": answer}).encode()
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - the API takes http and https alone
        try:
            with urllib.request.urlopen(request, timeout=spec.timeout_seconds) as found:  # noqa: S310
                said: Any = json.load(found)["data"][0]
            label, likely = str(said["label"]), float(max(said["probs"]))
        except OSError as error:
            raise EndpointUnavailableError(f"the classifier cannot be reached at {url}: {error}") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EndpointRefusedError(f"{_FIELD}: {url} answers, but not as vLLM's /classify does") from error
        return min(1.0, max(0.0, likely if label == self._watcher.good_label else 1 - likely))


def _authorization(caller: Caller) -> dict[str, str]:
    return {"Authorization": f"Bearer {caller.key}"} if caller.key else {}
