"""What the command line shows of resources, and how it refuses."""

import json
from pathlib import Path

import yaml

from tests.local.home import Home, until


def test_get_lists_what_there_is(home: Home) -> None:
    home.write_thread()
    home.run("--until-ready")

    listing = home.tunesmith("get").stdout.splitlines()

    assert listing[0].split() == ["NAME", "PHASE", "RESULT", "MESSAGE"]
    assert [line.split()[0] for line in listing[1:]] == ["finetunejob/bot", "evaljob/bot", "modelserve/bot"]
    assert "evaljob/bot" in home.tunesmith("get", "EvalJobs").stdout
    assert home.tunesmith("get", "MSERVE/bot").stdout.count("\n") == 2
    wide = home.tunesmith("get", "-o", "wide").stdout.splitlines()
    assert wide[1].split()[:6] == ["default", "finetunejob/bot", "Succeeded", "4/4", "1", "1"]
    as_json = json.loads(home.tunesmith("get", "-o", "json").stdout)
    assert [each["kind"] for each in as_json["items"]] == ["FineTuneJob", "EvalJob", "ModelServe"]
    as_yaml = yaml.safe_load(home.tunesmith("get", "ftj/bot", "-o", "yaml").stdout)
    assert as_yaml == as_json["items"][0]


def test_describe_tells_the_whole_story(home: Home) -> None:
    home.write_thread()
    home.run("--until-ready")

    said = home.tunesmith("describe", "evj/bot").stdout

    assert said.startswith("EvalJob default/bot, generation 1, uid ")
    assert "fineTuneJob: bot" in said
    assert "Completed" in said
    metric = next(line for line in said.splitlines() if "facts/f1" in line and "+0.775" in line)
    assert metric.split()[:4] == ["facts/f1", "0.125", "0.9", "+0.775"]
    assert "passed: facts/f1 is 0.9 and meets" in metric
    assert ".tunesmith/runs/default/bot-e1" in said


def test_logs_are_those_of_the_last_attempt_unless_another_is_asked_for(home: Home) -> None:
    home.write_job()
    home.run()
    assert home.tunesmith("logs", "ftj/bot").stdout == "attempt 1 of bot\n"
    assert home.tunesmith("logs", "ftj/bot", "--attempt", "1", "--follow").stdout == "attempt 1 of bot\n"
    other = home.tunesmith("logs", "ftj/bot", "--attempt", "2")
    assert other.returncode == 1
    assert other.stderr == "error: FineTuneJob bot has no log of attempt 2; there is 1\n"


def test_what_is_not_there_is_said_with_what_is(home: Home) -> None:
    home.write_job()
    home.run()
    refusals = {
        ("get", "ftj/bto"): "no FineTuneJob bto in namespace default; there is bot",
        ("describe", "evj/bot"): "no EvalJob bot in namespace default; there is none in .tunesmith",
        ("logs", "job/bot"): "'job' is not a kind; use FineTuneJob (ftj), EvalJob (evj), ModelServe (mserve)",
        ("delete", "bot"): "'bot' is not KIND/NAME, such as ftj/my-bot",
    }
    for call, sentence in refusals.items():
        done = home.tunesmith(*call)
        assert (done.returncode, done.stderr) == (1, f"error: {sentence}\n")


def test_report_names_the_page_of_a_run_and_of_an_evaluation(home: Home) -> None:
    home.write_thread()
    home.run("--until-ready")
    volumes = home.folder / ".tunesmith" / "volumes"

    pages = [home.tunesmith("report", what, "--no-open").stdout.strip() for what in ("ftj/bot", "evj/bot")]

    assert pages == [str(volumes / "models/bot/training.html"), str(volumes / "reports/bot/report.html")]
    refused = home.tunesmith("report", "mserve/bot")
    assert refused.returncode == 1
    assert refused.stderr == "error: a ModelServe has no page; there is one of each FineTuneJob and EvalJob\n"
    (volumes / "reports/bot/report.html").unlink()
    assert home.tunesmith("report", "evj/bot").stderr.endswith("reports/bot/report.html is gone\n")


