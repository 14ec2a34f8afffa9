"""Data sets as plain numpy arrays: name -> `Dataset(train, validation, test, meta, others)`.

A new data set is one file in this folder and one line in `REGISTRY`; one that is fetched has a
second line in `FETCHED`, with what is known of it before it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxml.core.checks import near, require
from jaxml.data import fetching, linear_autoencoder, surfaces
from jaxml.data.arrays import from_arrays
from jaxml.data.csv_files import csv_rows, from_csv
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched
from jaxml.data.image_folders import from_image_folder, image_rows
from jaxml.data.loaders.asterisk_prompts import ASTERISK_PROMPTS, asterisk_prompts
from jaxml.data.loaders.bible import BIBLE, bible
from jaxml.data.loaders.chicago_ridership import CHICAGO_RIDERSHIP, chicago_ridership
from jaxml.data.loaders.cmudict import CMUDICT, cmudict
from jaxml.data.loaders.digit_canvases import digit_canvases
from jaxml.data.loaders.digits import digits
from jaxml.data.loaders.emoji import EMOJI, emoji
from jaxml.data.loaders.fashion_mnist import FASHION_MNIST, fashion_mnist
from jaxml.data.loaders.gaussian_grid import gaussian_grid
from jaxml.data.loaders.go_games import go_games
from jaxml.data.loaders.japanese_vowels import JAPANESE_VOWELS, japanese_vowels
from jaxml.data.loaders.karate_club import karate_club
from jaxml.data.loaders.linear_teacher import linear_teacher
from jaxml.data.loaders.mnist import MNIST, mnist
from jaxml.data.loaders.number_words import number_words
from jaxml.data.loaders.ring import ring
from jaxml.data.loaders.tpsa import TPSA, tpsa
from jaxml.data.loaders.two_spirals import two_spirals
from jaxml.data.loaders.vowel import VOWEL, vowel
from jaxml.data.loaders.xor import xor
from jaxml.data.molecules import molecular_graphs
from jaxml.data.npz_files import array_rows, from_npz
from jaxml.data.series import from_series
from jaxml.data.sgf_files import from_sgf
from jaxml.data.synthetic_speech import synthetic_speech
from jaxml.data.wav_files import read_wav

__all__ = [
    "FETCHED",
    "REGISTRY",
    "Dataset",
    "Info",
    "Split",
    "array_rows",
    "asterisk_prompts",
    "bible",
    "chicago_ridership",
    "cmudict",
    "csv_rows",
    "digit_canvases",
    "digits",
    "emoji",
    "fashion_mnist",
    "fetch",
    "from_arrays",
    "from_csv",
    "from_image_folder",
    "from_npz",
    "from_series",
    "from_sgf",
    "gaussian_grid",
    "go_games",
    "image_rows",
    "info",
    "japanese_vowels",
    "karate_club",
    "linear_autoencoder",
    "linear_teacher",
    "load",
    "mnist",
    "molecular_graphs",
    "names",
    "number_words",
    "read_wav",
    "ring",
    "surfaces",
    "synthetic_speech",
    "tpsa",
    "two_spirals",
    "vowel",
    "xor",
]

REGISTRY: dict[str, Callable[..., Dataset]] = {
    "asterisk_prompts": asterisk_prompts,
    "bible": bible,
    "chicago_ridership": chicago_ridership,
    "cmudict": cmudict,
    "digit_canvases": digit_canvases,
    "digits": digits,
    "emoji": emoji,
    "fashion_mnist": fashion_mnist,
    "gaussian_grid": gaussian_grid,
    "go_games": go_games,
    "japanese_vowels": japanese_vowels,
    "karate_club": karate_club,
    "linear_teacher": linear_teacher,
    "mnist": mnist,
    "number_words": number_words,
    "ring": ring,
    "tpsa": tpsa,
    "two_spirals": two_spirals,
    "vowel": vowel,
    "xor": xor,
}
"""Name -> function of keyword options alone, each with a default."""

FETCHED: dict[str, Fetched] = {
    fetched.name: fetched
    for fetched in (
        ASTERISK_PROMPTS,
        BIBLE,
        CHICAGO_RIDERSHIP,
        CMUDICT,
        EMOJI,
        FASHION_MNIST,
        JAPANESE_VOWELS,
        MNIST,
        TPSA,
        VOWEL,
    )
}
"""Those that are fetched when first needed."""


class Info(NamedTuple):
    """What is known of a data set without fetching it.

    Attributes:
        name: as `load` takes it.
        task: "classification", "regression", "generation", "detection" or "sequence_to_sequence".
        description: in a few words.
        counts: split -> number of rows, with the default options.
        source: who made it.
        licence: or "not stated".
        citation: or None.
        sources: where it can be fetched from, in the order they are tried; none if it need not
            be fetched.
        download: bytes to fetch, at most.
        sha256: of the arrays, or None if they need not be fetched.
        path: of the cached file, whether it is there or not, or None.
        cached: whether it is there.
    """

    name: str
    task: str
    description: str
    counts: dict[str, int]
    source: str
    licence: str
    citation: str | None
    sources: tuple[str, ...] = ()
    download: int = 0
    sha256: str | None = None
    path: Path | None = None
    cached: bool = False


def names() -> list[str]:
    """The names that `load` knows, sorted.

    >>> names()  # doctest: +ELLIPSIS
    ['asterisk_prompts', 'bible', 'chicago_ridership', ..., 'two_spirals', 'vowel', 'xor']
    """
    return sorted(REGISTRY)


def info(name: str) -> Info:
    """What is known of a data set; nothing is fetched.

    Raises:
        ValueError: if the name is unknown.

    >>> info("mnist").counts
    {'train': 50000, 'validation': 10000, 'test': 10000}
    """
    name = _known(name)
    shown = ("name", "task", "description", "source", "licence", "citation")
    if name not in FETCHED:
        meta = load(name).meta
        return Info(**{key: meta[key] for key in (*shown, "counts")})
    fetched = FETCHED[name]
    return Info(
        **{key: fetched.meta[key] for key in shown},
        counts=dict(fetched.counts),
        sources=tuple(source.title for source in fetched.sources),
        download=max(source.size or 0 for source in fetched.sources),
        sha256=fetched.sha256,
        path=fetched.path,
        cached=fetched.path.is_file(),
    )


def fetch(name: str) -> str:
    """See to it that a data set is in the cache, whole; `load` does so too.

    Returns:
        Where it came from: "the cache", or one of `info(name).sources`.

    Raises:
        ValueError: if the name is unknown or that of a set that need not be fetched, if no
            source has it, or if the cache folder cannot be written to.
    """
    name = _known(name)
    require(name in FETCHED, f"a data set that is fetched: {', '.join(sorted(FETCHED))}", name)
    _, source = fetching.fetch(FETCHED[name])
    return source


def load(name: str, /, **options: Any) -> Dataset:
    """A data set by its name, fetched if it must be and is not in the cache.

    Args:
        name: one of `names()`.
        **options: those of the function of that name, for example `seed`.

    Raises:
        ValueError: if the name is unknown (the message has the nearest one), if the data set
            takes no such option, if an option's value is out of range, or if it cannot be
            fetched.

    >>> load("two_spirals", n=100).meta["counts"]
    {'train': 60, 'validation': 20, 'test': 20}
    """
    make = REGISTRY[_known(name)]
    accepted = list(inspect.signature(make).parameters)
    expected = (
        f"options of {name} among {', '.join(accepted)}" if accepted else f"no option of {name}"
    )
    unknown = [option for option in options if option not in accepted]
    require(not unknown, expected, ", ".join(option + near(option, accepted) for option in unknown))
    return make(**options)


def _known(name: Any) -> str:
    known = isinstance(name, str) and name in REGISTRY
    if not known:
        got = f"{name!r}{near(name, REGISTRY)}"
        require(known, f"name to be one of {', '.join(names())}", got)
    return name
