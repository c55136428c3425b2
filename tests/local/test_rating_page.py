"""The page on which people vote, in a browser: by keyboard alone, over a reload, two people at once."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.endpoints import EndpointServer
from tests.rating import OURS, Evaluating, config, evaluating, two_models
from tunesmith_api.contract import HOST_VARIABLE, RATING_URL_VARIABLE, EvaluateResult

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# What stands in questions and answers must stay text.
EVIL = "<script>document.title = 'broken'</script> <b>Who?</b>"
QUESTIONS = [EVIL, "Why?", "What is the same?", "When?", "Where?"]
LONG = (
    "A long answer goes over several lines, as models like it.\n\n- One thing.\n- Another thing, https://" + "x" * 120
)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CHROMIUM is not None and DRIVER is not None
    assert found, "the page is tested in Chromium: apt-get install chromium chromium-driver"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", HOST_VARIABLE, RATING_URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    # Selenium looks for no driver elsewhere, and tells nobody of this.
    monkeypatch.setenv("SE_OFFLINE", "true")
    monkeypatch.setenv("SE_AVOID_STATS", "true")


@pytest.fixture
def models() -> Iterator[tuple[EndpointServer, EndpointServer]]:
    with two_models() as both:
        yield both


class Browser:
    """A person at a browser."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome

    def open(self, url: str) -> None:
        self.chrome.get(url)

    def until(self, there: Callable[[], bool]) -> None:
        WebDriverWait(self.chrome, 20, poll_frequency=0.05).until(lambda _: there())

    def text(self, element: str) -> str:
        return self.chrome.find_element(By.ID, element).text

    def visible(self, element: str) -> bool:
        return self.chrome.find_element(By.ID, element).is_displayed()

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        self.chrome.switch_to.active_element.send_keys(*keys)

    def introduce(self, name: str) -> None:
        self.until(lambda: self.visible("naming"))
        assert self.focus() == "name"
        self.press(name, Keys.ENTER)
        self.until(lambda: self.visible("counts"))

    def focus(self) -> str:
        return str(self.chrome.switch_to.active_element.get_attribute("id"))

    def shown(self) -> tuple[str, str, str]:
        return self.text("question"), self.text("first"), self.text("second")

    def status(self) -> str:
        return self.text("status")

    def vote(self, key: str) -> None:
        """Press a key and wait until the vote is taken."""
        before = self.status()
        self.press(key)
        self.until(lambda: self.status() != before)

    def key_for(self, *, target: bool) -> str:
        """Return the key for the answer of the target, or of the baseline."""
        return "1" if self.text("first").startswith(OURS) is target else "2"

    def complaints(self) -> list[str]:
        """Return what the browser's console says, such as what the page's policy has kept from it."""
        return [str(each["message"]) for each in self.chrome.get_log("browser")]


