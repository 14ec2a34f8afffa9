"""`jaxml data`."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.text import Text

from jaxml import data
from jaxml.cli.console import AddCommand, counts, out

_DEBUG = "show the traceback of an error"


def add(command: AddCommand) -> None:
    """The command and those under it."""
    commands = command("data", None, "List, fetch and describe the data sets.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    for name, function, help_ in (
        ("list", _list, "List the data sets and whether they are in the cache."),
        ("fetch", _fetch, "Fetch data sets into the cache, verify them and say what they hold."),
        ("info", _info, "Where a data set comes from and what it may be used for."),
    ):
        sub = commands.add_parser(name, help=help_, description=help_)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=_DEBUG)
        sub.set_defaults(command=function, parser=sub)
        if function is not _list:
            sub.add_argument("names", nargs="+", metavar="NAME", help=", ".join(data.names()))


def _list(options: argparse.Namespace) -> int:  # noqa: ARG001
    titles = f"{'name':17} {'task':20} {'train / validation / test':25} {'to fetch':>9}"
    out.print(titles, style="bold")
    for about in map(data.info, data.names()):
        where = "cached" if about.cached else _size(about)
        out.print(f"{about.name:17} {about.task:20} {counts(about):25} {where:>9}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    abouts = [data.info(name) for name in options.names]
    for about in abouts:
        source = f"from {data.fetch(about.name)}" if about.sources else "comes with jaxml"
        out.print(Text.assemble((about.name, "bold"), f" {source}"))
        dataset = data.load(about.name)
        for part in ("train", "validation", "test"):
            split = getattr(dataset, part)
            if split is not None:
                out.print(f"  {part} {len(split['x']):,}{_contents(dataset.meta, split)}")
        if "span" in dataset.meta:
            out.print("  days from {} to {}".format(*dataset.meta["span"]))
        if about.path is not None:
            out.print(f"  {about.path}")
    return 0


def _info(options: argparse.Namespace) -> int:
    abouts = [data.info(name) for name in options.names]
    for about in abouts:
        out.print(Text.assemble((about.name, "bold"), f": {about.description}"))
        rows = [
            ("task", about.task),
            ("counts", f"{counts(about)} to train / for validation / for the test"),
            ("made by", about.source),
            ("licence", about.licence),
            ("citation", about.citation or "none"),
            *((f"source {i}", title) for i, title in enumerate(about.sources, 1)),
        ]
        if about.sources:
            rows += [
                ("to fetch", _size(about)),
                ("sha256", f"{about.sha256} of the arrays"),
                ("cache", f"{about.path}{'' if about.cached else ' (not there yet)'}"),
            ]
        for title, value in rows:
            out.print(f"  {title:9} {value}")
    return 0


def _size(about: data.Info) -> str:
    return f"≤ {about.download / 1e6:.1f} MB" if about.sources else "nothing"


def _contents(meta: dict[str, Any], split: data.Split) -> str:
    """The balance of the classes, and how long what has a length is."""
    text = ""
    if meta["task"] == "classification":
        sizes = np.bincount(split["y"])
        text = f", of {len(sizes)} classes with {_range(sizes)} rows each"
    lengths = [name for name in split if name.endswith("length")]
    return "; ".join([text, *(f"{name} {_range(split[name])}" for name in lengths)])


def _range(values: np.ndarray) -> str:
    least, most = int(values.min()), int(values.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
