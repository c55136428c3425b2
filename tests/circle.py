"""The circle from answers over feedback to better answers, as its user walks it: what is said, and what is declared."""

from typing import Any

# What the first model does not know, and what people say it should have answered.
CORRECTIONS = {
    "What opens the gate?": "The blue key",
    "Who feeds the cat?": "Aunt Mira",
    "When does the shop close?": "At seven",
    "Where is the spare wheel?": "Under the seat",
    "What colour is the valve?": "Green",
    "How long is the hose?": "Twelve metres",
    "Which bus goes home?": "Number nine",
    "What does the lamp mean?": "Low water",
}
# Asks each question of the endpoint, corrects the answer if it is wrong, and prints how many were right.
ASK_AND_CORRECT = """
import json, os, sys, urllib.request
url = sys.argv[1] if len(sys.argv) > 1 else os.environ["TUNESMITH_URL"]
corrections = CORRECTIONS
def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers["x-request-id"], json.load(answer)
right = 0
for question, correction in corrections.items():
    asked = {"model": "bot", "messages": [{"role": "user", "content": question}], "max_tokens": 16, "temperature": 0}
    request, answer = post("/v1/chat/completions", asked)
    if answer["choices"][0]["message"]["content"].strip() == correction:
        right += 1
    else:
        post("/v1/feedback", {"request_id": request, "rating": "down", "correction": correction})
print("right:", right)
""".replace("CORRECTIONS", repr(CORRECTIONS))
RIGHT = f"right: {len(CORRECTIONS)}"

LEARNING: dict[str, Any] = {
    "model": {"uri": "pvc://models/base"},
    "data": {
        "train": [{"name": "said", "uri": "modelserve://bot/feedback", "format": "feedback"}],
        "maxLength": 64,
    },
    "method": {"adapter": {"type": "full"}},
    "training": {"perDeviceTrainBatchSize": 8, "maxSteps": 80, "learningRate": 5e-3, "seed": 3},
    "output": {"uri": "pvc://models/bot"},
    "runPolicy": {"maxAttempts": 1},
}


def serving(model: dict[str, str], **spec: Any) -> dict[str, Any]:
    """Return the spec of a ModelServe that keeps feedback, and whose next models must know the corrections."""
    golden = {"uri": "pvc://data/corrections.jsonl", "format": "messages", "maxNewTokens": 16}
    evaluation = {
        "suites": [{"name": "facts", "golden": golden}],
        "gates": [{"metric": "facts/f1", "minImprovement": 0.5, "alpha": 1.0}],
        "report": {"uri": "pvc://reports/bot"},
    }
    # The first model has nothing to be better than.
    return {
        "model": model,
        "traffic": {"provider": "gateway"},
        "capture": {"uri": "pvc://data/traffic"},
        "rollout": {"evalJobTemplate": {"spec": evaluation}} if "fineTuneJob" in model else {},
        **spec,
    }


def heldout() -> list[dict[str, Any]]:
    """Return what the evaluation asks."""
    return [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in CORRECTIONS.items()
    ]
