"""The report of a training run: one HTML file that opens from disk, published with the model."""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup

from tunesmith_api.contract import RunConfig, TrainRun
from tunesmith_api.evaluation import higher_is_better
from tunesmith_api.gates import number
from tunesmith_runtime.models.lineage import LINEAGE, settings
from tunesmith_runtime.pages import templates
from tunesmith_runtime.pages.svg import SERIES
from tunesmith_runtime.train.curves import Curve, layers, lines
from tunesmith_runtime.train.history import HISTORY, MEASURED, METHOD, Row, history_file, read
from tunesmith_runtime.train.stages import SECOND
from tunesmith_runtime.train.tuning.drawing import folder_of
from tunesmith_runtime.train.tuning.table import Table
from tunesmith_runtime.train.tuning.tabled import trials

PAGE = "training.html"
_SECTIONS = ("data", "forward", "backward", "optimizer", "communication", "checkpoint", "evaluation", "other")
_GIB = 2**30

# By SUITE/METRIC: steps and values.
Measured = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Plot:
    """A plot with its heading and the names of its curves in the order of their colours."""

    title: str
    names: tuple[str, ...]
    svg: Markup
    note: str = ""


def publish(history: Path, staged: Path) -> None:
    """Put the page, and the history that it is drawn from, beside the model and the lineage in `staged`."""
    lineage = json.loads((staged / LINEAGE).read_text(encoding="utf-8"))
    (staged / PAGE).write_text(render(read(history), lineage), encoding="utf-8")
    if history.is_file() and history.resolve() != (staged / HISTORY).resolve():
        shutil.copyfile(history, staged / HISTORY)


def write_so_far(config: RunConfig, page: Path) -> int:
    """Write the page of a run that has not published its model; return the exit code: 1 when there is none yet."""
    rows, tuning = _so_far(config) if isinstance(config, TrainRun) else ([], {})
    if not isinstance(config, TrainRun) or not rows:
        print("error: no step has been reported on this machine", file=sys.stderr)  # noqa: T201 - the command's answer
        return 1
    lineage = {"run": config.run.to_json(), "config": settings(config), **tuning}
    page.write_text(render(rows, lineage), encoding="utf-8")
    return 0


def _so_far(config: TrainRun) -> tuple[list[Row], dict[str, Any]]:
    """Return the history of a run, or that of the best trial so far together with the trials."""
    table = Table.peek(config)
    best = table.best() if table else None
    if table is None or best is None:
        return read(history_file(config.checkpoints.uri)), {}
    return read(history_file(folder_of(config, best.number))), {"tuning": table.status().to_json()}


def render(rows: Sequence[Row], lineage: Mapping[str, Any]) -> str:
    """Return the page as one HTML document that loads nothing else; a run may have left any part of its history."""
    run = lineage.get("run") or {}
    measured, rows = _of_checkpoints(rows), [row for row in rows if MEASURED not in row]
    return (
        templates(Path(__file__).with_name("templates"))
        .get_template("training.html.j2")
        .render(
            name=run.get("name", "training"),
            resource=f"{run.get('kind', 'FineTuneJob')} {run.get('namespace', '')}/{run.get('name', '')}",
            origin=_origin(lineage),
            figures=_figures(rows, measured, lineage),
            trials=trials(lineage.get("tuning")),
            plots=_plots(rows, measured),
            slow=sorted({each["name"] for row in rows for each in row.get("stragglers", ())}),
        )
    )


def _origin(lineage: Mapping[str, Any]) -> dict[str, str]:
    config, base = lineage.get("config") or {}, lineage.get("baseModel") or {}
    method = config.get("method") or {}
    datasets = (config.get("data") or {}).get("train") or ()
    found = {
        "Model": lineage.get("digest"),
        "Base model": " ".join(base[key] for key in ("uri", "digest") if base.get(key)),
        "Method": ", ".join(each for each in (method.get("type"), (method.get("adapter") or {}).get("type")) if each),
        "Datasets": ", ".join(f"{each.get('name')} ({each.get('uri')})" for each in datasets),
        "Made": lineage.get("createdAt"),
        "With": ", ".join(f"{name} {version}" for name, version in (lineage.get("packages") or {}).items()),
    }
    return {name: text for name, text in found.items() if text}


