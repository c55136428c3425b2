"""Write what is generated from the API: the CRDs and the reference. With --check, only say what is out of date."""

import re
import sys
from pathlib import Path

import yaml

from tools.chart import chart_files
from tools.reference import conditions_page, kind_page
from tunesmith_api.base import GROUP
from tunesmith_api.crd import custom_resource_definition
from tunesmith_api.resources import PLURALS

ROOT = Path(__file__).parent.parent
HEADER = "# Written by `make generate` from tunesmith_api.\n"


class Dumper(yaml.SafeDumper):
    """YAML that kubectl and Helm read as it was meant: a plain y or n is a truth value to them."""


Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))


def generated() -> dict[Path, str]:
    """Return the text of every generated file by its path from the root of the repository."""
    files: dict[Path, str] = {Path("docs/reference/conditions.md"): conditions_page()}
    crds: dict[str, str] = {}
    for kind, plural in PLURALS.items():
        crd = yaml.dump(custom_resource_definition(kind), Dumper=Dumper, sort_keys=False, width=120)
        crds[f"{GROUP}_{plural}.yaml"] = HEADER + crd
        files[Path(f"docs/reference/{kind.lower()}.md")] = kind_page(kind)
    files |= {Path("crds") / name: text for name, text in crds.items()}
    return files | chart_files(crds)


def main(arguments: list[str]) -> int:
    """Write the files, or check them; return the exit code."""
    stale = {
        path: text
        for path, text in generated().items()
        if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != text
    }
    if "--check" in arguments:
        for path in stale:
            print(f"{path} is out of date; run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
