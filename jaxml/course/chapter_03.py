"""Chapter 3: convolution, small validation sets, deep against wide."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, studies, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort, Experiment
from jaxml.training import augmentation, losses, metrics, optimizers, sampling

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


def receptive_field(effort: Effort = "quick") -> Finding:
    """Which pixels an output of one, two and more layers of 3 by 3 sees: by the gradient."""
    depths = (1, 2, 3) if effort == "quick" else (1, 2, 3, 4, 5, 6, 7)
    side = 2 * max(depths) + 7
    kernels = 0.2 + jax.random.uniform(key(0), (max(depths), 3, 3, 1, 1))
    seen, sizes = {}, {}
    for depth in depths:

        def centre(image, depth=depth):
            h = image[None, :, :, None]
            for kernel in kernels[:depth]:
                h = jnp.tanh(convolve(h, kernel, "SAME"))
            return h[0, side // 2, side // 2, 0]

        image = 0.1 * jax.random.normal(jax.random.fold_in(key(0), 1), (side, side))
        seen[depth] = np.asarray(jax.grad(centre)(image)) != 0
        rows, columns = seen[depth].any(1).sum(), seen[depth].any(0).sum()
        sizes[depth] = (int(rows), int(columns), int(seen[depth].sum()))
    holds = all(size == (2 * d + 1, 2 * d + 1, (2 * d + 1) ** 2) for d, size in sizes.items())
    figure = pictures.images(
        {f"1 to {max(depths)} layers": [*seen.values()]},
        "White squares on black, side by side: the pixels with a gradient grow with depth.",
    )
    return Finding(
        name="receptive-field",
        question="How can kernels of 3 by 3 see large patterns?",
        verdict="The gradient of one output reaches "
        + ", ".join(f"{rows} × {columns}" for rows, columns, _ in sizes.values())
        + f" pixels through 1 to {max(depths)} layers.",
        sections=[Section("Where the gradient is not zero", figures=[figure])],
        numbers={"pixels": {d: size[2] for d, size in sizes.items()}},
        expected="L layers of 3 by 3 see 2L + 1 pixels on a side: two see 5 by 5",
        holds=bool(holds),
    )


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


def turned(images: np.ndarray, degrees: float) -> np.ndarray:
    """Images `(N, H, W, 1)` about their centres, bilinearly, zeros at the edge."""
    size = images.shape[1], images.shape[2]
    matrices = nn.rotations(jnp.full(len(images), -np.deg2rad(degrees)), size)
    return np.asarray(nn.grid_sample(jnp.asarray(images), nn.affine_grid(matrices, size)))


def rotation(effort: Effort = "quick") -> Finding:
    """A convolutional network on turned digits, trained without and with turned ones."""
    digits = data.load("digits").splits
    steps = 400 if effort == "quick" else 5000
    rows = digits["train"] | {"x": digits["train"]["x"].reshape(-1, 8, 8, 1)}
    test = digits["test"]["x"].reshape(-1, 8, 8, 1)
    model = nn.cnn((8, 8, 1), 10, channels=(8, 16), hidden=(32,))
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(3e-3))
    samples = {
        "plain": sampling.epochs(64),
        "augmented": augmentation.augmented(sampling.epochs(64), augmentation.rotation(60)),
    }
    angles, accuracy = [0, 15, 30, 45, 60], {}
    for name, sample in samples.items():
        state = training.fit(algorithm, rows, sample, key=key(0), steps=steps).state
        accuracy[name] = [
            training.evaluate(
                model, state, {"x": turned(test, angle), "y": digits["test"]["y"]},
                {"accuracy": metrics.accuracy},
            )["accuracy"]
            for angle in angles
        ]  # fmt: skip
    plain, augmented = accuracy["plain"], accuracy["augmented"]
    holds = plain[0] - plain[3] > 0.2 and augmented[3] - plain[3] > 0.2
    figure = pictures.curves(
        {name: (angles, values) for name, values in accuracy.items()},
        "Accuracy against the angle: that of the plain network falls steeply, that of the "
        "augmented one slowly.",
        style="o-", xlabel="angle, degrees", ylabel="test accuracy", ylim=(0, 1.02),
    )  # fmt: skip
    samples_drawn = pictures.images(
        {f"{angle}°": list(turned(test[:6], angle)[..., 0]) for angle in angles[::2]},
        "Six digits, upright, and turned by 30 and 60 degrees.",
    )
    return Finding(
        name="rotation",
        question="Does a convolutional network know a digit that is turned?",
        verdict=f"Turned by 45 degrees the accuracy falls from {plain[0]:.1%} to {plain[3]:.1%}; "
        f"trained with turned digits it is {augmented[0]:.1%} and {augmented[3]:.1%}.",
        sections=[Section("Accuracy and angle", figures=[figure, samples_drawn])],
        numbers={"angle": angles, **accuracy},
        expected="at 45 degrees the plain network loses more than 20 points, and augmentation "
        "brings more than 20 back",
        holds=bool(holds),
    )


def bad_samples(effort: Effort = "quick") -> Finding:
    """How often a validation set misleads: counted, and Hoeffding's bound."""
    digits = data.load("digits").everything()
    two = digits["y"] < 2  # one number an example, two kinds, a threshold: as the lecture's edges
    ink, kind = digits["x"][two].mean(1), digits["y"][two] == 1
    cuts = np.quantile(ink, np.linspace(0.01, 0.99, 100))
    wrong = (ink[None] < cuts[:, None]) != kind[None]
    epsilon, sizes = 0.1, [25, 50, 100, 200, 400, 800]
    samples = 500 if effort == "quick" else 20_000
    found = {n: studies.bad_samples(wrong, n, epsilon, samples=samples) for n in sizes}
    needed = studies.examples_needed(len(cuts), epsilon, 0.05)
    enough = studies.bad_samples(wrong, needed, epsilon, samples=samples)
    holds = all(f.value <= f.bound for f in found.values()) and enough.value <= 0.05
    figure = pictures.curves(
        {
            "counted": (sizes, [f.value or np.nan for f in found.values()]),
            "Hoeffding's bound": (sizes, [f.bound for f in found.values()]),
        },
        "The share of bad samples against their size, where there are any: it falls, always below "
        "the bound.",
        style="o-", xlabel="examples N", ylabel="P(bad)", xscale="log", yscale="log",
        ylim=(0.3 / samples, 2),
    )  # fmt: skip
    return Finding(
        name="bad-samples",
        question="How many examples does a validation set need?",
        verdict="Some of 100 thresholds is off by more than 0.1 on "
        + ", ".join(f"{f.value:.1%} of the samples of {n}" for n, f in list(found.items())[1:5])
        + f"; with the {needed} that the bound asks for, on {enough.value:.1%}.",
        sections=[Section("Counted and bounded", figures=[figure])],
        numbers={"examples": sizes, "frequency": [f.value for f in found.values()],
                 "bound": [f.bound for f in found.values()], "needed": needed,
                 "frequency_there": enough.value},
        expected="the frequency never exceeds 2|H|exp(−2Nε²), and N ≥ log(2|H|/δ)/2ε² is enough",
        holds=bool(holds),
    )  # fmt: skip