@contextmanager
def browsing(folder: Path, *arguments: str) -> Iterator[Browser]:
    """Open a browser of its own, with its own cookies."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for each in (
        "--headless=new",
        "--no-sandbox",  # CI runs as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        "--disable-background-networking",
        "--window-size=1200,900",
        f"--user-data-dir={folder}",
        *arguments,
    ):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()


def metrics_of(evaluation: Evaluating) -> dict[str, float]:
    result = evaluation.ended().result
    assert isinstance(result, EvaluateResult)
    return {each.metric.removeprefix("people/"): each.value for each in result.results}


def test_a_whole_round_by_keyboard_with_a_reload_in_the_middle(
    models: tuple[EndpointServer, EndpointServer], tmp_path: Path
) -> None:
    run = config(tmp_path, *models, QUESTIONS, instructions="Which answer is <i>kinder</i>?")
    with evaluating(tmp_path, run) as evaluation, browsing(tmp_path / "ann") as ann:
        ann.open(evaluation.page())
        ann.introduce("Ann")
        assert ann.text("instructions") == "Which answer is <i>kinder</i>?"
        question, first, second = ann.shown()
        assert question == EVIL
        assert EVIL in first
        assert EVIL in second
        assert ann.status() == "0 of 4 votes, 0 of them yours"

        ann.vote(ann.key_for(target=True))
        assert ann.focus() == "question-title"
        ann.vote("t")
        ann.vote("u")
        assert ann.status() == "1 of 4 votes, 1 of them yours"
        assert ann.shown()[0] == "Why?"

        before = ann.shown()
        ann.chrome.refresh()
        ann.until(lambda: ann.visible("rating"))
        assert ann.shown() == before
        assert ann.status() == "1 of 4 votes, 1 of them yours"
        ann.press("t")
        ann.until(lambda: ann.status().startswith("2 of 4"))

        # Without the single keys, everything is still within reach of Tab and Enter.
        ann.chrome.find_element(By.ID, "keys").send_keys(Keys.SPACE)
        ann.press("1")
        wanted = "choose-first" if ann.key_for(target=True) == "1" else "choose-second"
        ann.chrome.execute_script("document.getElementById('question-title').focus()")
        for _ in range(6):
            ann.press(Keys.TAB)
            if ann.focus() == wanted:
                break
        assert ann.focus() == wanted
        assert ann.status().startswith("2 of 4"), "the key 1 was turned off"
        ann.vote(Keys.ENTER)
        ann.chrome.find_element(By.ID, "keys").send_keys(Keys.SPACE)
        last = ann.key_for(target=False)
        ann.chrome.execute_script("document.activeElement.blur()")
        ann.press(last)
        ann.until(lambda: ann.visible("done"))
        assert "There are enough votes" in ann.text("done-text")
        assert not ann.visible("choices")
        assert ann.chrome.title == "Which answer is better?"
        assert ann.complaints() == []
        found = metrics_of(evaluation)
    # Won, tied, tied without a question, won, lost.
    assert found == {"winRate": pytest.approx((1 + 0.5 + 0.5 + 1 + 0) / 5), "tieRate": pytest.approx(2 / 5)}


def test_two_people_at_once_and_one_of_them_on_another_day(
    models: tuple[EndpointServer, EndpointServer], tmp_path: Path
) -> None:
    run = config(tmp_path, *models, QUESTIONS, votes=2)
    with browsing(tmp_path / "ann") as ann, browsing(tmp_path / "bob") as bob:
        with evaluating(tmp_path, run) as evaluation:
            for person, name in ((ann, "Ann"), (bob, "Bob")):
                person.open(evaluation.page())
                person.introduce(name)
            assert ann.shown()[0] != bob.shown()[0], "they begin with different pairs"
            for _ in range(4):
                ann.vote(ann.key_for(target=True))
            assert "The evaluation waits for the votes of others." in ann.text("done-text")
            bob.vote(bob.key_for(target=False))
            assert bob.status() == "5 of 8 votes, 1 of them yours"
            evaluation.kill()
            bob.press("1")
            bob.until(lambda: bob.visible("notice"))
            assert "The evaluation cannot be reached." in bob.text("notice-text")
        with evaluating(tmp_path, run) as evaluation:
            bob.open(evaluation.page())
            bob.until(lambda: bob.visible("rating"))
            assert bob.text("rater") == "You vote as Bob."
            assert bob.status() == "5 of 8 votes, 1 of them yours"
            for _ in range(3):
                bob.vote(bob.key_for(target=True))
            found = metrics_of(evaluation)
    assert found["winRate"] == pytest.approx((0.5 + 1 + 1 + 1 + 0.5) / 5)
    assert found["raterAgreement"] == pytest.approx(3 / 4)
    # By chance: seven of eight votes for the target.
    chance = (49 + 1) / 64
    assert found["raterKappa"] == pytest.approx((3 / 4 - chance) / (1 - chance))


@pytest.mark.parametrize(
    ("name", "width", "height", "arguments"),
    [
        ("light", 1200, 900, ()),
        ("dark", 1200, 900, ("--blink-settings=preferredColorScheme=0",)),
        ("phone", 360, 740, ()),
        # 1280 x 1024 at 400%.
        ("zoomed", 320, 256, ()),
    ],
)
def test_the_page_fits_its_window(
    models: tuple[EndpointServer, EndpointServer],
    tmp_path: Path,
    name: str,
    width: int,
    height: int,
    arguments: tuple[str, ...],
) -> None:
    ours, theirs = models
    ours.reply = lambda question: f"{OURS}. {LONG}"
    with (
        evaluating(tmp_path, config(tmp_path, ours, theirs, QUESTIONS)) as evaluation,
        browsing(tmp_path / "ann", *arguments) as ann,
    ):
        page = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        ann.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", page)
        ann.open(evaluation.page())
        if pictures := os.environ.get("TUNESMITH_TEST_PICTURES"):
            ann.until(lambda: ann.visible("naming"))
            ann.chrome.save_screenshot(f"{pictures}/{name}-name.png")
        ann.introduce("Ann")
        ann.vote("t")
        if pictures:
            ann.chrome.save_screenshot(f"{pictures}/{name}.png")
        dark = ann.chrome.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
        assert dark is (name == "dark")
        wide = ann.chrome.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, "nobody scrolls sideways to read"
        first, second = (ann.chrome.find_element(By.ID, each).rect for each in ("first", "second"))
        assert (first["y"] == second["y"]) is (width > 1000), "side by side where there is room"
