"""How an evaluation reaches people."""

from collections.abc import Callable
from dataclasses import dataclass

from tunesmith_api.contract import RatingProgress


@dataclass(frozen=True)
class People:
    """The folder, by URI, that keeps votes beyond this attempt; and whom to tell where the page is, None: nowhere."""

    folder: str
    waits: Callable[[RatingProgress | None], None]