def tents(effort: Effort = "quick") -> Finding:
    """K layers of two neurons fold the line 2^K times; one layer of as many neurons cannot."""
    depths = list(range(1, 6 if effort == "quick" else 11))
    deep, shallow = {}, {}
    for depth in depths:
        model, params = nn.mlp([1, *[2] * depth, 1]), studies.tents(depth)
        deep[depth] = studies.linear_pieces(
            lambda x, model=model, params=params: model.apply(params, {}, x[None, None])[0][0, 0],
            resolution=2**14,
        )
        wide = nn.mlp([1, 2 * depth, 1])
        random = wide.init(key(0))[0]
        random["dense_0"]["bias"] = -jnp.linspace(0.05, 0.95, 2 * depth)
        random["dense_0"]["kernel"] = jnp.ones((1, 2 * depth))
        shallow[depth] = studies.linear_pieces(
            lambda x, wide=wide, random=random: wide.apply(random, {}, x[None, None])[0][0, 0],
            resolution=2**14,
        )
    holds = all(deep[k] == 2**k and shallow[k] <= 2 * k + 1 for k in depths)
    last = depths[min(3, len(depths) - 1)]
    x = np.linspace(0, 1, 2**last * 32 + 1, dtype=np.float32)
    model, params = nn.mlp([1, *[2] * last, 1]), studies.tents(last)
    y = np.asarray(model.apply(params, {}, x[:, None])[0])[:, 0]
    figures = [
        pictures.curves(
            {"K layers of two": (depths, list(deep.values())),
             "one layer of 2K": (depths, list(shallow.values()))},
            "Pieces against K on a logarithmic scale: a straight line for depth, far below it the "
            "single layer.",
            style="o-", xlabel="K", ylabel="linear pieces", yscale="log",
        ),
        pictures.curves(
            {f"{last} layers of two": (x, y)},
            f"A sawtooth of {2 ** last} straight pieces.", xlabel="x", ylabel="y",
        ),
    ]  # fmt: skip
    k = depths[-1]
    return Finding(
        name="tents",
        question="What does depth buy that width does not?",
        verdict=f"{k} layers of two neurons make {deep[k]:,} linear pieces; one layer of the same "
        f"{2 * k} neurons makes {shallow[k]}.",
        sections=[Section("Folding the line", figures=figures)],
        numbers={"layers": depths, "deep": list(deep.values()), "shallow": list(shallow.values())},
        expected="K layers of two ReLU make 2^K pieces, one layer of 2K at most 2K + 1",
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


LECTURE_3 = "Hung-yi Lee, Machine Learning 2021 and 2022, lecture 3"

EXPERIMENTS = (
    Experiment(
        "convolution-is-dense", 3, "a convolution is a dense layer with few and shared weights",
        LECTURE_3, convolution_is_dense, 0.1,
        "Give the convolution a stride of 2: how many columns has the matrix then?",
    ),
    Experiment(
        "receptive-field", 3, "two layers of 3 by 3 see 5 by 5 pixels", LECTURE_3,
        receptive_field, 0.1, "Put a max pooling between the layers: how fast does it grow now?",
    ),
    Experiment(
        "shift-equivariance", 3, "a shifted image has a shifted feature map", LECTURE_3,
        shift_equivariance, 0.1, "Pool the maps by 2 before comparing: which shifts survive?",
    ),
    Experiment(
        "shared-weights", 3, "shared weights make a network less sensitive to shifts",
        LECTURE_3, shared_weights, 1.0,
        "Train both with augmentation.shift(2): what is left of the difference?",
    ),
    Experiment(
        "pooling", 3, "subsampling the pixels does not change the object", LECTURE_3, pooling, 0.3,
        "Pool twice, down to 2 by 2 pixels, or take nn.max_pool.",
    ),
    Experiment(
        "rotation", 3, "a CNN is not invariant to rotation; augmentation helps",
        LECTURE_3, rotation, 2.0, "Test beyond the 60 degrees that the training saw.",
    ),
    Experiment(
        "bad-samples", 3, "P(a sample is bad) ≤ 2|H| exp(−2Nε²)",
        f"{LECTURE_3} (Pokémon and Digimon); Hoeffding 1963", bad_samples, 0.5,
        "Take 10 thresholds instead of 100: by how much may N shrink?",
    ),
    Experiment(
        "tents", 3, "K layers of two neurons make 2^K pieces, a shallow network needs as many",
        f"{LECTURE_3} (why deep); Telgarsky 2016", tents, 0.1,
        "Change one weight of the first layer a little: how many pieces are left?",
    ),
)  # fmt: skip
