"""People vote on a page that the evaluation itself serves: who may, what is refused, and how a kill is survived."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.endpoints import EndpointServer
from tests.rating import (
    Evaluating,
    Person,
    config,
    evaluating,
    for_baseline,
    for_target,
    two_models,
)
from tests.s3 import BUCKET, S3Server
from tunesmith_api.contract import (
    HOST_VARIABLE,
    RATING_PORT,
    RATING_URL_VARIABLE,
    EvaluateResult,
    EvaluateRun,
    RatingProgress,
    SampleProgress,
)
from tunesmith_runtime.errors import DataError, PortTakenError, RunError
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.evaluate.rating.page import KEY_HEADER, MOST_BYTES
from tunesmith_runtime.evaluate.rating.serving import PageFailedError, Served, served
from tunesmith_runtime.evaluate.rating.votes import Votes, pair_of
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.storage.journal import Journal

QUESTIONS = ["<b>Who?</b>", "Why? & how?", "What is the same?", "When?"]
SECRET = "s3cret-of-the-page"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", HOST_VARIABLE, RATING_URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def models() -> Iterator[tuple[EndpointServer, EndpointServer]]:
    with two_models() as both:
        yield both


class TestEvaluation:
    """In this process: the evaluation in a thread, and people here."""

    @dataclass
    class Running:
        folder: Path
        thread: threading.Thread
        results: list[EvaluateResult]
        errors: list[RunError]

        def page(self) -> str:
            reporter = ProgressReporter(self.folder / "progress.json")
            while not (rating := reporter.read().rating):
                assert self.thread.is_alive(), self.errors
                self.thread.join(0.05)
            return rating.url

        def result(self) -> dict[str, Any]:
            self.thread.join(60)
            assert not self.errors
            (found,) = self.results
            return {each.metric.removeprefix("people/"): each for each in found.results}

    @contextmanager
    def evaluating(self, folder: Path, run: EvaluateRun) -> Iterator[Running]:
        results: list[EvaluateResult] = []
        errors: list[RunError] = []

        def work() -> None:
            try:
                results.append(evaluate(run, ProgressReporter(folder / "progress.json")))
            except RunError as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield self.Running(folder, thread, results, errors)
        thread.join(60)
        assert not thread.is_alive()

    def test_one_person_votes_and_the_evaluation_goes_on(
        self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path
    ) -> None:
        run = config(tmp_path, *models, QUESTIONS, instructions="Which <i>one</i>?")
        with self.evaluating(tmp_path, run) as going:
            ann = Person(going.page(), "Ann")
            assert ann.state["instructions"] == "Which <i>one</i>?"
            assert (ann.state["given"], ann.state["needed"]) == (0, 3)
            document = ProgressReporter(tmp_path / "progress.json").read()
            assert document.stage == "waits for votes: 0 of 3"
            assert document.rating == RatingProgress(url=going.page(), votes=0, needed=3)
            # Four questions for two models, and one tie that nobody is asked about.
            assert document.samples == SampleProgress(done=9, total=12)

            ann.vote(for_target)
            assert ProgressReporter(tmp_path / "progress.json").read().stage == "waits for votes: 1 of 3"
            ann.vote(for_target)
            last = ann.vote(for_baseline)
            assert (last["complete"], last["pair"]) == (True, None)
            found = going.result()

        assert found["winRate"].value == pytest.approx((1 + 1 + 0.5 + 0) / 4)
        assert (found["winRate"].baseline, found["winRate"].n) == (0.5, 4)
        assert found["tieRate"].value == 0.25
        assert found.keys() == {"winRate", "tieRate"}
        document = ProgressReporter(tmp_path / "progress.json").read()
        assert document.rating is None
        assert document.samples == SampleProgress(done=12, total=12)
        samples = (tmp_path / "out/report/samples/people.target.jsonl").read_text().splitlines()
        said = [json.loads(line) for line in samples]
        assert [each["replies"] for each in said] == [
            {"rater 1": "target"},
            {"rater 1": "target"},
            {},
            {"rater 1": "baseline"},
        ]
        assert "Ann" not in (tmp_path / "out/report/report.html").read_text()

    def test_several_votes_tell_how_far_people_agree(
        self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path
    ) -> None:
        run = config(tmp_path, *models, QUESTIONS, votes=2)
        with self.evaluating(tmp_path, run) as going:
            ann, bob = Person(going.page(), "Ann"), Person(going.page(), "Bob")
            for _ in range(3):
                ann.vote(for_target)
            assert ann.state["pair"] is None
            assert not ann.state["complete"]
            bob.state = bob.get("/api/state").json()
            bob.vote(for_target)
            bob.vote(for_baseline)
            bob.vote(lambda *_: "tie")
            found = going.result()
        assert len(set(ann.seen)) == len(set(bob.seen)) == 3
        assert found["winRate"].value == pytest.approx((1 + 0.5 + 0.5 + 0.75) / 4)
        assert found["tieRate"].value == pytest.approx((0 + 0 + 1 + 0.5) / 4)
        assert found["raterAgreement"].value == pytest.approx(1 / 3)
        assert found["raterAgreement"].n == 3
        # By chance: four of six votes for the target, one for the baseline, one a tie.
        chance = (16 + 1 + 1) / 36
        assert found["raterKappa"].value == pytest.approx((1 / 3 - chance) / (1 - chance))

    def test_equal_answers_need_nobody(self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path) -> None:
        target, _ = models
        result = evaluate(
            config(tmp_path, target, target, QUESTIONS, votes=2), ProgressReporter(tmp_path / "progress.json")
        )
        assert {each.metric: each.value for each in result.results} == {"people/winRate": 0.5, "people/tieRate": 1.0}
        assert "raterKappa are left out: all answers are equal" in (tmp_path / "out/report/report.html").read_text()
        assert ProgressReporter(tmp_path / "progress.json").read().samples == SampleProgress(done=12, total=12)

    def test_questions_that_are_asked_twice_are_voted_on_once(
        self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path
    ) -> None:
        with self.evaluating(tmp_path, config(tmp_path, *models, ["Who?", "Who?"])) as going:
            Person(going.page(), "Ann").vote(for_target)
            found = going.result()
        assert (found["winRate"].value, found["winRate"].n) == (1, 2)

    def test_questions_that_cannot_be_read_are_told_before_anybody_is_asked(
        self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path
    ) -> None:
        run = config(tmp_path, *models, QUESTIONS)
        (tmp_path / "questions.jsonl").write_text('{"prompt": "Who?"}\n')
        with pytest.raises(DataError, match=r"questions\.jsonl"):
            evaluate(run, ProgressReporter(tmp_path / "progress.json"))

    def test_votes_go_to_a_bucket_at_once(
        self, models: tuple[EndpointServer, EndpointServer], s3: S3Server, tmp_path: Path
    ) -> None:
        folder = f"s3://{BUCKET}/people-answers"
        run = config(tmp_path, *models, QUESTIONS).model_copy(update={"answers": folder})
        with self.evaluating(tmp_path, run) as going:
            ann = Person(going.page(), "Ann")
            for number in range(3):
                ann.vote(for_target)
                kept = s3.read("people-answers/votes.jsonl")
                assert kept.count('"outcome": "target"') == number + 1
            going.result()


class TestKilled:
    def test_a_kill_loses_no_vote_and_the_page_stays_the_same(
        self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path
    ) -> None:
        run = config(tmp_path, *models, QUESTIONS)
        with evaluating(tmp_path, run) as first:
            ann = Person(first.page(), "Ann")
            ann.vote(for_target)
            at_once = ann.state["pair"]
            first.kill()
        asked = len(models[0].requests)

        with evaluating(tmp_path, run) as second:
            again = Person(second.page(), "Ann")
            assert again.key == ann.key
            assert again.state["own"] == again.state["given"] == 1
            assert again.state["pair"] == at_once, "in the same places"
            again.vote(for_target)
            again.vote(for_target)
            _ended_with(second, 0.875)
        assert len(models[0].requests) == asked, "the models are asked nothing twice"
        assert not set(ann.seen) & set(again.seen)
        assert ann.key not in (tmp_path / "log").read_text()

    def test_sigterm_ends_it_while_it_waits(
        self, models: tuple[EndpointServer, EndpointServer], tmp_path: Path
    ) -> None:
        with evaluating(tmp_path, config(tmp_path, *models, QUESTIONS)) as waits:
            Person(waits.page(), "Ann").vote(for_target)
            waits.process.terminate()
            assert waits.process.wait(20) == 143, waits.log()
        assert '"outcome": "target"' in (tmp_path / "out/report-answers/votes.jsonl").read_text()


def _ended_with(run: Evaluating, win_rate: float) -> None:
    result = run.ended().result
    assert isinstance(result, EvaluateResult)
    assert {each.metric: each.value for each in result.results}["people/winRate"] == win_rate


class TestPage:
    @pytest.fixture
    def page(self, tmp_path: Path) -> Iterator[Served]:
        pairs = [pair_of("Which?", f"{number} </script><script>x()</script>", "ours", "theirs") for number in range(3)]
        votes = Votes(pairs, 1, "seed", Journal(tmp_path / "votes.jsonl"), lambda _: None)
        with served(votes, "Which?", SECRET) as found:
            yield found

    @pytest.mark.parametrize("path", ["/", "/?key=", "/?key=wrong", f"/api/state?key={SECRET}", "/elsewhere", "/docs"])
    def test_nothing_answers_without_the_key(self, page: Served, path: str) -> None:
        person = Person(page.url)
        answer = person.session.get(person.at(path), timeout=10)
        assert answer.status_code == 403
        assert "opens only with its key" in answer.text
        assert "script" not in answer.text

    @pytest.mark.parametrize("key", ["", "wrong", SECRET[:-1], f"{SECRET}x", "é"])
    def test_the_api_asks_for_the_key(self, page: Served, key: str) -> None:
        person = Person(page.url)
        for what in ("name", "votes", "undo"):
            answer = person.post(what, {"name": "Ann"}, **{KEY_HEADER: key.encode().decode("latin-1")})
            assert answer.status_code == 403

    def test_the_page_loads_nothing_and_runs_nothing_but_its_own(self, page: Served) -> None:
        answer = requests.get(page.url, timeout=10)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"(src|href)=\"(?!data:,\")", answer.text)
        assert not re.search(r"innerHTML|document\.write|\son\w+=", answer.text)
        assert SECRET not in answer.text

    def test_a_name_is_given_once(self, page: Served) -> None:
        person = Person(page.url)
        state = person.get("/api/state").json()
        assert (state["rater"], state["pair"]) == (None, None)
        answer = person.post("name", {"name": '  Žofie   B.;" '})
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert "samesite=strict" in answer.headers["Set-Cookie"].lower()
        state = person.get("/api/state").json()
        assert state["rater"] == 'Žofie B.;"'
        assert set(state["pair"]["answers"]) == {"ours", "theirs"}

    @pytest.mark.parametrize(
        ("what", "body", "status"),
        [
            ("name", {"name": ""}, 422),
            ("name", {"name": "x" * 61}, 422),
            ("name", {"name": "a\u0000"}, 422),
            ("name", {"name": 7}, 422),
            ("name", ["Ann"], 422),
            ("name", {"name": "x" * (MOST_BYTES + 1)}, 413),
            ("votes", {"pair": "unknown", "choice": "first"}, 409),
            ("votes", {"pair": "unknown", "choice": "both"}, 422),
            ("votes", {"choice": "first"}, 422),
            ("votes", {"pair": "unknown", "choice": "first", "rater": "Bob"}, 422),
            ("undo", {}, 409),
            ("undo", {"rater": "Bob"}, 422),
        ],
    )
    def test_what_is_no_vote_is_refused_in_a_sentence(self, page: Served, what: str, body: Any, status: int) -> None:
        person = Person(page.url, "Ann")
        answer = person.post(what, body)
        assert answer.status_code == status
        assert answer.json()["error"].endswith(".")
        assert page.votes.given == 0

    def test_who_has_no_name_has_no_vote(self, page: Served) -> None:
        for what, body in (("votes", {"pair": "x", "choice": "tie"}), ("undo", {})):
            answer = Person(page.url).post(what, body)
            assert (answer.status_code, answer.json()["error"]) == (401, "Give your name first.")

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ],
    )
    def test_only_the_page_itself_may_vote(self, page: Served, headers: dict[str, str], status: int) -> None:
        person = Person(page.url, "Ann")
        body = {"pair": person.state["pair"]["id"], "choice": "tie"}
        assert person.post("votes", body, **headers).status_code == status
        assert page.votes.given == 0
        assert person.post("votes", body, Origin=person.at(""), **{"Sec-Fetch-Site": "same-origin"}).status_code == 200

    def test_a_long_body_in_parts_is_not_read_to_its_end(self, page: Served) -> None:
        person = Person(page.url, "Ann")
        answer = person.session.post(
            person.at("/api/votes"),
            data=(b" " * 1024 for _ in range(64)),
            headers={KEY_HEADER: SECRET, "Content-Type": "application/json"},
            timeout=10,
        )
        assert answer.status_code == 413

    def test_a_vote_that_cannot_be_kept_is_told_and_can_be_given_again(self, page: Served, tmp_path: Path) -> None:
        person = Person(page.url, "Ann")
        body = {"pair": person.state["pair"]["id"], "choice": "tie"}
        file = tmp_path / "votes.jsonl"
        file.mkdir()
        answer = person.post("votes", body)
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("The vote could not be kept; give it again. (")
        file.rmdir()
        assert person.post("votes", body).json()["given"] == 1

    def test_a_request_that_is_cut_off_is_no_vote_and_no_trouble(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        votes = Votes([pair_of("a", "b", "c", "d")], 1, "seed", Journal(tmp_path / "cut.jsonl"), lambda _: None)
        with served(votes, "Which?", SECRET) as page:
            host, _, port = urlsplit(page.url).netloc.partition(":")
            head = f"POST /api/votes HTTP/1.1\r\nHost: {host}\r\n{KEY_HEADER}: {SECRET}\r\n"
            with socket.create_connection((host, int(port))) as line:
                line.sendall(f'{head}Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{{"pair"'.encode())
                assert Person(page.url, "Ann").state["given"] == 0
            assert Person(page.url, "Bob").state["given"] == 0
        assert not [each for each in caplog.records if each.exc_info]

    def test_halves_of_characters_are_shown_as_question_marks(self, tmp_path: Path) -> None:
        pair = pair_of("Which\udc00?", "Who\ud83d?", "We\ud83d.", "They.")
        votes = Votes([pair], 1, "seed", Journal(tmp_path / "halves.jsonl"), lambda _: None)
        with served(votes, "Which\udc00?", SECRET) as page:
            state = Person(page.url, "Ann").state
        assert state["instructions"] == "Which??"
        assert state["pair"]["prompt"] == "Who??"
        assert set(state["pair"]["answers"]) == {"We?.", "They."}

    def test_undo_over_http(self, page: Served) -> None:
        person = Person(page.url, "Ann")
        first = person.state["pair"]
        person.vote(for_target)
        assert person.post("undo", {}).json()["pair"] == first

    def test_a_server_that_ends_too_early_is_an_error(self, page: Served) -> None:
        page.over.set()
        with pytest.raises(PageFailedError, match=r"has ended before there were enough; the votes so far are kept"):
            page.wait()
        assert PageFailedError("").retryable


def test_behind_a_service_the_port_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RATING_URL_VARIABLE, "http://rating-bot-e1.default.svc:8080")
    monkeypatch.setenv(HOST_VARIABLE, "127.0.0.2")
    votes = Votes([pair_of("a", "b", "c", "d")], 1, "seed", Journal(tmp_path / "votes.jsonl"), lambda _: None)
    with served(votes, "Which?", SECRET) as page:
        assert page.url == f"http://rating-bot-e1.default.svc:8080/?key={SECRET}"
        assert requests.get(f"http://127.0.0.2:{RATING_PORT}/?key={SECRET}", timeout=10).status_code == 200
        with (
            pytest.raises(
                PortTakenError, match=r"cannot be served on port 8080 of 127\.0\.0\.2: Address already in use"
            ),
            served(votes, "Which?", SECRET),
        ):
            pass
