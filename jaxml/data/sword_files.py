"""Bibles as SWORD keeps them: compressed blocks of OSIS, and an index of verses."""

from __future__ import annotations

import html
import itertools
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxml.core.checks import require
from jaxml.data.versifications import Versification

OLD_BOOKS = 39

Reference = tuple[str, int, int]
"""Book, chapter and verse."""

_DROPPED = re.compile(
    r'<(note|speaker)\b.*?</\1>|<title(?![^>]*canonical="true").*?</title>|\\\+?\w+\*?|¶', re.DOTALL
)
_TAG = re.compile(r"<[^>]*>")
_INLINE = re.compile(r"</?(?:w|q|seg|transChange|divineName|foreign|name|reference)\b")
_STRONG = re.compile(r"strong:([GH])(\d+)")
# each match is a blank too many
_BLANK = re.compile(r"^\s+|\s+$|\s(?=\s)|\s+(?=[,.;:!?)’”])|(?<=[(¡¿“‘])\s+")


class Tagged(NamedTuple):
    """A verse, and which Hebrew or Greek word each of its parts stands for.

    Attributes:
        text: without notes and headings.
        tags: `(start, stop, number)` of characters from `start` to before `stop`, and Strong's
            number of a Greek word, or of a Hebrew one as a negative number.
    """

    text: str
    tags: list[tuple[int, int, int]]


def read_ztext(
    testaments: Sequence[Sequence[bytes]], versification: Versification
) -> dict[Reference, str]:
    """The verses of a module of SWORD's driver zText, as OSIS; "" where it has none.

    Args:
        testaments: of the Old and of the New one the blocks' places (`.bzs`), the verses' places
            (`.bzv`) and the blocks (`.bzz`), compressed by zlib.
        versification: the module's own.

    Raises:
        ValueError: if the module has another versification, or a block is broken.

    Reference:
        The SWORD Project, src/modules/common/zverse.cpp: 12 bytes a block (offset, bytes, bytes
        unpacked), 10 bytes a verse (block, offset, bytes). The first two entries, and one before
        each book and each chapter, are of headings.
    """
    books = list(versification.chapters.items())
    verses: dict[Reference, str] = {}
    parts = zip(testaments, (books[:OLD_BOOKS], books[OLD_BOOKS:]), strict=True)
    for (testament, own), entries in zip(parts, versification.entries, strict=True):
        places, index, packed = testament
        expected = f"{entries:,} entries, as versification {versification.name} has"
        require(len(index) == 10 * entries, expected, f"{len(index) / 10:,.10g}")
        blocks = [_block(i, packed, *place) for i, place in enumerate(_records("<III", places))]
        found = itertools.islice(_records("<IIH", index), 2, None)
        for book, chapters in own:
            next(found)
            for chapter, count in enumerate(chapters, 1):
                next(found)
                for verse in range(1, count + 1):
                    number, start, size = next(found)
                    content = b""
                    if size:
                        require(number < len(blocks), f"a block below {len(blocks)}", number)
                        content = blocks[number][start : start + size]
                        whole = f"{size} bytes from {start} on in block {number}"
                        require(len(content) == size, whole, f"{len(content)}")
                    verses[book, chapter, verse] = content.decode()
    return verses


def _records(form: str, content: bytes) -> Iterator[tuple[int, ...]]:
    size = struct.calcsize(form)
    require(len(content) % size == 0, f"records of {size} bytes", f"{len(content)} bytes")
    return struct.iter_unpack(form, content)


def _block(number: int, packed: bytes, start: int, size: int, unpacked: int) -> bytes:
    expected = f"{unpacked:,} bytes in block {number}, compressed by zlib"
    try:
        content = zlib.decompress(packed[start : start + size])
    except zlib.error as error:
        raise ValueError(f"expected {expected}, got: {error}") from None
    require(len(content) == unpacked, expected, f"{len(content):,}")
    return content


def plain(osis: str) -> Tagged:
    """The text of a verse, and its Strong's numbers.

    What follows the end of a chapter is left out (an afterword), and so are notes and the headings
    that are not of the text itself, as titles of psalms are.

    >>> plain('<w lemma="strong:H2009">He aquí</w><note>1:1 a note</note>, <lb/> ¡OH!')
    Tagged(text='He aquí, ¡OH!', tags=[(0, 7, -2009)])
    """
    osis = _DROPPED.sub(" ", osis.partition("<chapter eID=")[0])
    text, tags, position = "", [], 0
    numbers: list[int] = []
    opened = 0
    for tag in [*_TAG.finditer(osis), None]:
        text += html.unescape(osis[position : tag.start() if tag else None])
        if tag is None:
            break
        position = tag.end()
        if not _INLINE.match(tag[0]):
            text += " "
        elif tag[0] == "</w>":
            tags += [(opened, len(text), number) for number in numbers]
        elif tag[0].startswith("<w "):
            opened = len(text)
            numbers = [int(n) if of == "G" else -int(n) for of, n in _STRONG.findall(tag[0])]
    kept = np.ones(len(text) + 1, bool)
    for blank in _BLANK.finditer(text):
        kept[blank.start() : blank.end()] = False
    place = np.cumsum(kept) - kept
    tags = [(int(place[start]), int(place[stop]), number) for start, stop, number in tags]
    text = "".join(c for c, keep in zip(text, kept, strict=False) if keep)
    return Tagged(re.sub(r"\s", " ", text), tags)
