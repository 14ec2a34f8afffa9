"""Pieces of pages."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure


def section(title: str, text: str, figure: Figure) -> str:
    """A heading, a text and a figure."""
    return f"<h2>{title}</h2><p>{text}</p>{image(figure, title)}"


def image(figure: Figure, title: str = "") -> str:
    """A figure as an image within the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{encoded}">'


def tiles(tiles: dict[str, str]) -> str:
    """The numbers that one looks for first: name -> value."""
    cells = "".join(f'<div class="tile"><b>{v}</b><span>{k}</span></div>' for k, v in tiles.items())
    return f'<div class="tiles">{cells}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of text."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
