"""Which values the trials of a search have, and the run that each of them is."""

import json
import math
from collections.abc import Mapping
from random import Random

from tunesmith_api.contract import TrainRun
from tunesmith_api.tunables import placed
from tunesmith_api.tuning import Parameter, Scalar, Tuning, scalar
from tunesmith_api.uris import join

# Digits of a drawn number: enough to tell trials apart, and few enough to write it down.
DIGITS = 6
# Never reached: early stopping is there for the best checkpoint that it keeps.
_NEVER = 1000

Values = Mapping[str, Scalar]


def draw(tuning: Tuning) -> list[dict[str, Scalar]]:
    """Return the values of each trial, by the names of the parameters; no two trials are the same.

    They depend on the seed and the parameters alone: more trials begin with the same ones.
    """
    random = Random(tuning.seed)  # noqa: S311 - nothing is secret
    seen: set[tuple[Scalar, ...]] = set()
    trials: list[dict[str, Scalar]] = []
    while len(trials) < tuning.trials:
        values = {parameter.name: _drawn(parameter, random) for parameter in tuning.parameters}
        if (key := tuple(values.values())) not in seen:
            seen.add(key)
            trials.append(values)
    return trials


def run_of(config: TrainRun, number: int, values: Values) -> TrainRun:
    """Return the run of a trial: one worker on one device, with its own checkpoints, of which the best is kept."""
    assert config.tuning is not None  # noqa: S101 - asked of searches alone
    document = placed(config.to_json(), values)
    del document["tuning"]
    document["workers"], document["gpus"] = 1, min(config.gpus, 1)
    document["checkpoints"] = {**document["checkpoints"], "uri": folder_of(config, number)}
    stopping = {"metric": config.tuning.metric, "patience": _NEVER}
    document["evaluation"] = {"earlyStopping": stopping, **document.get("evaluation", {})}
    return TrainRun.model_validate_json(json.dumps(document))


def folder_of(config: TrainRun, number: int) -> str:
    """Return the URI of a trial's checkpoints."""
    return join(config.checkpoints.uri, f"trial-{number}")


def _drawn(parameter: Parameter, random: Random) -> Scalar:
    if span := parameter.int_uniform:
        return random.randint(span.min, span.max)
    if between := parameter.uniform:
        return _rounded(random.uniform(between.min, between.max), between.min, between.max)
    if between := parameter.log_uniform:
        exponent = random.uniform(math.log(between.min), math.log(between.max))
        return _rounded(math.exp(exponent), between.min, between.max)
    return scalar(random.choice(parameter.choice or ()))


def _rounded(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
