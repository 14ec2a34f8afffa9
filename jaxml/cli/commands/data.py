"""`jaxml data`."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter
from rich.text import Text

from jaxml import data
from jaxml.cli.console import out
from jaxml.cli.datasets import counts

command = App(name="data", help="List, fetch and describe the data sets.")

Name = Annotated[str, Parameter(choices=data.names())]


@command.command(name="list")
def list_all() -> None:
    """List the data sets and whether they are in the cache."""
    titles = f"{'name':17} {'task':20} {'train / validation / test':25} {'to fetch':>9}"
    out.print(titles, style="bold")
    for about in map(data.info, data.names()):
        where = "cached" if about.cached else _size(about)
        out.print(f"{about.name:17} {about.task:20} {counts(about):25} {where:>9}")


@command.command
def fetch(name: Name, /, *names: Name) -> None:
    """Fetch data sets into the cache, verify them and say what they hold.

    Args:
        name: of a data set.
        names: of more.
    """
    abouts = [data.info(each) for each in (name, *names)]
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


@command.command
def info(name: Name, /, *names: Name) -> None:
    """Where a data set comes from and what it may be used for.

    Args:
        name: of a data set.
        names: of more.
    """
    abouts = [data.info(each) for each in (name, *names)]
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
