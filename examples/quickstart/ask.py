"""Asks an OpenAI-compatible endpoint a question.

    python examples/quickstart/ask.py [URL] [QUESTION] [--expect TEXT]

URL is the endpoint without /v1; $TUNESMITH_URL if it is left out. Without a question it asks one that the support bot
was never trained on, and expects the right answer.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

QUESTION = "How do I do a factory reset of the Rill?"
EXPECTED = "Hold the blue button for 12 seconds"

# A small model on a busy machine without a GPU takes its time.
TIMEOUT_SECONDS = 120


def main() -> int:
    """Ask, print question and answer, and return 1 when there is no answer or not the expected one."""
    parser = argparse.ArgumentParser(description="Ask an OpenAI-compatible endpoint a question.")
    parser.add_argument("url", nargs="?", default=os.environ.get("TUNESMITH_URL"), help="endpoint, without /v1")
    parser.add_argument("question", nargs="?", help="default: one of the quickstart's held-out questions")
    parser.add_argument("--expect", metavar="TEXT", help="fail unless the answer contains this")
    arguments = parser.parse_args()
    if not arguments.url:
        parser.error("name the endpoint's URL, such as http://127.0.0.1:8000, or set $TUNESMITH_URL")
    question = arguments.question or QUESTION
    expected = arguments.expect or (None if arguments.question else EXPECTED)
    try:
        answer = ask(arguments.url.rstrip("/"), question)
    except urllib.error.HTTPError as error:
        return _fail(f"{error.url} answered {error.code}: {error.read().decode(errors='replace').strip()}")
    except (OSError, ValueError) as error:
        return _fail(f"{arguments.url} does not answer as an OpenAI-compatible endpoint: {error}")
    print(f"Q: {question}\nA: {answer}")
    if expected and expected not in answer:
        return _fail(f"the answer does not contain {expected!r}")
    return 0


def ask(url: str, question: str) -> str:
    """Return the answer of the first model that the endpoint lists, without sampling.

    Raises OSError when nobody answers and ValueError when the answer is not that of such an endpoint.
    """
    try:
        model = _call(f"{url}/v1/models")["data"][0]["id"]
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "messages": messages, "max_tokens": 64, "temperature": 0}
        return str(_call(f"{url}/v1/chat/completions", body)["choices"][0]["message"]["content"]).strip()
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"its answer has no {error}") from error


def _call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)


def _fail(sentence: str) -> int:
    print(f"ask.py: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
