"""Manifests run on this machine, from the command line."""

import json
import os
import shlex
import signal
import socket
import subprocess
from dataclasses import replace

import pytest

from tests.local.home import Home, is_gone, until


def test_three_manifests_become_a_server_that_answers(home: Home) -> None:
    home.write_thread()

    done = home.run("--until-ready")

    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["finetunejob/bot", "Succeeded", "loss", "0.250"] in [row[:4] for row in table]
    assert ["evaljob/bot", "Succeeded", "Passed,", "facts/f1"] in [row[:4] for row in table]
    assert ["modelserve/bot", "Ready", f"http://127.0.0.1:{home.port}"] in [row[:3] for row in table]
    assert "the model is published at pvc://models/bot" in done.stdout
    assert "facts/f1 is 0.9 and meets min 0.5; minImprovement 0.25 over the baseline's 0.125" in done.stdout
    assert is_gone(home.pid_of("bot-v1"))


def test_run_again_nothing_is_trained_or_evaluated_again(home: Home) -> None:
    home.write_thread()
    home.run("--until-ready")
    again = home.run("--until-ready")

    assert again.returncode == 0
    assert "finetunejob/bot unchanged" in again.stdout
    assert home.log("bot-a1").count("attempt 1") == home.log("bot-e1").count("attempt 1") == 1
    assert home.log("bot-v1").count("attempt 1") == 2


def test_the_command_line_that_is_shown_gets_an_answer(home: Home) -> None:
    home.write_thread()
    shell = home.start()
    until(home.url_is_up)
    assert shell.stdout is not None
    lines = iter(shell.stdout.readline, "")
    command = next(line for line in lines if "curl" in line)
    assert next(line for line in lines if "until Ctrl-C" in line)

    answer = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)

    assert json.loads(answer.stdout) == {"model": "bot", "choices": [{"message": {"content": "fine"}}]}
    server = home.pid_of("bot-v1")
    shell.send_signal(signal.SIGINT)
    assert shell.wait(30) == 0
    assert is_gone(server)
    assert "modelserve/bot   Stopped" in home.tunesmith("get").stdout


def test_then_runs_a_command_with_the_servers_address_and_returns_its_exit_code(home: Home) -> None:
    home.write_thread()

    done = home.run("--then", "echo asked $TUNESMITH_URL; exit 7")

    assert done.returncode == 7
    assert f"asked http://127.0.0.1:{home.port}" in done.stdout
    assert is_gone(home.pid_of("bot-v1"))


def test_then_without_a_server_runs_nothing_and_says_so(home: Home) -> None:
    home.write_job()
    done = home.run("--then", "echo asked")
    assert done.returncode == 1
    assert "no server is ready, so the command was not run: echo asked" in done.stdout


def test_a_missed_gate_keeps_the_server_waiting(home: Home) -> None:
    home.write_thread()
    home.control(bot={"f1": 0.375})

    done = home.run()

    assert done.returncode == 1
    assert "facts/f1 is 0.375 and misses min 0.5, short by 0.125" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("modelserve/bot ") and "verdict" in line)
    assert row.split()[1] == "Pending"
    assert "EvalJob bot gave the verdict Failed: facts/f1 is 0.375" in row
    assert home.log("bot-v1") == ""


def test_a_failure_that_trying_again_cannot_mend_ends_the_run_with_its_sentence(home: Home) -> None:
    home.write_thread()
    sentence = "pvc://data/train.jsonl line 3: not JSON"
    home.control(bot={"failure": {"reason": "DataInvalid", "message": sentence, "retryable": False}})

    done = home.run()

    assert done.returncode == 1
    assert f"FineTuneJob bot: DataInvalid: {sentence}" in done.stdout
    assert f"FineTuneJob bot has failed: {sentence}" in done.stdout


