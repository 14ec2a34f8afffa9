"""Convolutions: few weights, shared, and what they see."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics, optimizers, sampling

NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolve(images: jax.Array, kernel: jax.Array, padding: str = "VALID") -> jax.Array:
    """A convolution of stride 1."""
    return nn.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=NUMBERS)


def convolution_is_dense(effort: Effort = "quick") -> Finding:
    """The matrix of a convolution: mostly zeros, the rest shared."""
    side = 8 if effort == "quick" else 16
    kernel = jax.random.normal(key(0), (3, 3, 1, 1))
    basis = jnp.eye(side * side).reshape(-1, side, side, 1)
    matrix = np.asarray(convolve(basis, kernel)).reshape(side * side, -1)
    image = jax.random.normal(jax.random.fold_in(key(0), 1), (1, side, side, 1))
    direct = np.asarray(convolve(image, kernel)).ravel()
    dense = np.asarray(image).reshape(1, -1) @ matrix
    off = float(abs(dense - direct).max())
    nonzero = matrix != 0
    distinct = len(np.unique(matrix[nonzero]))
    holds = off < 1e-5 and (nonzero.sum(0) == 9).all() and distinct == 9

    def draw(ax):
        ax.imshow(np.where(nonzero, matrix, np.nan), cmap="coolwarm", interpolation="nearest")
        ax.set(xlabel="output pixel", ylabel="input pixel")

    alt = "The matrix from input to output pixels: nine weights, repeated along diagonal bands."
    return Finding(
        name="convolution-is-dense",
        question="What is a convolution as a fully connected layer?",
        verdict=f"Of {matrix.size:,} weights {nonzero.sum():,} are not zero, 9 for each of the "
        f"{matrix.shape[1]} outputs, and they are {distinct} different numbers; the layer agrees "
        f"with the convolution to {off:.0e}.",
        sections=[Section("Small receptive fields, shared weights", figures=[Figure(draw, alt)])],
        numbers={"weights": matrix.size, "nonzero": int(nonzero.sum()), "distinct": distinct,
                 "difference": off},
        expected="a convolution is a dense layer with 9 weights an output, the same for all",
        holds=bool(holds),
    )  # fmt: skip


LAYERS = {"3 × 3": (3, 1, 1), "stride 2": (3, 2, 1), "pooling": (2, 2, 1), "dilation 2": (3, 1, 2)}
"""Pixels on a side of the kernel, stride, dilation."""


def receptive_field(effort: Effort = "quick") -> Finding:
    """Which pixels an output sees through several layers, by the gradient and by the rule."""
    nets = [["3 × 3"], ["3 × 3"] * 2, ["stride 2", "3 × 3"], ["3 × 3", "pooling", "3 × 3"]]
    if effort == "full":
        nets += [["3 × 3"] * 3, ["3 × 3", "dilation 2"], ["3 × 3", "pooling"] * 2 + ["3 × 3"],
                 ["stride 2"] * 3]  # fmt: skip
    side = 41
    seen = {" + ".join(layers): _seen(layers, side) for layers in nets}
    ruled = {" + ".join(layers): _ruled(layers) for layers in nets}
    sizes = {
        name: (int(pixels.any(1).sum()), int(pixels.any(0).sum()), int(pixels.sum()))
        for name, pixels in seen.items()
    }
    holds = all(sizes[name] == (n, n, n * n) for name, n in ruled.items())
    middle = slice(side // 2 - 12, side // 2 + 13)
    figure = pictures.images(
        {name: [pixels[middle, middle]] for name, pixels in seen.items()},
        "White squares on black, one for each network: the pixels with a gradient grow with depth, "
        "faster with strides, pooling and dilation.",
    )
    table = Table(
        ("layers", "sees, by the gradient", "by the rule"),
        [(name, f"{sizes[name][0]} × {sizes[name][1]}", f"{n} × {n}") for name, n in ruled.items()],
    )
    return Finding(
        name="receptive-field",
        question="How can kernels of 3 by 3 see large patterns?",
        verdict="The gradient of one output reaches "
        + "; ".join(f"{size[0]} × {size[1]} pixels through {name}" for name, size in sizes.items())
        + ".",
        sections=[
            Section(
                "Where the gradient is not zero",
                "By the rule each layer adds (kernel − 1) · dilation · the product of the strides "
                "before it. Pooling is by the mean: of a maximum one pixel alone has a gradient.",
                figures=[figure], table=table,
            )
        ],
        numbers={"pixels": {name: size[2] for name, size in sizes.items()}, "side": ruled},
        expected="two layers of 3 by 3 see 5 by 5, and stride, pooling and dilation widen it as "
        "the rule says",
        holds=bool(holds),
    )  # fmt: skip


def _seen(layers: list[str], side: int) -> np.ndarray:
    """The pixels of an image that the output in the middle has a gradient to."""

    def middle(image):
        h = image[None, :, :, None]
        for name in layers:
            size, stride, dilation = LAYERS[name]
            h = nn.conv_general_dilated(
                h, jnp.full((size, size, 1, 1), 1 / size**2), (stride, stride), "VALID",
                rhs_dilation=(dilation, dilation), dimension_numbers=NUMBERS,
            )  # fmt: skip
            h = h if name == "pooling" else jnp.tanh(h)
        return h[0, h.shape[1] // 2, h.shape[2] // 2, 0]

    image = 0.1 * jax.random.normal(key(0), (side, side))
    return np.asarray(jax.jit(jax.grad(middle))(image)) != 0


def _ruled(layers: list[str]) -> int:
    pixels, apart = 1, 1
    for size, stride, dilation in (LAYERS[name] for name in layers):
        pixels, apart = pixels + (size - 1) * dilation * apart, apart * stride
    return pixels


def shift_equivariance(effort: Effort = "quick") -> Finding:
    """A shifted image gives the shifted feature map, and the same maximum."""
    digits = data.load("digits").splits["test"]["x"].reshape(-1, 8, 8, 1)
    digits = digits[: 20 if effort == "quick" else 360]
    wide = np.pad(digits, ((0, 0), (4, 4), (4, 4), (0, 0)))
    moved = np.roll(wide, (2, -1), (1, 2))
    kernel = jax.random.normal(key(0), (3, 3, 1, 4))
    first, second = (np.asarray(convolve(jnp.asarray(x), kernel, "SAME")) for x in (wide, moved))
    off = float(abs(np.roll(first, (2, -1), (1, 2)) - second).max())
    dense = np.asarray(jax.random.normal(key(0), (wide[0].size, 8)))
    change = float(np.linalg.norm((wide - moved).reshape(len(wide), -1) @ dense)
                   / np.linalg.norm(wide.reshape(len(wide), -1) @ dense))  # fmt: skip
    top = float(abs(first.max((1, 2)) - second.max((1, 2))).max())
    holds = off < 1e-5 and top < 1e-5 and change > 0.5
    figure = pictures.images(
        {"image": [wide[0, :, :, 0], moved[0, :, :, 0]],
         "feature map": [_unit(first[0, :, :, 0]), _unit(second[0, :, :, 0])]},
        "A digit and the same digit shifted, above; below, their feature maps, shifted alike.",
    )  # fmt: skip
    return Finding(
        name="shift-equivariance",
        question="Why does a detector of beaks not need to be learned for every place?",
        verdict=f"The feature map of the shifted image is the shifted map to {off:.1g}, and its "
        f"largest value the same to {top:.1g}; the outputs of a dense layer change by "
        f"{change:.0%}.",
        sections=[Section("The same kernel everywhere", figures=[figure])],
        numbers={"map": off, "maximum": top, "dense_change": change},
        expected="convolution commutes with shifts (to 1e-5), a dense layer does not",
        holds=bool(holds),
    )


def _unit(x: np.ndarray) -> np.ndarray:
    return (x - x.min()) / (x.max() - x.min())


def pooling(effort: Effort = "quick") -> Finding:
    """Digits of half the height and width are still those digits."""
    digits = data.load("digits").splits
    steps = 500 if effort == "quick" else 5000
    accuracy, pixels = {}, {}
    for name in ("whole", "pooled"):
        splits = {"train": digits["train"], "test": digits["test"]}
        rows = {}
        for split, values in splits.items():
            x = values["x"].reshape(-1, 8, 8, 1)
            x = np.asarray(nn.mean_pool(x)) if name == "pooled" else x
            rows[split] = {"x": x.reshape(len(x), -1), "y": values["y"]}
        pixels[name] = rows["train"]["x"].shape[1]
        model = nn.mlp([pixels[name], 32, 10])
        algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-2))
        state = training.fit(algorithm, rows["train"], sampling.epochs(64), key=key(0), steps=steps)
        accuracy[name] = training.evaluate(
            model, state.state, rows["test"], {"accuracy": metrics.accuracy}
        )["accuracy"]
    lost = accuracy["whole"] - accuracy["pooled"]
    holds = pixels["pooled"] * 4 == pixels["whole"] and lost < 0.06
    images = digits["test"]["x"][:8].reshape(-1, 8, 8, 1)
    small = np.repeat(np.repeat(np.asarray(nn.mean_pool(images)), 2, 1), 2, 2)
    figure = pictures.images(
        {"8 × 8": list(images[..., 0]), "4 × 4": list(small[..., 0])},
        "Eight digits, and below them the same from a quarter of the pixels, still legible.",
    )
    return Finding(
        name="pooling",
        question="What is lost if every second row and column is left out?",
        verdict=f"A network on {pixels['pooled']} pooled pixels classifies "
        f"{accuracy['pooled']:.1%} of the test's digits, one on all {pixels['whole']} "
        f"{accuracy['whole']:.1%}.",
        sections=[Section("Whole and pooled", figures=[figure])],
        numbers={"accuracy": accuracy, "pixels": pixels},
        expected="a quarter of the pixels costs less than 6 points of accuracy",
        holds=bool(holds),
    )


def shared_weights(effort: Effort = "quick") -> Finding:
    """A convolutional and a fully connected network on shifted digits."""
    digits = data.load("digits").splits
    steps = 400 if effort == "quick" else 5000

    def wide(values):
        return np.pad(values["x"].reshape(-1, 8, 8, 1), ((0, 0), (2, 2), (2, 2), (0, 0)))

    rows = {"x": wide(digits["train"]), "y": digits["train"]["y"]}
    still = wide(digits["test"])
    shifts = [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (2, 2)]
    flat = {"x": rows["x"].reshape(len(rows["x"]), -1), "y": rows["y"]}
    models = {
        "convolutional": (nn.cnn((12, 12, 1), 10, channels=(8, 16), hidden=()), rows),
        "fully connected": (nn.mlp([144, 10, 10]), flat),
    }
    sizes, accuracy = {}, {}
    for name, (model, split) in models.items():
        algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(3e-3))
        state = training.fit(algorithm, split, sampling.epochs(64), key=key(0), steps=steps).state
        sizes[name] = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        accuracy[name] = [
            training.evaluate(
                model, state,
                {"x": np.roll(still, shift, (1, 2)).reshape(len(still), *split["x"].shape[1:]),
                 "y": digits["test"]["y"]},
                {"accuracy": metrics.accuracy},
            )["accuracy"]
            for shift in shifts
        ]  # fmt: skip
    lost = {name: values[0] - float(np.mean(values[1:])) for name, values in accuracy.items()}
    holds = lost["convolutional"] < lost["fully connected"] - 0.05
    labels = [f"{down}, {right}" for down, right in shifts]
    figure = pictures.bars(
        {name: dict(zip(labels, values, strict=True)) for name, values in accuracy.items()},
        "Accuracy for six shifts: both networks are as good at none; with larger shifts the fully "
        "connected one falls further.",
        xlabel="shift down, right", ylabel="test accuracy",
    )  # fmt: skip
    table = Table(
        ("network", "parameters", "unshifted", "shifted, mean"),
        [(n, f"{sizes[n]:,}", f"{v[0]:.1%}", f"{np.mean(v[1:]):.1%}") for n, v in accuracy.items()],
    )
    return Finding(
        name="shared-weights",
        question="What do shared weights bring on real images?",
        verdict=f"Shifted by one or two pixels, digits cost the convolutional network "
        f"{100 * lost['convolutional']:.0f} points of accuracy and the fully connected one "
        f"{100 * lost['fully connected']:.0f}.",
        sections=[Section("Shifted digits", figures=[figure], table=table)],
        numbers={"accuracy": accuracy, "parameters": sizes, "lost": lost},
        expected="shifts cost the convolutional network less, by 5 points or more",
        holds=bool(holds),
    )
