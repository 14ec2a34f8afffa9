"""Networks and augmentation from what the command line says of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxml import nn
from jaxml.cli.options import Layers, SequenceLayers, listed
from jaxml.core.checks import near, require
from jaxml.core.types import DataLoss
from jaxml.data import Dataset
from jaxml.training import augmentation, losses, metrics, sampling
from jaxml.training.loop import Sample

# which of the options each takes
MODELS = {
    "linear": (),
    "deep_linear": ("hidden",),
    "mlp": ("hidden", "activation", "norm", "dropout"),
    "cnn": ("channels", "hidden", "activation", "norm", "dropout"),
    "resnet": ("channels", "activation", "norm"),
}
# those from sequences to sequences
SEQUENCE_MODELS = {
    "recurrent_seq2seq": ("width", "layers", "cell", "attention", "dropout"),
    "transformer": ("width", "layers", "heads", "hidden", "activation", "norm", "dropout"),
}
# what stands behind the name of each
_TRANSFORMS: dict[str, tuple[Callable[[str], float], ...]] = {
    "shift": (int,),
    "flip": (),
    "rotation": (float,),
    "cutout": (int,),
    "mixup": (float,),
}


def split_arrays(name: str | None, dataset: Dataset) -> dict[str, dict[str, np.ndarray]]:
    """The splits there are, with `x` as the model of this name takes it: images or vectors.

    A model of the user's own (`None`) takes what the data set holds.

    Raises:
        ValueError: if the data are no images and the model wants some.
    """
    require("input_shape" in dataset.meta, "a data set of inputs x", sorted(dataset.train))
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    shape: Sequence[int] = dataset.train["x"].shape[1:] if name is None else (-1,)
    if name is not None and "channels" in MODELS[name]:
        shape = dataset.meta.get("image_shape", dataset.train["x"].shape[1:])
        if "image_shape" in dataset.meta and len(shape) == 2:
            shape = (*shape, 1)
        require(len(shape) == 3, f"images for a {name}", f"x of shape {('N', *shape)}")
    return {
        split: {**rows, "x": rows["x"].reshape(len(rows["x"]), *shape)}
        for split, rows in splits.items()
        if rows is not None
    }


class Targets(NamedTuple):
    """What a network is to learn of a data set.

    Attributes:
        outputs: of the network.
        classes: how many, or `None` of a regression.
        loss: that it is trained on.
        error: what people judge it by, by its name: the share of wrong answers, or the mean
            absolute error in the targets' own units.
    """

    outputs: int
    classes: int | None
    loss: DataLoss
    error: dict[str, DataLoss]


def targets_of(dataset: Dataset) -> Targets:
    """What a network is to learn of a data set.

    Raises:
        ValueError: if it is neither for classification nor for regression.
    """
    task = dataset.meta["task"]
    require(task in ("classification", "regression"), "classification or regression data", task)
    if task == "classification":
        classes = dataset.meta["classes"]
        return Targets(classes, classes, losses.softmax_cross_entropy, {"error": metrics.error})
    outputs = math.prod(dataset.train["y"].shape[1:])
    return Targets(outputs, None, losses.mse, {"mae": losses.mae})


def description(
    name: str, layers: Layers, shape: tuple[int, ...], outputs: int, *, dtype: str | None = None
) -> dict[str, Any]:
    """The network as `nn.from_description` takes it.

    Args:
        name: of the network.
        layers: its options.
        shape: of one input; of tokens their number.
        outputs: of the network.
        dtype: that its layers compute in; float32 by default.

    Raises:
        ValueError: for options that the network does not take, or out of range.
    """
    known = (MODELS | SEQUENCE_MODELS)[name]
    every = [field.name for field in dataclasses.fields(SequenceLayers)]
    given = {o: value for o in every if (value := getattr(layers, o, None)) is not None}
    for option in given:
        takes = ", ".join(f"--{o}" for o in known) or "none of the networks' options"
        require(option in known, f"{takes} with {name}", f"--{option}")
    for option in {"hidden", "channels"} & given.keys():
        given[option] = list(given[option])
    given["dtype"] = dtype
    if name in SEQUENCE_MODELS:
        if "hidden" in given:
            hidden = given["hidden"]
            require(len(hidden) == 1, f"one width as --hidden with {name}", listed(hidden))
            given["hidden"] = hidden[0]
        return nn.description(name, *shape, outputs, **given)
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
