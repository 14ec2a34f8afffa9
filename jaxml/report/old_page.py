"""One self-contained HTML page: it opens without a network and refers to no other file."""

from __future__ import annotations

import html
from pathlib import Path

from jaxml.core.files import write_atomically
from jaxml.report.records import Chapter, provenance
from jaxml.report.study_page import chapter_parts, study_parts
from jaxml.studies import Findings

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 60rem; margin: 2rem auto 4rem; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
img { width: 100%; height: auto; margin: .4rem 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { border: 1px solid #ddd; border-radius: .5rem; padding: .6rem 1rem; min-width: 8rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; }
.tile span { color: #555; font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
footer { margin-top: 3rem; color: #666; font-size: .85rem; }
"""


KINDS = (*Chapter.__args__, Findings)


def write(result: Chapter | Findings, path: str | Path) -> Path:
    """Write a result as one HTML page.

    Args:
        result: from `landscape.analyze`, `landscape.explore`, `landscape.inspect`,
            `staircase.walk` or `studies`.
        path: where to, such as `report.html`; replaced if it is there.

    Returns:
        The path.

    Raises:
        ValueError: if the result is of another type, or the folder cannot be written to.
    """
    title, parts = chapter_parts(result) if isinstance(result, Chapter) else study_parts(result)
    about = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    body = "\n".join(parts)
    return write_atomically(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n"
        f"<footer>{html.escape(versions)}; {html.escape(about['device']['kind'])}, "
        f"{html.escape(about['device']['machine'])}</footer></body></html>\n",
    )
