"""The Bible, verse by verse: Spanish and English, and the English of 1611 and of today."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require_choice
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.sources import Arrays, File, debian_packages, folder
from jaxml.data.splits import generator, split_groups
from jaxml.data.sword_files import plain, read_ztext
from jaxml.data.versifications import KJV, NRSVA

PAIRS = {"es-en": ("spanish", "web"), "kjv-web": ("kjv", "web"), "es-kjv": ("spanish", "kjv")}
SPLITS = ("random", "book")
RATIO = 3
"""Verses of which one is longer than the other by more than this factor are no translations."""

BOOKS = tuple(NRSVA.chapters)

FAMILIES = (
    ("1Sam", "2Sam", "1Kgs", "2Kgs", "1Chr", "2Chr", "Ps", "Isa", "Jer"),
    ("Ezra", "Neh"),
    ("Matt", "Mark", "Luke"),
    ("Eph", "Col"),
    ("2Pet", "Jude"),
)
"""Books that tell the same in the same words, such as 2 Samuel 22 and Psalm 18."""

_MODULES = {
    "web": ("engWEB2015eb", NRSVA),
    "spanish": ("spaRV1909eb", KJV),
    "kjv": ("engKJV2006eb", KJV),
}
_VERSES = [
    (book, chapter, verse)
    for book, counts in NRSVA.chapters.items()
    for chapter, count in enumerate(counts, 1)
    for verse in range(1, count + 1)
]
_FOLDER = "/usr/share/sword/modules/texts/ztext"
_FILES = [
    File(f"{module}/{testament}.bz{part}")
    for module, _ in _MODULES.values()
    for testament in ("ot", "nt")
    for part in "svz"
]


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from the files of three SWORD modules: each one's verses as lines, and their tags."""
    arrays: Arrays = {}
    testaments = [contents[i : i + 3] for i in range(0, len(contents), 3)]
    for i, (name, (_, versification)) in enumerate(_MODULES.items()):
        osis = read_ztext(testaments[2 * i : 2 * i + 2], versification)
        verses = [plain(osis.get(verse, "")) for verse in _VERSES]
        lines = "\n".join(text for text, _ in verses)
        tags = [(row, *tag) for row, (_, tags) in enumerate(verses) for tag in tags]
        arrays[name] = np.frombuffer(lines.encode(), np.uint8)
        arrays[f"{name}_tags"] = np.array(tags, np.int32)
    return arrays


BIBLE = Fetched(
    meta={
        "name": "bible",
        "task": "sequence_to_sequence",
        "description": "verses of the Bible in Spanish and in English",
        "source": "World English Bible, Reina-Valera 1909 and King James Version as SWORD modules "
        "by eBible.org",
        "licence": "public domain",
        "citation": None,
    },
    counts={"train": 27_956, "validation": 1_553, "test": 1_553},
    sha256="67ae7577def3ec75dcb6e9d437a64665b15f609efc47d2e9da7e4b7f4ad87db1",
    sources=(
        folder(_FOLDER, _FILES, read),
        debian_packages(
            ["sword-text-web", "sword-text-sparv", "sword-text-kjv"],
            _FOLDER,
            _FILES,
            read,
            size=9_479_124,
        ),
    ),
)


