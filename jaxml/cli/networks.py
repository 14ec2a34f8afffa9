"""Networks and augmentation from what the command line says of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxml import nn
from jaxml.cli.numbers import fraction
from jaxml.core.checks import near, require
from jaxml.core.types import Model
from jaxml.data import Dataset
from jaxml.training import augmentation, sampling
from jaxml.training.loop import Sample

# which of the options each takes
MODELS = {
    "linear": (),
    "deep_linear": ("hidden",),
    "mlp": ("hidden", "activation", "norm", "dropout"),
    "cnn": ("channels", "hidden", "activation", "norm", "dropout"),
    "resnet": ("channels", "activation", "norm"),
}
OPTIONS = ("hidden", "channels", "activation", "norm", "dropout")
# what stands behind the name of each
_TRANSFORMS: dict[str, tuple[Callable[[str], float], ...]] = {
    "shift": (int,),
    "flip": (),
    "rotation": (float,),
    "cutout": (int,),
    "mixup": (float,),
}


def add_arguments(sub: argparse.ArgumentParser, names: Sequence[str] = OPTIONS) -> None:
    """The options of the networks, or those of these names, all without default."""
    known: dict[str, tuple[Callable[[str], Any], str]] = {
        "hidden": (str, "widths of hidden dense layers, as 64,32 (64; cnn: 128)"),
        "channels": (str, "of convolutions (cnn: 32,64; resnet: 16,32,64)"),
        "activation": (str, "of the hidden layers (relu)"),
        "norm": (str, "batch or layer (none; resnet: batch)"),
        "dropout": (fraction, "probability of a hidden value's loss (0)"),
    }
    for name in names:
        type_, help_ = known[name]
        sub.add_argument(f"--{name}", type=type_, help=help_)


def add_augment(sub: argparse.ArgumentParser) -> None:
    """Add `--augment`."""
    sub.add_argument(
        "--augment",
        metavar="NAME:VALUE,…",
        help="of images: shift:PIXELS, flip, rotation:DEGREES, cutout:PIXELS, mixup:ALPHA",
    )


def split_arrays(name: str, dataset: Dataset) -> dict[str, dict[str, np.ndarray]]:
    """The splits there are, with `x` as the model of this name takes it: images or vectors.

    Raises:
        ValueError: if the data are no images and the model wants some.
    """
    require("input_shape" in dataset.meta, "a data set of inputs x", sorted(dataset.train))
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    shape: Sequence[int] = (-1,)
    if "channels" in MODELS[name]:
        shape = dataset.meta.get("image_shape", dataset.train["x"].shape[1:])
        if "image_shape" in dataset.meta and len(shape) == 2:
            shape = (*shape, 1)
        require(len(shape) == 3, f"images for a {name}", f"x of shape {('N', *shape)}")
    return {
        split: {**rows, "x": rows["x"].reshape(len(rows["x"]), *shape)}
        for split, rows in splits.items()
        if rows is not None
    }


def model(options: argparse.Namespace, shape: tuple[int, ...], outputs: int) -> Model:
    """The network that `description` describes."""
    return nn.from_description(description(options, shape, outputs))


def description(
    options: argparse.Namespace, shape: tuple[int, ...], outputs: int
) -> dict[str, Any]:
    """The network as `nn.from_description` takes it.

    Args:
        options: with `model`, the name, and those of `add_arguments`.
        shape: of one input.
        outputs: of the network.

    Raises:
        ValueError: for options that the network does not take, or out of range.
    """
    name, known = options.model, MODELS[options.model]
    given = {o: getattr(options, o) for o in OPTIONS if getattr(options, o) is not None}
    for option in given:
        takes = ", ".join(f"--{o}" for o in known) or "none of the networks' options"
        require(option in known, f"{takes} with {name}", f"--{option}")
    for option in {"hidden", "channels"} & given.keys():
        given[option] = _whole_numbers(option, given[option])
    given["dtype"] = getattr(options, "compute_dtype", None)
    if name == "linear":
        return nn.description(name, shape[0], outputs, **given)
    if "channels" in known:
        return nn.description(name, shape, outputs, **given)
    widths = [shape[0], *given.pop("hidden", [64]), outputs]
    return nn.description(name, widths, **given)


def sampler(augment: str | None, batch_size: int, images: bool, classes: int | None) -> Sample:
    """Epochs of batches, augmented as `--augment` says.

    Args:
        augment: its value.
        batch_size: examples in a batch.
        images: whether the network takes images.
        classes: how many, or None for a regression.

    Raises:
        ValueError: for what is no augmentation, or does not fit the data.
    """
    sample = sampling.epochs(batch_size)
    if augment is None:
        return sample
    require(images, "--augment with a network of images, cnn or resnet", repr(augment))
    transforms = []
    for item in augment.split(","):
        name, *values = item.split(":")
        require(
            name in _TRANSFORMS,
            f"augmentations among {', '.join(_TRANSFORMS)}",
            f"{name!r}{near(name, _TRANSFORMS)}",
        )
        kinds = _TRANSFORMS[name]
        try:
            arguments: list[Any] = [kind(text) for kind, text in zip(kinds, values, strict=True)]
            if not all(map(math.isfinite, arguments)):
                raise ValueError
        except ValueError as error:
            expected = ":".join([name, *("NUMBER" for _ in kinds)])
            raise ValueError(f"expected {expected} in --augment, got {item!r}") from error
        if name == "mixup":
            require(classes is not None, "mixup with a classification data set", "a regression")
            arguments.append(classes)
        transforms.append(getattr(augmentation, name)(*arguments))
    return augmentation.augmented(sample, *transforms)


def _whole_numbers(option: str, text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    expected = "hidden widths as 64 or 64,32" if option == "hidden" else "channels as 32,64"
    require(len(numbers) == text.count(",") + 1, expected, repr(text))
    return numbers
