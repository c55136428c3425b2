"""Run by vLLM's Python: says what options `vllm serve` has, and what it makes of command lines.

Takes a JSON list of command lines from standard input, each without `vllm` in front. Writes as the last line
`{"options": {name: {"sort", "sample", "choices"}}, "lines": [{dest: value} or a sentence]}`.
"""

import argparse
import contextlib
import io
import json
import sys
from typing import Any

from vllm.entrypoints.cli.serve import cmd_init
from vllm.utils.argparse_utils import FlexibleArgumentParser

# Of what cannot be told from a type: something of each shape that options take.
SAMPLES = ("1", "0.5", "auto", "{}", "[]", '{"1": 1}', "1,2")


def described(action: argparse.Action) -> dict[str, Any]:
    """Return of what sort an option is, and a value that it takes."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return {"sort": "switch"}
    if action.nargs == 0:
        return {"sort": "only on"}
    return {
        "sort": "list" if action.nargs in ("+", "*") else "value",
        "sample": sample(action),
        "choices": [str(choice) for choice in action.choices or ()],
    }


def sample(action: argparse.Action) -> str | None:
    """Return a value that an option takes."""
    if action.choices:
        return str(next(choice for choice in action.choices if choice is not None))
    for text in SAMPLES:
        with contextlib.suppress(Exception):
            if callable(action.type):
                action.type(text)
            return text
    return None


def parsed(parser: argparse.ArgumentParser, line: list[str]) -> dict[str, str] | str:
    """Return what the options of a command line say, or what is wrong with it."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            found = vars(parser.parse_args(line))
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return {name: str(value) for name, value in found.items()}


def main() -> None:
    parser = FlexibleArgumentParser()
    commands = parser.add_subparsers()
    (serve,) = (each.subparser_init(commands) for each in cmd_init())
    options = {
        name.removeprefix("--"): described(action)
        for action in serve._actions
        for name in action.option_strings
        if name.startswith("--") and not isinstance(action, argparse._HelpAction)
    }
    lines = [parsed(parser, line) for line in json.load(sys.stdin)]
    json.dump({"options": options, "lines": lines}, sys.stdout)


if __name__ == "__main__":
    main()
