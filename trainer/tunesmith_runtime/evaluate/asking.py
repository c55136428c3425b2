"""Several questions at a time, of which none is asked twice."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

from tunesmith_runtime.evaluate.respondent import Answers, Progress
from tunesmith_runtime.storage.journal import Entry


def ask_all(
    questions: Mapping[str, Callable[[], Entry]],
    known: Answers,
    at_once: int,
    progress: Progress,
    answered: Callable[[str], None] = lambda _: None,
) -> None:
    """Ask what is not known under its key, and keep each answer as soon as it is there.

    `progress` is called with how many are known, and with each that is answered, `answered` with its key. After the
    first error nothing more is asked, and what is under way is waited for and kept; then the error is raised.
    """
    left = {key: ask for key, ask in questions.items() if known.get(key) is None}
    progress(len(questions) - len(left))

    def keep(key: str, ask: Callable[[], Entry]) -> None:
        # By who asks, before the next question: a kill costs no more than what is under way.
        known.add({key: ask()})

    with ThreadPoolExecutor(at_once, "ask") as pool:
        waiting = {pool.submit(keep, key, ask): key for key, ask in left.items()}
        try:
            for done in as_completed(waiting):
                done.result()
                progress(1)
                answered(waiting[done])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
