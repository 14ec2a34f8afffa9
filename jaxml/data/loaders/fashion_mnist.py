"""Fashion-MNIST: articles of clothing in the format of MNIST."""

from __future__ import annotations

from jaxml.data.dataset import Dataset
from jaxml.data.fetching import Fetched
from jaxml.data.loaders.idx_images import COUNTS, dataset, files, read
from jaxml.data.sources import address, debian_packages, folder

_DEBIAN = "/usr/share/datasets/fashion-mnist"

FASHION_MNIST = Fetched(
    meta={
        "name": "fashion_mnist",
        "task": "classification",
        "classes": 10,
        "class_names": (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        "description": "28x28 images of articles of clothing",
        "source": "Zalando Research, https://github.com/zalandoresearch/fashion-mnist",
        "licence": "MIT",
        "citation": "Xiao, H., Rasul, K. & Vollgraf, R. (2017). Fashion-MNIST: a novel image "
        "dataset for benchmarking machine learning algorithms. arXiv:1708.07747",
    },
    counts=COUNTS,
    sha256="37e5852d33933792bfddacf387e185c9c3d87fa20c45417517512181f092a44a",
    sources=(
        folder(_DEBIAN, files(), read),
        address(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            files(
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
            read,
            size=30_878_645,
        ),
        debian_packages(["dataset-fashion-mnist"], _DEBIAN, files(), read, size=30_900_652),
    ),
)


def fashion_mnist(*, validation: int = 10_000) -> Dataset:
    """70,000 images of articles of clothing, 28 by 28, grey; fetched when first needed.

    Ten classes of 7,000 images: 6,000 in the official training set, 1,000 in the test set.

    Args:
        validation: how many of the last training images to hold out; 0 makes no such split.

    Returns:
        `x` float32 `(N, 28, 28, 1)`, from 0 to 1 in steps of 1/255; `y` int32 `(N,)`, the class,
        whose name is `meta["class_names"][y]`.

    Raises:
        ValueError: if the option is out of range, or the set cannot be fetched or cached.

    Reference:
        Xiao, Rasul & Vollgraf (2017), arXiv:1708.07747.
    """
    return dataset(FASHION_MNIST, validation)