def _figures(rows: Sequence[Row], measured: Measured, lineage: Mapping[str, Any]) -> dict[str, str]:
    last = rows[-1] if rows else {}
    records = lineage.get("records") or {}
    losses, held_out = _points(rows, "loss"), _evaluations(rows)
    best = min(held_out, key=lambda point: point[1]) if held_out else None
    times = [row["time"] for row in rows if "time" in row]
    published = (lineage.get("published") or {}).get("step")
    found = {
        "Records": records.get("records"),
        "Tokens in them": records.get("tokens"),
        "Steps": last.get("step"),
        "Second stage from step": next((row["step"] for row in rows if row.get("stage") == SECOND), None),
        "Epochs": last.get("epoch"),
        "Training loss, first and last": f"{number(losses[0][1])} → {number(losses[-1][1])}" if losses else None,
        "Validation loss, last": number(held_out[-1][1]) if held_out else None,
        "Validation loss, lowest": f"{number(best[1])} at step {best[0]:.0f}" if best else None,
        **_best(measured),
        "Published weights": f"those of step {published}" if published is not None else None,
        "Time": _duration(times[-1] - times[0]) if len(times) > 1 else None,
        "Tokens per second": _median(rows, "tokensPerSecond"),
        "with padding": _median(rows, "paddedTokensPerSecond"),
        "Records per second": _median(rows, "samplesPerSecond"),
        "Model FLOPs utilisation": _share(_points(rows, "mfu")),
        "Memory of a worker at most": _memory(_points(rows, "memoryBytes")),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _plots(rows: Sequence[Row], measured: Measured) -> list[Plot]:
    learning = [Curve("training", _points(rows, "loss")), Curve("validation", _evaluations(rows), marked=True)]
    parts = [
        Curve(name, [(row["step"], row["stepTime"].get(name, 0.0)) for row in rows if row.get("stepTime")])
        for name in _SECTIONS
    ]
    memory = [(step, value / _GIB) for step, value in _points(rows, "memoryBytes")]
    speeds = [Curve("real", _points(rows, "tokensPerSecond")), Curve("padded", _points(rows, "paddedTokensPerSecond"))]
    found = [
        _lines("Loss", learning),
        _lines("Loss of each dataset", _streams(rows, "loss"), note=_left_out(rows)),
        _lines("Validation loss of each dataset", _streams(rows, "evalLoss")),
        *_of_suites(measured),
        *_of_method(rows),
        _lines("Learning rate", [Curve("learning rate", _points(rows, "learningRate"))]),
        _lines("Gradient norm", [Curve("gradient norm", _points(rows, "gradNorm"))]),
        _lines("Tokens per second", speeds, from_zero=True),
        _layers("Seconds of a step", [part for part in parts if any(value > 0 for _, value in part.points)]),
        _lines("Model FLOPs utilisation", [Curve("MFU", _points(rows, "mfu"))], from_zero=True),
        _lines("Memory of a worker at most, GiB", [Curve("memory", memory)], from_zero=True),
    ]
    return [plot for plot in found if plot]


def _lines(title: str, curves: Iterable[Curve], *, from_zero: bool = False, note: str = "") -> Plot | None:
    drawn = [curve for curve in curves if curve.points][: len(SERIES)]
    if not drawn:
        return None
    # Our own SVG: it holds numbers alone.
    return Plot(title, tuple(curve.name for curve in drawn), Markup(lines(drawn, from_zero=from_zero)), note)  # noqa: S704


def _layers(title: str, curves: Sequence[Curve]) -> Plot | None:
    if not curves:
        return None
    return Plot(title, tuple(curve.name for curve in curves), Markup(layers(curves)))  # noqa: S704


def _points(rows: Sequence[Row], field: str) -> list[tuple[float, float]]:
    return [(row["step"], row[field]) for row in rows if isinstance(row.get(field), int | float)]


def _evaluations(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Return the evaluation losses; rows repeat the last one until the next evaluation."""
    return _changes(_points(rows, "evalLoss"))


def _changes(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for at, point in enumerate(points) if at == 0 or point[1] != points[at - 1][1]]


def _of_checkpoints(rows: Sequence[Row]) -> Measured:
    """Return what the checkpoints were measured to be; a result may come after rows of later steps."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in (row.get(MEASURED) or {}).items():
            found.setdefault(name, {})[row["step"]] = value
    return {name: sorted(points.items()) for name, points in found.items()}


def _of_suites(measured: Measured) -> list[Plot | None]:
    """Return a plot for each metric, with a curve for each suite that gives it."""
    by_metric: dict[str, list[Curve]] = {}
    for name, points in measured.items():
        suite, _, metric = name.rpartition("/")
        by_metric.setdefault(metric, []).append(Curve(suite, points, marked=True))
    return [
        _lines(metric if len(curves) > 1 else f"{curves[0].name}/{metric}", curves)
        for metric, curves in by_metric.items()
    ]


def _of_method(rows: Sequence[Row]) -> list[Plot | None]:
    """Return a plot for each number that the method gives; `rewards/chosen` and `rewards/rejected` share theirs."""
    by_title: dict[str, list[Curve]] = {}
    numbers = [(row["step"], row.get(METHOD) or {}) for row in rows]
    for name in sorted({name for _, found in numbers for name in found}):
        title, _, last = name.rpartition("/")
        points = [(step, found[name]) for step, found in numbers if name in found]
        by_title.setdefault(title or name, []).append(Curve(last, points))
    return [_lines(title, curves) for title, curves in by_title.items()]


def _best(measured: Measured) -> dict[str, str]:
    best = {
        name: (max if higher_is_better(name) else min)(points, key=lambda point: point[1])
        for name, points in measured.items()
    }
    return {f"{name}, best": f"{number(value)} at step {step:.0f}" for name, (step, value) in best.items()}


def _streams(rows: Sequence[Row], field: str) -> list[Curve]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for stream in row.get("streams", ()):
            if isinstance(stream.get(field), int | float):
                found.setdefault(stream["name"], []).append((row["step"], stream[field]))
    held_out = field == "evalLoss"
    return [
        Curve(name, _changes(points) if held_out else points, marked=held_out)
        for name, points in sorted(found.items(), key=lambda each: -len(each[1]))
    ]


def _left_out(rows: Sequence[Row]) -> str:
    more = len(_streams(rows, "loss")) - len(SERIES)
    return f"{more} more datasets are in {HISTORY}." if more > 0 else ""


def _median(rows: Sequence[Row], field: str) -> str | None:
    points = _points(rows, field)
    return f"{median(value for _, value in points):,.1f}" if points else None


def _share(points: Sequence[tuple[float, float]]) -> str | None:
    return f"{median(value for _, value in points):.1%}" if points else None


def _memory(points: Sequence[tuple[float, float]]) -> str | None:
    return f"{max(value for _, value in points) / _GIB:.2f} GiB" if points else None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
