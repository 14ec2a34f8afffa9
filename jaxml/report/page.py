"""One self-contained HTML page: it opens without a network and refers to no other file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxml.core import provenance
from jaxml.core.files import plain, write_atomically
from jaxml.core.finding import finding
from jaxml.core.markup import environment


def write(result: Any, path: str | Path, *, title: str | None = None) -> Path:
    """Write a result as one HTML page: the verdict, then the pictures and tables it rests on.

    Args:
        result: of any function of jaxml, a `Finding`, or a list of those, one after the other.
        path: where to, such as `report.html`; replaced if it is there.
        title: of the page; the first finding's name by default.

    Returns:
        The path.

    Raises:
        ValueError: if the result is of another type, or the folder cannot be written to.
    """
    several = isinstance(result, list | tuple) and not hasattr(result, "_fields")
    findings = [finding(one) for one in (result if several else [result])]
    title = title or (findings[0].name if findings else "Nothing found")
    page = environment("jaxml.report").get_template("page.html")
    about = findings[0].provenance if findings else {}
    text = page.render(
        title=title[:1].upper() + title[1:], findings=findings, provenance=provenance.line(about)
    )
    return write_atomically(path, text)


def record(result: Any) -> dict[str, Any]:
    """The verdict and all numbers of a result as plain values that JSON can hold.

    Args:
        result: as in `write`, one.

    Returns:
        `Finding.to_dict`, and the versions and the device.
    """
    shown = finding(result)
    return {**plain({**provenance.provenance(), **shown.provenance}), **shown.to_dict()}
