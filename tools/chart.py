"""What the chart and the kustomize bases take from elsewhere: CRDs, the dashboard, and the README's table of values."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.dashboard import dashboard

ROOT = Path(__file__).parent.parent
CHART = Path("charts/tunesmith")

README = """\
<!-- Written by `make generate` from values.yaml. -->

# The chart of Tunesmith

The operator of `FineTuneJob`, `EvalJob` and `ModelServe`, its CustomResourceDefinitions, and roles for people who use
them. Kubernetes 1.20 or newer; Helm 3.8 or newer, or Helm 4.

```sh
helm install tunesmith charts/tunesmith --namespace tunesmith-system --create-namespace
helm test tunesmith --namespace tunesmith-system
```

[How to install](../../docs/how-to/install.md) says what to do about upgrades, single namespaces, Argo CD and
uninstalling. A value that this table does not have is refused.

## Values

{table}
"""

Row = tuple[str, str, str]


def chart_files(crds: dict[str, str]) -> dict[Path, str]:
    """Return the generated files of the chart and of config/; `crds` are the CRDs by the name of their file."""
    files = {
        folder / name: text for name, text in crds.items() for folder in (CHART / "files/crds", Path("config/crd"))
    }
    files[CHART / "files/dashboard.json"] = dashboard()
    files[CHART / "README.md"] = readme((ROOT / CHART / "values.yaml").read_text(encoding="utf-8"))
    return files


def readme(values: str) -> str:
    """Return the chart's README with a table of the values, from the text of values.yaml."""
    rows = [("value", "default", "meaning"), ("---", "---", "---"), *value_rows(values)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return README.format(table=table)


def value_rows(values: str) -> Iterator[Row]:
    """Yield path, default and comment of each value that has a comment, which is where people change one."""
    loaded = yaml.safe_load(values)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in values.splitlines():
        if found := re.match(r"\s*# ?(.*)", line):
            comment.append(found[1])
        elif found := re.match(r"( *)([A-Za-z_]+):", line):
            path = [(indent, name) for indent, name in path if indent < len(found[1])]
            path.append((len(found[1]), found[2]))
            if comment:
                names = [name for _, name in path]
                yield f"`{'.'.join(names)}`", f"`{_shown(_at(loaded, names))}`", " ".join(comment)
            comment = []
        else:
            comment = []


def _at(loaded: Any, names: list[str]) -> Any:
    for name in names:
        loaded = loaded[name]
    return loaded


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
