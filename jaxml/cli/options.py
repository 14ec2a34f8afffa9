"""Options: what their values may be, the groups that several commands share, and their record."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from cyclopts import App, Parameter, Token
from cyclopts.config import Dict

from jaxml.core.checks import near, require
from jaxml.data.csv_files import MISSING_CHOICES

Settings = TypeVar("Settings")

FLAT = Parameter(name="*")
"""Of a dataclass: each of its fields is an option of its own."""


def number(expected: str, holds: Callable[[float], bool] = lambda _: True) -> Parameter:
    """An option whose value, where there is one, is finite and for which `holds`."""

    def check(_: Any, value: float | None) -> None:
        if value is not None and not (math.isfinite(value) and holds(value)):
            raise ValueError(f"expected {expected}, got {value}")

    return Parameter(validator=check)


FINITE = number("a finite number")
POSITIVE = number("a finite number above 0", lambda value: value > 0)
NONNEGATIVE = number("a finite number of at least 0", lambda value: value >= 0)
FRACTION = number("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
COUNT = number("a whole number of at least 1", lambda value: value >= 1)
NATURAL = number("a whole number of at least 0", lambda value: value >= 0)

# of LOW:HIGH:COUNT
_MOST = 10_000


def _list(parse: Callable[[str], Sequence[Any]]) -> Parameter:
    def convert(_: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
        return tuple(parse(tokens[-1].value))

    return Parameter(converter=convert, n_tokens=1, accepts_keys=False, metavar="LIST")


def _list_of(expected: str, parse: Callable[[str], Sequence[Any]]) -> Parameter:
    def explained(text: str) -> Sequence[Any]:
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"expected {expected}, got {text!r}") from error

    return _list(explained)


def _counts(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError
    return [int(part) for part in parts]


def log_spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """Numbers spread evenly in the logarithm."""
    return tuple(float(f"{value:.4g}") for value in np.geomspace(low, high, count))


def _numbers(text: str) -> list[float]:
    """`8,16,32`, or `LOW:HIGH:COUNT` spread evenly in the logarithm."""
    if ":" in text:
        *ends, count = text.split(":")
        low, high = map(float, ends)
        if not (0 < int(count) <= _MOST and 0 < low < math.inf and 0 < high < math.inf):
            raise ValueError
        values = list(log_spaced(low, high, int(count)))
    else:
        values = [float(part) for part in text.split(",")]
    if not np.isfinite(values).all():
        raise ValueError
    return values


def names(known: Iterable[str]) -> Parameter:
    """An option whose value is a list of some of these names."""
    known = tuple(known)

    def parse(text: str) -> list[str]:
        given = text.split(",")
        for name in given:
            got = f"{name!r}{near(name, known)}"
            require(name in known, f"some of {', '.join(known)}", got)
        return given

    return _list(parse)


COUNTS = _list_of("whole numbers as 64,32", _counts)
NUMBERS = _list_of("numbers as 8,16 or LOW:HIGH:COUNT", _numbers)


def _from_anywhere(_: Any, tokens: Sequence[Token]) -> str:
    name = tokens[-1].value
    return str(Path(name).absolute()) if Path(name).suffix else name


DataName = Annotated[str | None, Parameter(converter=_from_anywhere, n_tokens=1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Which data, and how a file of them is to be read."""

    data: DataName = None
    """A data set's name (`jaxml data list`), a .npz or .csv file, or a folder of images."""
    task: Literal["classification", "regression"] | None = None
    """Of a file (told by its targets)."""
    target_column: str | None = None
    """Of a .csv file: what is predicted (the last)."""
    missing: Annotated[str | None, Parameter(choices=MISSING_CHOICES)] = None
    """Of a .csv file, where cells are empty (refuse)."""
    image_size: Annotated[int | None, COUNT] = None
    """Of a folder of images: pixels on a side to resize them to (as they are)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers:
    """The options of networks, each of which takes some."""

    hidden: Annotated[tuple[int, ...] | None, COUNTS] = None
    """Widths of hidden dense layers, as 64,32 (64; cnn: 128)."""
    channels: Annotated[tuple[int, ...] | None, COUNTS] = None
    """Of convolutions (cnn: 32,64; resnet: 16,32,64)."""
    activation: str | None = None
    """Of the hidden layers (relu)."""
    norm: str | None = None
    """batch or layer (none; resnet: batch)."""
    dropout: Annotated[float | None, FRACTION] = None
    """Probability of a hidden value's loss (0)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceLayers(Layers):
    """Those of networks from sequences to sequences too."""

    hidden: Annotated[tuple[int, ...] | None, COUNTS] = None
    """Widths of hidden dense layers, as 64,32 (64; cnn: 128; transformer: 4 times its width)."""
    norm: str | None = None
    """batch or layer (none; resnet: batch); of a transformer pre or post (pre)."""
    width: Annotated[int | None, COUNT] = None
    """Of the layers of a network from sequences to sequences (128)."""
    layers: Annotated[int | None, COUNT] = None
    """Of its encoder, and as many of its decoder (transformer: 3; recurrent_seq2seq: 1)."""
    heads: Annotated[int | None, COUNT] = None
    """Of each attention of a transformer (4)."""
    cell: str | None = None
    """Of recurrent_seq2seq: lstm or gru (lstm)."""
    attention: str | None = None
    """Of recurrent_seq2seq: additive, location, dot or monotonic (additive)."""


def _step_or_best(_: Any, tokens: Sequence[Token]) -> int | Literal["best"]:
    text = tokens[-1].value
    if text != "best" and not text.isdecimal():
        raise ValueError(f"expected the number of a step, or best, got {text!r}")
    return "best" if text == "best" else int(text)


Step = Annotated[int | Literal["best"] | None, Parameter(converter=_step_or_best, n_tokens=1)]
Resume = Annotated[str | None, Parameter(name="--resume", metavar="DIR")]
Start = Annotated[int | None, Parameter(name="--from")]
Config = Annotated[str | None, Parameter(name="--config", metavar="FILE")]


def positional(settings: Settings, **given: Any) -> Settings:
    """The settings with what stands on the command line without a name, where it does."""
    values = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(settings, **values)  # pyright: ignore[reportArgumentType]


def parsed(kind: type[Settings], arguments: Mapping[str, Any]) -> Settings:
    """The settings that `recorded` recorded.

    Raises:
        cyclopts.CycloptsError: for names or values that no such settings have.
    """
    app = App(config=[as_config(arguments)], default_parameter=Parameter(negative=()))
    default = kind()

    @app.default
    def settings(*, given: Annotated[kind, FLAT] = default):  # pyright: ignore
        return given

    return app([], exit_on_error=False, print_error=False, result_action="return_value")


def recorded(settings: Any) -> dict[str, Any]:
    """Settings as plain values: those of the command line, lists with commas."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return {name: _plain(value) for name, value in values.items()}


def as_config(
    arguments: Mapping[str, Any], commands: Sequence[str] = (), source: str = "the run"
) -> Dict:
    """Recorded settings of a command as cyclopts takes them; what is null is not given."""
    given = {name: _plain(value) for name, value in arguments.items() if value is not None}
    for command in reversed(commands):
        given = {command: given}
    return Dict(given, source=source)


def listed(values: Iterable[Any]) -> str:
    """A list as it stands on the command line.

    >>> listed((8, 0.5, 1.0))
    '8,0.5,1'
    """
    return ",".join(str(value).removesuffix(".0") for value in values)


def _plain(value: Any) -> Any:
    return listed(value) if isinstance(value, list | tuple) else value