def test_report_of_a_run_that_has_published_nothing_shows_what_it_has_done(home: Home) -> None:
    home.write_job()
    nothing = home.tunesmith("report", "ftj/bot")
    assert nothing.stderr == "error: no FineTuneJob bot in namespace default; there is none in .tunesmith\n"
    home.control(bot={"failure": {"reason": "RunFailed", "message": "no", "retryable": False}})
    home.run()
    failed = home.tunesmith("report", "ftj/bot")
    assert failed.stderr == "error: FineTuneJob bot has no page yet: no step has been reported on this machine\n"
    home.tunesmith("delete", "ftj/bot")
    home.control(bot={"steps": 6, "holdAt": 3})
    shell = home.start()
    until(lambda: "holding" in home.log("bot-a1"))

    page = home.tunesmith("report", "ftj/bot", "--no-open").stdout.strip()

    assert page == str(home.folder / ".tunesmith/runs/default/bot-a1/training.html")
    assert Path(page).read_text() == "3 steps"
    shell.terminate()
    shell.wait(30)


def test_delete_forgets_a_resource_and_leaves_its_model(home: Home) -> None:
    home.write_job()
    home.run()

    done = home.tunesmith("delete", "ftj/bot")

    assert done.returncode == 0
    assert done.stdout.startswith("finetunejob/bot deleted\n")
    assert "no resources in .tunesmith" in home.tunesmith("get").stdout
    assert not (home.folder / ".tunesmith" / "runs" / "default" / "bot-a1").exists()
    assert (home.folder / ".tunesmith" / "volumes" / "models" / "bot").is_dir()


def test_a_damaged_state_file_is_named(home: Home) -> None:
    home.write_job()
    home.run()
    path = home.folder / ".tunesmith" / "resources" / "finetunejob" / "default" / "bot.json"
    path.write_text(path.read_text()[:40])
    done = home.tunesmith("get")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: .tunesmith/resources/finetunejob/default/bot.json does not hold a FineTuneJob"
    )
    assert "Traceback" not in done.stderr


def test_validate_says_all_that_is_wrong_at_once(home: Home) -> None:
    home.write("FineTuneJob", "bot", model={"url": "pvc://models/base"}, training={"learningRate": "fast"})

    done = home.tunesmith("validate", "-f", "manifests")

    assert done.returncode == 1
    where = "error: manifests/finetunejob-bot.json:document 1 (FineTuneJob bot): "
    assert all(line.startswith(where) for line in done.stderr.splitlines())
    assert "spec.model.url: unknown field; did you mean uri?" in done.stderr
    assert "spec.training.learningRate: 'fast' is not a number" in done.stderr
    assert "spec.output: missing" in done.stderr


def test_a_glob_after_the_option_is_taken_whole(home: Home) -> None:
    home.write_thread()
    files = [str(path) for path in sorted((home.folder / "manifests").iterdir())]
    done = home.tunesmith("validate", "-f", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is valid") == 3


def test_validate_needs_no_state(home: Home) -> None:
    home.write_thread()
    done = home.tunesmith("validate", "-f", "manifests")
    assert done.returncode == 0
    assert "modelserve/bot is valid" in done.stdout
    assert not (home.folder / ".tunesmith").exists()


def test_render_prints_what_would_be_created_now_and_what_waits(home: Home) -> None:
    home.write_thread()

    done = home.tunesmith("render", "-f", "manifests", "--backend", "native", "--image", "registry.test/runtime:1")

    assert done.returncode == 0
    objects = list(yaml.safe_load_all(done.stdout))
    assert [(each["kind"], each["metadata"]["name"]) for each in objects if each] == [
        ("ConfigMap", "bot-a1"),
        ("ConfigMap", "bot-a1-progress"),
        ("ServiceAccount", "bot-a1"),
        ("Role", "bot-a1"),
        ("RoleBinding", "bot-a1"),
        ("Job", "bot-a1"),
    ]
    assert "# EvalJob default/bot: nothing yet: waits for FineTuneJob bot to succeed" in done.stdout
    assert "registry.test/runtime:1" in done.stdout


def test_render_refuses_files_of_this_machine(home: Home) -> None:
    home.write_job(model="file:///home/me/model")
    done = home.tunesmith("render", "-f", "manifests")
    assert done.returncode == 1
    assert "file:///home/me/model: file:// is for the local shell; use pvc:// or s3:// in a cluster" in done.stderr


def test_a_wrong_call_is_exit_code_2_and_the_version_is_told(home: Home) -> None:
    assert home.tunesmith("run").returncode == 2
    assert home.tunesmith("fly").returncode == 2
    assert home.tunesmith("--version").stdout.startswith("tunesmith ")