def bible(
    *,
    pair: str = "es-en",
    split: str = "random",
    validation: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
) -> Dataset:
    """31,000 verses of the Bible in two translations; fetched when first needed.

    Of the 31,077 verses that "es-en" has on both sides (31,095 of "kjv-web", 31,084 of "es-kjv")
    those are left out whose lengths differ more than threefold.

    Args:
        pair: source and target: "es-en", the Reina-Valera of 1909 and the World English Bible;
            "kjv-web", the King James Version and the World English Bible; or "es-kjv".
        split: "random", verse by verse, so that what is held out may also be told elsewhere, or
            "book": books are held out whole, and together those that tell the same (see
            `FAMILIES`).
        validation: fraction of the verses, or of the books and families, in [0, 1); 0 makes no
            such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` and `y` int32 `(N, longest)`, characters padded with 0 at the end; `x_length` and
        `y_length` int32 `(N,)`. Number i stands for `meta["input_vocabulary"][i]`, which is
        `meta["target_vocabulary"]` too; there is no mark for beginning or end. `verse` int32
        `(N, 3)`: an index into `meta["books"]`, chapter and verse. `links` int32 `(N, most, 4)`:
        `x[start:stop]` and `y[start:stop]` that stand for one Hebrew or Greek word, as start and
        stop in `x`, start and stop in `y`, by the Strong's numbers that are once in each; padded
        with 0. Of the World English Bible these numbers were put there by a program, not all of
        them right.

    Raises:
        ValueError: if an option is not as described, or the set cannot be fetched or cached.
    """
    source, target = PAIRS[require_choice("pair", pair, tuple(PAIRS))]
    require_choice("split", split, SPLITS)
    rng = generator(seed)
    arrays, _ = fetch(BIBLE)
    texts = {name: arrays[name].tobytes().decode().split("\n") for name in _MODULES}
    vocabulary = ("", *sorted(set().union(*(set("".join(lines)) for lines in texts.values()))))
    lengths = np.array([[len(line) for line in texts[name]] for name in (source, target)])
    chosen = np.flatnonzero((lengths.min(0) > 0) & (lengths.max(0) <= RATIO * lengths.min(0)))
    verse = np.array([(BOOKS.index(book), *place) for book, *place in _VERSES], np.int32)[chosen]
    groups = np.arange(len(chosen)) if split == "random" else _families()[verse[:, 0]]
    parts = split_groups(groups, validation=validation, test=test, rng=rng)
    x, y = (_codes([texts[name][i] for i in chosen], vocabulary) for name in (source, target))
    columns: dict[str, np.ndarray] = {
        "x": x,
        "x_length": lengths[0, chosen].astype(np.int32),
        "y": y,
        "y_length": lengths[1, chosen].astype(np.int32),
        "verse": verse,
        "links": _links(arrays[f"{source}_tags"], arrays[f"{target}_tags"])[chosen],
    }

    def rows(part: np.ndarray | None) -> Split | None:
        return None if part is None else {name: c[part] for name, c in columns.items()}

    train, held_out, last = (rows(part) for part in parts)
    assert train is not None  # split_groups leaves one at least
    meta: dict[str, Any] = {
        **BIBLE.meta,
        "input_vocabulary": vocabulary,
        "target_vocabulary": vocabulary,
        "books": BOOKS,
    }
    return Dataset(train, held_out, last, meta)


def _families() -> np.ndarray:
    """Of each book the number of its family, of one book mostly."""
    own = list(range(len(BOOKS)))
    for family in FAMILIES:
        for book in family:
            own[BOOKS.index(book)] = BOOKS.index(family[0])
    return np.array(own)


def _codes(lines: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    points = np.array([0, *(ord(character) for character in vocabulary[1:])])
    lengths = np.array([len(line) for line in lines])
    padded = np.zeros((len(lines), lengths.max()), np.int32)
    flat = np.frombuffer("".join(lines).encode("utf-32-le"), np.uint32)
    padded[np.arange(lengths.max()) < lengths[:, None]] = np.searchsorted(points, flat)
    return padded


def _links(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of each verse the places of numbers that are once in one and once in the other."""
    (keys, tags), (others, other_tags) = _once(first), _once(second)
    _, i, j = np.intersect1d(keys, others, assume_unique=True, return_indices=True)
    verse, *start_stop = tags[i, :3].T
    places = np.stack([*start_stop, *other_tags[j, 1:3].T], 1)
    order = np.lexsort((places[:, 0], verse))
    verse, places = verse[order], places[order]
    counts = np.bincount(verse, minlength=len(_VERSES))
    links = np.zeros((len(_VERSES), counts.max(), 4), np.int32)
    links[np.arange(counts.max()) < counts[:, None]] = places
    return links


def _once(tags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tags whose number is once in its verse, and a key for each, of verse and number."""
    keys, first, counts = np.unique(
        tags[:, 0] * 100_000 + tags[:, 3], return_index=True, return_counts=True
    )
    return keys[counts == 1], tags[first[counts == 1]]
