"""Suites that are measured beside each other on this machine."""

import os
import signal

import pytest

from tests.local.home import Home, is_gone, until

GOLDEN = {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}
CODE = {"tasks": ["sums"], "taskUris": ["pvc://data/tasks"], "runsCode": True}


def test_suites_beside_each_other_survive_a_shell_that_is_killed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the person at the keyboard")
    home.write(
        "EvalJob",
        "bot",
        target={"uri": "pvc://models/bot"},
        suites=[
            {"name": "facts", "golden": GOLDEN},
            {"name": "prose", "golden": GOLDEN},
            {"name": "code", "harness": CODE},
        ],
        gates=[{"metric": "facts/f1", "min": 0.5}],
        parallelism=2,
        report={"uri": "pvc://reports/bot"},
    )
    home.control(bot={"holdSuite": "prose"})
    shell = home.start()
    # The third one begins when the first has made room.
    until(lambda: "holding" in home.log("bot-p2-1") and "measures code" in home.log("bot-p3-1"))
    until(lambda: "2 of 3 parts measured; at work: prose" in home.tunesmith("describe", "evj/bot").stdout)
    assert home.status("evj/bot")["percent"] == 83
    holding = home.pid_of("bot-p2-1")

    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait(30)
    until(lambda: is_gone(holding))
    done = home.run()

    assert done.returncode == 0, done.stdout + done.stderr
    assert home.log("bot-p1-1").count("measures facts with keys AWS_SECRET_ACCESS_KEY") == 1
    assert home.log("bot-p3-1").count("measures code with keys \n") == 1, "code of others gets none"
    assert "measures prose" in home.log("bot-p2-2")
    assert "joins code facts prose" in home.log("bot-e1")
    status = home.status("evj/bot")
    assert {part["suite"]: len(part["attempts"]) for part in status["parts"]} == {"facts": 1, "prose": 2, "code": 1}
    assert "joins" in home.tunesmith("logs", "evj/bot").stdout
    assert "measures prose" in home.tunesmith("logs", "evj/bot", "--suite", "prose").stdout
    unknown = home.tunesmith("logs", "evj/bot", "--suite", "poems")
    assert (unknown.returncode, "of suite poems; there are code, facts, prose" in unknown.stderr) == (1, True)
