"""Emoji as two artists drew them: the same signs in two styles."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.sources import Arrays, File, npm_packages
from jaxml.data.splits import generator, split_groups

ARTISTS = ("google", "twitter")
CATEGORIES = (
    "Activities",
    "Animals & Nature",
    "Component",
    "Flags",
    "Food & Drink",
    "Objects",
    "People & Body",
    "Smileys & Emotion",
    "Symbols",
    "Travel & Places",
)
SIZE = 64


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from one archive an artist, of images and of a table of the signs."""
    arrays: Arrays = {}
    for artist, content in zip(ARTISTS, contents, strict=True):
        images: dict[str, np.ndarray] = {}
        signs: list[dict[str, Any]] = []
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                _, _, name = member.name.partition(f"/img/{artist}/{SIZE}/")
                if name:
                    images[name] = _pixels(_bytes(archive, member))
                elif member.name == "package/emoji.json":
                    signs = json.loads(_bytes(archive, member))
        names = sorted(images)
        arrays[artist] = np.stack([images[name] for name in names])
        arrays |= _table(names, signs)
    return arrays


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # of a plain file there is content
    return file.read()


def _pixels(png: bytes) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415 - seldom needed

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def _table(names: Sequence[str], signs: Sequence[dict[str, Any]]) -> Arrays:
    """Of each image the sign that it is a variant of (in skin tone, mostly), and its category."""
    of = {
        variant["image"]: (i, sign)
        for i, sign in enumerate(sorted(signs, key=lambda sign: sign["sort_order"]))
        for variant in (sign, *sign.get("skin_variations", {}).values())
    }
    return {
        "sign": np.array([of[name][0] for name in names], np.int32),
        "category": np.array(
            [CATEGORIES.index(of[name][1]["category"]) for name in names], np.int32
        ),
    }


EMOJI = Fetched(
    meta={
        "name": "emoji",
        "task": "classification",
        "classes": 2,
        "description": "emoji by two artists, to tell who drew one",
        "source": "emoji-data by Cal Henderson, from Google's Noto Emoji and Twitter's Twemoji",
        "licence": "MIT (emoji-data); images Apache 2.0 (Noto Emoji) and CC BY 4.0 (Twemoji)",
        "citation": None,
    },
    counts={"train": 5396, "validation": 762, "test": 1414},
    sha256="c6e597f31a86dd53e480fe132af82a228f0065a9a95999376df6e34d4e8ed6ab",
    sources=(
        npm_packages(
            [f"emoji-datasource-{artist}@16.0.0" for artist in ARTISTS],
            [
                File(
                    "emoji-datasource-google-16.0.0.tgz",
                    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
                ),
                File(
                    "emoji-datasource-twitter-16.0.0.tgz",
                    "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
                ),
            ],
            read,
            size=136_027_845,
        ),
    ),
)


def emoji(*, size: int = 32, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Dataset:
    """3,786 emoji, each as two artists drew it; fetched when first needed.

    What is a variant of one sign (in skin tone, mostly) stays together in one split, and so do
    the two drawings of an emoji.

    Args:
        size: pixels on a side, 8, 16, 32 or 64; means of the 64 by 64 that there are.
        validation: fraction of the signs, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` float32 `(N, size, size, 3)`, red, green and blue from 0 to 1 on white; `y` int32
        `(N,)`, the artist, 0 for Google's and 1 for Twitter's; `emoji` int32 `(N,)`, which of the
        3,786 it is, so that two rows of one number are a pair; `category` int32 `(N,)`, an index
        into `meta["categories"]`.

    Raises:
        ValueError: if an option is out of range, or the set cannot be fetched or cached.
    """
    require(size in (8, 16, 32, 64), "size to be 8, 16, 32 or 64", repr(size))
    rng = generator(seed)
    arrays, _ = fetch(EMOJI)
    train, *others = split_groups(arrays["sign"], validation=validation, test=test, rng=rng)

    def rows(chosen: np.ndarray) -> Split:
        chosen = chosen.astype(np.int32)
        drawn = [_on_white(arrays[artist][chosen], size) for artist in ARTISTS]
        return {
            "x": np.stack(drawn, 1).reshape(-1, size, size, 3),
            "y": np.tile(np.arange(2, dtype=np.int32), len(chosen)),
            "emoji": np.repeat(chosen, 2),
            "category": np.repeat(arrays["category"][chosen], 2),
        }

    held_out, last = (None if chosen is None else rows(chosen) for chosen in others)
    return Dataset(rows(train), held_out, last, meta={**EMOJI.meta, "categories": CATEGORIES})


def _on_white(images: np.ndarray, size: int) -> np.ndarray:
    """Of red, green, blue and opacity in bytes; the means of blocks of pixels."""
    step = SIZE // size
    out = np.empty((len(images), size, size, 3), np.float32)
    for i in range(0, len(images), 256):  # no float copy of all 64 by 64
        some = images[i : i + 256].astype(np.float32) / 255
        alpha = some[..., 3:]
        flat = some[..., :3] * alpha + 1 - alpha
        out[i : i + 256] = flat.reshape(len(some), size, step, size, step, 3).mean((2, 4))
    return out
