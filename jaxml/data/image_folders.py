"""A `Dataset` from a folder of images, one subfolder a class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxml.core.checks import require, require_positive_int
from jaxml.data.arrays import described
from jaxml.data.dataset import Dataset, Split
from jaxml.data.splits import generator, split

PARTS = ("train", "validation", "test")


def from_image_folder(
    path: str | os.PathLike[str],
    *,
    size: int | Sequence[int] | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    name: str | None = None,
) -> Dataset:
    """Read images that lie in one subfolder a class, the class's name being the subfolder's.

    Where the folder has a subfolder `train`, that one has the classes, and so have `validation`
    and `test` if they are there; such splits are kept as they are. Names that begin with a dot are
    left out. Images all of whose files are in shades of grey have one channel, others three;
    what is transparent is put on white.

    Args:
        path: of the folder.
        size: (height, width) to resize to, or one number for both, by averaging areas; without
            it the files must have one size.
        validation: as in `from_arrays`; has no effect where there is a subfolder `train`.
        test: likewise.
        seed: likewise.
        name: what to call it in `meta`; by default the folder's name.

    Returns:
        `x` float32 `(N, height, width, channels)` from 0 to 1; `y` int32 `(N,)`, the class, in
        the order of the names in `meta["class_names"]`.

    Raises:
        ValueError: if the folder has fewer than two classes, a class no image or a file that is
            none, or the files more than one size and none is asked for; naming the file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for kind, level in (("night", 10), ("day", 240)):
        ...     (folder / kind).mkdir()
        ...     for i in range(5):
        ...         Image.new("L", (8, 6), level + i).save(folder / kind / f"{i}.png")
        >>> skies = from_image_folder(folder)
        >>> skies.meta["class_names"], skies.meta["input_shape"], skies.meta["counts"]["train"]
        (['day', 'night'], (6, 8, 1), 6)
    """
    folder = Path(path)
    require(folder.is_dir(), "a folder of images", os.fspath(path))
    pixels = None if size is None else _size(size)
    whole = (folder / "train").is_dir()
    places = {part: folder / part for part in PARTS if (folder / part).is_dir()}
    places = places if whole else {"train": folder}
    names = _folders(places["train"])
    require(
        len(names) >= 2, f"a subfolder for each of at least two classes in {places['train']}", names
    )
    for place in places.values():
        wrong = sorted(set(_folders(place)) ^ set(names))
        require(not wrong, f"the classes {', '.join(names)} in {place}", f"a difference in {wrong}")
    files = {part: _files(place, names, names) for part, place in places.items()}
    first = next(iter(files["train"]))[0]
    modes = {_mode(file) for rows in files.values() for file, _ in rows}
    mode = "L" if modes == {"L"} else "RGB"
    pixels = pixels or _shape(first)
    read = {
        part: _rows(rows, pixels, mode, resize=size is not None) for part, rows in files.items()
    }
    parts: tuple[Split | None, ...]
    if whole:
        parts = tuple(read.get(part) for part in PARTS)
    else:
        rows, rng = read["train"], generator(seed)
        parts = split(rows, validation=validation, test=test, rng=rng, labels=rows["y"])
    name = folder.resolve().name if name is None else name
    meta = described(name, "classification", parts, source=str(folder))
    known = {"class_names": names, "classes": len(names), "images": {"size": pixels, "mode": mode}}
    assert parts[0] is not None  # `train` has rows
    return Dataset(parts[0], *parts[1:], meta={**meta, **known})


def image_rows(path: str | os.PathLike[str], meta: Mapping[str, Any]) -> Split:
    """Images to predict, read as those were that a network was trained on.

    Args:
        path: a folder of images, or of subfolders named as the classes.
        meta: of the data set that `from_image_folder` made.

    Returns:
        `x` in the order of the files' names and, from subfolders of classes, `y`.

    Raises:
        ValueError: as `from_image_folder`, or for a subfolder that is no class.
    """
    folder, names = Path(path), list(meta["class_names"])
    require(folder.is_dir(), "a folder of images", os.fspath(path))
    inside = _folders(folder)
    unknown = [name for name in inside if name not in names]
    require(not unknown, f"subfolders named as the classes {', '.join(names)}", unknown)
    files = _files(folder, inside, names) if inside else [(file, 0) for file in _images(folder)]
    rows = _rows(files, tuple(meta["images"]["size"]), meta["images"]["mode"], resize=True)
    return rows if inside else {"x": rows["x"]}


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    both = size if isinstance(size, Sequence) else (size, size)
    require(len(both) == 2, "size to be (height, width) or one number", repr(size))
    height, width = (require_positive_int("every one of size", n) for n in both)
    return height, width


def _folders(place: Path) -> list[str]:
    return sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(place: Path) -> list[Path]:
    files = sorted(p for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
    require(files, "images in each folder of them", f"none in {place}")
    return files


def _files(place: Path, present: Sequence[str], names: Sequence[str]) -> list[tuple[Path, int]]:
    """The files of the classes that are present, and the class's number among all."""
    return [(file, names.index(name)) for name in present for file in _images(place / name)]


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        raise ValueError(f"expected an image of a kind that Pillow reads, got {file}") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected an image, got {file}: {error}") from error


def _mode(file: Path) -> str:
    with _open(file) as image:
        return "L" if image.mode in ("1", "L", "LA", "I;16") else "RGB"


def _shape(file: Path) -> tuple[int, int]:
    with _open(file) as image:
        return image.height, image.width


def _rows(
    files: Sequence[tuple[Path, int]], pixels: tuple[int, int], mode: str, *, resize: bool
) -> Split:
    height, width = pixels
    x = np.empty((len(files), height, width, 1 if mode == "L" else 3), np.float32)
    for row, (file, _) in zip(x, files, strict=True):
        row[:] = _pixels(file, pixels, mode, resize=resize)
    return {"x": x, "y": np.array([label for _, label in files], np.int32)}


def _pixels(file: Path, pixels: tuple[int, int], mode: str, *, resize: bool) -> np.ndarray:
    height, width = pixels
    with _open(file) as image:
        same = (image.height, image.width) == pixels
        expected = f"images of {height} by {width} pixels as the first, or a size to resize to"
        require(same or resize, expected, f"{file} of {image.height} by {image.width}")
        try:
            if image.mode == "I;16":  # 16 bits of grey, of which Pillow would cut off the upper
                shown = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
            elif image.has_transparency_data:
                clear = image.convert("RGBA")
                paper = Image.new("RGBA", clear.size, "white")
                shown = Image.alpha_composite(paper, clear)
            else:
                shown = image
            shown = shown.convert(mode)
        except OSError as error:
            raise ValueError(f"expected a whole image, got {file}: {error}") from error
    if not same:
        shown = shown.resize((width, height), Image.Resampling.BOX)
    return np.asarray(shown, np.float32).reshape(height, width, -1) / 255
