"""Rollouts on one machine, and the commands that people give them."""

import pytest

from tests.local.home import Home, until

CANARY = {"strategy": "canary", "steps": [{"weight": 20, "approval": True}, {"weight": 60, "approval": True}]}


def write(home: Home, model: str, **spec: object) -> None:
    asked = {"rollout": CANARY, "traffic": {"provider": "gateway"}, **spec}
    home.write("ModelServe", "bot", model={"uri": f"pvc://models/{model}"}, port=home.port, **asked)


def standing(home: Home) -> str:
    return home.tunesmith("get", "mserve/bot").stdout


@pytest.fixture
def canary(home: Home) -> Home:
    """A shell in which revision 2 waits at its first step."""
    write(home, "one")
    home.run("--until-ready")
    write(home, "two")
    home.start()
    until(lambda: "revision 2, step 1 of 2 (20%): waits for `tunesmith promote`" in standing(home))
    return home


def test_a_canary_goes_on_when_a_person_says_so(canary: Home) -> None:
    assert "step 1 of the rollout of revision 2 is approved" in canary.tunesmith("promote", "mserve/bot").stdout
    until(lambda: "step 2 of 2 (60%)" in standing(canary))
    canary.tunesmith("promote", "mserve/bot", "--full")
    until(lambda: f"revision 2 answers at http://127.0.0.1:{canary.port}" in standing(canary))

    done = canary.tunesmith("undo", "mserve/bot", "--to-revision", "9")
    assert (done.returncode, done.stderr) == (
        1,
        "error: revision 9 of bot is not remembered; there are: 1, 2\n",
    )
    assert (
        "revision 1 is rolled out again, and stays until the spec changes"
        in canary.tunesmith("undo", "mserve/bot").stdout
    )
    until(lambda: "revision 3, step 1 of 2 (20%)" in standing(canary))


def test_a_canary_is_taken_back_when_a_person_says_so(canary: Home) -> None:
    said = canary.tunesmith("abort", "mserve/bot").stdout
    assert said == "revision 2 is taken back; nothing is tried again until the spec changes\n"
    until(lambda: "revision 2 was taken back by `tunesmith abort`; revision 1 serves" in standing(canary))
    refused = canary.tunesmith("promote", "mserve/bot")
    assert (refused.returncode, refused.stderr) == (1, "error: no revision of bot is rolled out now\n")


def test_without_a_gateway_a_canary_is_refused_on_one_machine(home: Home) -> None:
    write(home, "one", traffic={"provider": "replicas"})
    done = home.run("--until-ready")
    assert done.returncode == 1
    assert "on one machine two revisions cannot share a port: for canary set traffic.provider to gateway" in done.stdout


def test_on_one_port_the_next_revision_starts_when_the_old_one_has_stopped(home: Home) -> None:
    write(home, "one", traffic={"provider": "replicas"}, rollout={})
    home.run("--until-ready")
    write(home, "two", traffic={"provider": "replicas"}, rollout={})
    done = home.run("--until-ready")
    assert done.returncode == 0
    assert f"revision 2 answers at http://127.0.0.1:{home.port}" in done.stdout
