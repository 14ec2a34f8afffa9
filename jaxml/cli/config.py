"""Options from a file (`--config`), and what may stand beside `--resume`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.argument import ArgumentCollection

from jaxml.cli.options import as_config
from jaxml.core.checks import require

# what is this process's own, no setting of the run
_OF_THE_PROCESS = {"--resume", "--from", "--distributed"}
# what may be changed of a run that goes on
_CHANGEABLE = {"train": {"--steps", "--epochs"}}


def resumed_alone(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse options beside `--resume`, and `--from` without it.

    Raises:
        ValueError: if there are some: a run goes on as it was begun.
    """
    given = {name for name, value in _given(arguments).items() if value is not None}
    if "--resume" not in given:
        require("--from" not in given, "--from beside --resume only", "--from alone")
        return
    changeable = _CHANGEABLE.get(commands[0], set())
    others = ", ".join(sorted(given - _OF_THE_PROCESS - changeable))
    but = f" but {' or '.join(sorted(changeable))}" if changeable else ""
    require(not others, f"nothing beside --resume DIR{but}: a run goes on as it was begun", others)


def from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Take from the file of `--config` what the command line does not say.

    Raises:
        ValueError: if the file cannot be read, or is of another command's run.
    """
    path = _given(arguments).get("--config")
    if path is not None:
        as_config(_read(Path(path), commands), commands, path)(app, commands, arguments)


def _given(arguments: ArgumentCollection) -> dict[str, str]:
    return {a.name: a.tokens[-1].value for a in arguments if a.tokens}


def _read(path: Path, commands: tuple[str, ...]) -> dict[str, Any]:
    """The options in a .toml file, or in the `config.json` of a run, but for its folder."""
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        options = dict(found.get("arguments", found))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        expected = f"options in a .toml or .json file, got {path}"
        raise ValueError(f"expected {expected}: {error}") from error
    was = [found.get("command", commands[0]), options.pop("kind", None)]
    of = " ".join(filter(None, was))
    require(
        " ".join(commands).startswith(of),
        f"options of jaxml {' '.join(commands)}",
        f"{path}, of jaxml {of}",
    )
    if "arguments" in found:
        options.pop("out", None)
    return options
