"""What is killed in which round, and when: all of it follows from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Victim = Literal["operator", "head", "driver", "worker", "raylet", "gcs", "api server", "etcd"]
# Those of a run with several pods; the others are killed beside a run with one, which is over sooner.
OF_SEVERAL: tuple[Victim, ...] = ("worker", "raylet", "gcs")
OF_ONE: tuple[Victim, ...] = ("operator", "head", "driver", "api server", "etcd")
STEPS_OF_SEVERAL, STEPS_OF_ONE = 150, 500
# Of all rounds; a run with several pods takes several times as long.
SHARE_OF_SEVERAL = 0.16
# A share of the kills comes while the run is still starting, so many seconds after its pods are made.
SHARE_AT_START = 0.2
LONGEST_START = 12.0


@dataclass(frozen=True)
class Round:
    """One kill. It comes `seconds` after the run has reached `step`; step 0 is when its pods are made."""

    number: int
    victim: Victim
    step: int
    seconds: float

    @property
    def steps(self) -> int:
        """Optimizer steps of the run, some ten seconds of training; with several pods each takes longer."""
        return _steps(self.victim)

    @property
    def workers(self) -> int:
        """Pods of the run."""
        return 2 if self.victim in OF_SEVERAL else 1

    def __str__(self) -> str:
        return f"{self.number}-{self.victim.replace(' ', '-')}"


def _steps(victim: Victim) -> int:
    return STEPS_OF_SEVERAL if victim in OF_SEVERAL else STEPS_OF_ONE


def schedule(rounds: int, seed: int) -> Iterator[Round]:
    """Yield rounds in which every victim comes as often as every other of its group, to within one."""
    dice = random.Random(seed)
    drawn: dict[tuple[Victim, ...], list[Victim]] = {OF_ONE: [], OF_SEVERAL: []}
    several = 0
    for number in range(1, rounds + 1):
        group = OF_SEVERAL if several < SHARE_OF_SEVERAL * number - 0.5 else OF_ONE
        several += group is OF_SEVERAL
        if not drawn[group]:
            drawn[group] = dice.sample(group, len(group))
        victim = drawn[group].pop()
        at_start = dice.random() < SHARE_AT_START
        yield Round(
            number,
            victim,
            step=0 if at_start else dice.randint(1, _steps(victim) * 3 // 4),
            seconds=dice.uniform(0, LONGEST_START if at_start else 1.0),
        )