def test_killed_in_mid_training_the_next_run_goes_on_from_the_checkpoint(home: Home) -> None:
    home.write_thread()
    home.control(bot={"steps": 6, "holdAt": 3})
    shell = home.start("--until-ready")
    until(lambda: "holding" in home.log("bot-a1"))
    trainer = home.pid_of("bot-a1")

    os.killpg(shell.pid, signal.SIGKILL)

    shell.wait(30)
    until(lambda: is_gone(trainer))
    assert "finetunejob/bot  Stopped" in home.tunesmith("get").stdout
    assert home.run("--until-ready").returncode == 0
    first, second = home.status("ftj/bot")["attempts"]
    assert (first["reason"], first["toStep"]) == ("Interrupted", 3)
    assert (second["reason"], second["fromStep"], second["toStep"]) == ("Completed", 3, 6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_stops_what_it_started_and_the_next_run_goes_on(home: Home, number: signal.Signals) -> None:
    home.write_thread()
    home.control(bot={"steps": 6, "holdAt": 3})
    shell = home.start("--until-ready")
    until(lambda: "holding" in home.log("bot-a1"))
    trainer = home.pid_of("bot-a1")

    shell.send_signal(number)
    said, _ = shell.communicate(timeout=30)

    assert shell.returncode == 130
    assert said.endswith("stopped; run the same command to go on\n")
    assert is_gone(trainer)
    assert home.run("--until-ready").returncode == 0
    assert [each["reason"] for each in home.status("ftj/bot")["attempts"]] == ["Interrupted", "Completed"]


def test_a_second_interrupt_kills_what_does_not_listen(home: Home) -> None:
    home.write_job()
    home.control(bot={"holdAt": 1, "deaf": True})
    shell = home.start()
    until(lambda: "holding" in home.log("bot-a1"))
    trainer = home.pid_of("bot-a1")
    assert shell.stdout is not None

    shell.send_signal(signal.SIGINT)
    assert any("stopping bot-a1" in line for line in iter(shell.stdout.readline, ""))
    shell.send_signal(signal.SIGINT)

    assert shell.wait(30) == 130
    assert is_gone(trainer)


def test_a_second_shell_on_the_same_state_says_so_and_leaves(home: Home) -> None:
    home.write_job()
    home.control(bot={"holdAt": 1})
    shell = home.start()
    until(lambda: "holding" in home.log("bot-a1"))

    second = home.run()
    deletion = home.tunesmith("delete", "ftj/bot")

    assert (second.returncode, deletion.returncode) == (1, 1)
    sentence = f"error: another tunesmith (pid {shell.pid}) uses .tunesmith; wait for it or pass --state\n"
    assert second.stderr == deletion.stderr == sentence
    assert "finetunejob/bot  Running" in home.tunesmith("get").stdout
    assert "holding" in home.tunesmith("logs", "ftj/bot").stdout


def test_a_port_that_is_taken_is_said_before_anything_starts(home: Home) -> None:
    home.write_thread()
    with socket.socket() as other:
        other.bind(("127.0.0.1", home.port))
        other.listen()
        done = home.run()

    assert done.returncode == 1
    sentence = f"port {home.port} of ModelServe bot is taken by another program; stop it or set spec.port"
    assert done.stderr == f"error: {sentence}\n"
    assert home.log("bot-a1") == ""


def test_two_servers_on_one_port_are_refused(home: Home) -> None:
    home.write("ModelServe", "a", model={"uri": "pvc://models/base"}, port=home.port)
    home.write("ModelServe", "b", model={"uri": "pvc://models/base"}, port=home.port)
    done = home.run()
    assert done.returncode == 1
    assert f"ModelServe a and ModelServe b both ask for port {home.port}" in done.stderr


def test_a_reference_to_nothing_is_waited_for_and_said(home: Home) -> None:
    home.write("ModelServe", "bot", model={"fineTuneJob": "missing"}, port=home.port)
    done = home.run()
    assert done.returncode == 1
    assert "waits for FineTuneJob missing, which does not exist; create it" in done.stdout


def test_a_cycle_of_references_is_refused(home: Home) -> None:
    home.write_job("a", "finetunejob://b")
    home.write_job("b", "finetunejob://a")
    done = home.run()
    assert done.returncode == 1
    assert "cycle" in done.stderr
    assert "a -> b -> a" in done.stderr


def test_what_a_started_job_is_made_from_may_not_change(home: Home) -> None:
    home.write_job()
    home.run()
    home.write_job(learningRate=0.5)

    done = home.run()

    assert done.returncode == 1
    assert "FineTuneJob bot: spec.training may not change once it has started" in done.stderr
    assert "tunesmith delete ftj/bot" in done.stderr


def test_deleted_and_applied_again_it_starts_afresh(home: Home) -> None:
    home.write_job()
    home.run()
    deletion = home.tunesmith("delete", "ftj/bot")
    home.write_job(learningRate=0.5)

    done = home.run()

    assert "left on volumes: pvc://models/bot, pvc://models/bot-checkpoints" in deletion.stdout
    assert done.returncode == 0
    assert home.status("ftj/bot")["attempts"][0]["fromStep"] == 0


def test_a_volume_is_the_folder_that_is_given(home: Home) -> None:
    home.write_job()
    (home.folder / "mine").mkdir()
    assert home.run("--volume", "models=mine").returncode == 0
    assert (home.folder / "mine" / "bot").is_dir()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("models=none", "--volume models=none: there is no such folder; make it first"),
        ("models", "--volume models: write it as CLAIM=FOLDER"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(home: Home, given: str, sentence: str) -> None:
    home.write_job()
    done = home.run("--volume", given)
    assert done.returncode == 1
    assert done.stderr == f"error: {sentence}\n"


def test_a_runtime_that_is_no_program_is_refused(home: Home) -> None:
    home.write_job()
    done = replace(home, runtime="no-such-program -m x").run()
    assert done.returncode == 1
    assert "$TUNESMITH_RUNTIME (no-such-program -m x) does not begin with a program of this machine" in done.stderr


def test_helpers_of_a_run_end_with_it(home: Home) -> None:
    home.write_job()
    script = home.folder / "with-helper.sh"
    # The helper leaves the process group, as the workers of some libraries do.
    script.write_text(f"setsid sleep 600 & echo $! > {home.folder}/helper.pid\nexec {home.runtime}\n")

    assert replace(home, runtime=f"sh {script}").run().returncode == 0

    assert is_gone(int((home.folder / "helper.pid").read_text()))


def test_each_checkpoint_is_evaluated_and_the_last_verdict_is_the_job_s(home: Home) -> None:
    home.write_job()
    home.write(
        "EvalJob",
        "watch",
        target={"fineTuneJob": "bot", "checkpoint": "each"},
        suites=[{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}}],
        gates=[{"metric": "facts/f1", "min": 0.5}],
        report={"uri": "pvc://reports/watch"},
    )

    done = home.run()

    assert done.returncode == 0, done.stdout + done.stderr
    status = home.status("evj/watch")
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Passed")
    last = status["runs"][-1]
    assert (last["checkpoint"], last["verdict"]) == (4, "Passed")
    assert last["report"] == f"pvc://reports/watch/{last['name']}/report.html"
    evaluated = home.status(f"evj/{last['name']}")["target"]["uri"]
    assert evaluated.startswith("pvc://models/bot-checkpoints/")
    assert evaluated.endswith("/checkpoint-4")
