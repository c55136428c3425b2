"""The whole circle on one machine: answers, feedback, training on it, evaluation, rollout, better answers."""

import json
import shlex
import sys
from pathlib import Path

from tests.circle import ASK_AND_CORRECT, CORRECTIONS, LEARNING, RIGHT, heldout, serving
from tests.local.home import free_port
from tests.local.test_thread import Workshop
from tests.tiny import make_tiny_model


def test_people_correct_the_model_and_it_learns(tmp_path: Path) -> None:
    texts = [f"{question} {answer} user assistant" for question, answer in CORRECTIONS.items()] * 4
    make_tiny_model(tmp_path / "models" / "base", texts)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corrections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in heldout()))
    (tmp_path / "ask.py").write_text(ASK_AND_CORRECT)
    workshop = Workshop(tmp_path, free_port())
    ask = shlex.join([sys.executable, "ask.py"])

    workshop.write("ModelServe", serving({"uri": "pvc://models/base"}, port=workshop.port))
    first = workshop.run("--then", ask)
    assert "right: 0" in first.stdout, first.stdout + first.stderr

    workshop.write("FineTuneJob", LEARNING)
    workshop.write("ModelServe", serving({"fineTuneJob": "bot"}, port=workshop.port))
    second = workshop.run("--then", ask)
    assert RIGHT in second.stdout, second.stdout + second.stderr
    revisions = workshop.status("mserve")["revisions"]
    assert [(each["number"], each["state"]) for each in revisions] == [(1, "Retired"), (2, "Promoted")]
    assert (revisions[1]["evaluations"][0]["name"], revisions[1]["evaluations"][0]["verdict"]) == (
        "bot-v2-s0",
        "Passed",
    )
