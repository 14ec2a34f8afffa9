"""Deep auto-encoders: smaller codes than those of PCA, and images without their noise."""

from __future__ import annotations

import jax
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Finding, Section
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import augmentation, losses, optimizers, sampling, schedules


def _pixels(split) -> np.ndarray:
    return split["x"].reshape(len(split["x"]), -1)


def deep_against_pca(effort: Effort = "quick") -> Finding:
    """A deep auto-encoder and PCA with codes of two numbers."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import

    digits = data.load("digits").splits
    train, test = _pixels(digits["train"]), _pixels(digits["test"])
    steps = 1500 if effort == "quick" else 20_000
    model = nn.mlp([64, 64, 32, 2, 32, 64, 64], activation="tanh")
    algorithm = training.supervised(
        model, losses.mse, optimizers.adam(schedules.warmup_cosine(5e-3, steps))
    )
    state = training.fit(
        algorithm, {"x": train, "y": train}, sampling.epochs(128), key=key(0), steps=steps
    ).state
    own = np.asarray(model.apply(state.params, state.model_state, test)[0])
    pca = PCA(2).fit(train)
    flat = pca.inverse_transform(pca.transform(test))
    errors = {"deep auto-encoder": float(((own - test) ** 2).mean()),
              "PCA": float(((flat - test) ** 2).mean())}  # fmt: skip
    holds = errors["deep auto-encoder"] < 0.9 * errors["PCA"]
    figure = pictures.images(
        {name: [np.clip(v[i].reshape(8, 8), 0, 1) for i in range(8)]
         for name, v in {"test": test, "deep": own, "PCA": flat}.items()},
        "Eight test digits; below them what two numbers keep, by the deep auto-encoder and, "
        "more blurred, by PCA.",
    )  # fmt: skip
    return Finding(
        name="deep-against-pca",
        question="What do the layers of a deep auto-encoder add?",
        verdict=f"With codes of two numbers the squared error on the test is "
        f"{errors['deep auto-encoder']:.4f} deep and {errors['PCA']:.4f} with PCA.",
        sections=[Section("Two numbers a digit", figures=[figure])],
        numbers={"test_error": errors},
        expected="at the same size of code the deep one has the smaller test error, by a tenth",
        holds=bool(holds),
    )


def denoising(effort: Effort = "quick") -> Finding:
    """From a noisy image back to the clean one."""
    digits = data.load("digits").splits
    steps = 1500 if effort == "quick" else 10_000
    train, test = _pixels(digits["train"]), _pixels(digits["test"])
    random = np.random.default_rng(0)
    noisy = {name: (x + 0.3 * random.normal(size=x.shape)).astype(np.float32)
             for name, x in {"train": train, "test": test}.items()}  # fmt: skip
    model = nn.mlp([64, 128, 24, 128, 64])

    def fresh(batch, key):  # another noise at every step
        return {**batch, "x": batch["x"] + 0.3 * jax.random.normal(key, batch["x"].shape)}

    algorithm = training.supervised(model, losses.mse, optimizers.adam(2e-3))
    sample = augmentation.augmented(sampling.epochs(64), fresh)
    rows = {"x": train, "y": train}
    state = training.fit(algorithm, rows, sample, key=key(0), steps=steps).state
    outputs = np.asarray(model.apply(state.params, state.model_state, noisy["test"])[0])
    before = float(((noisy["test"] - test) ** 2).mean())
    after = float(((outputs - test) ** 2).mean())
    kept = float(((outputs - noisy["test"]) ** 2).mean())
    holds = after < 0.5 * before and after < kept
    figure = pictures.images(
        {name: [np.clip(v[i].reshape(8, 8), 0, 1) for i in range(8)]
         for name, v in {"clean": test, "noisy": noisy["test"], "output": outputs}.items()},
        "Eight clean digits, the same under noise, and the outputs, which look clean.",
    )  # fmt: skip
    return Finding(
        name="denoising",
        question="Can a network give back what noise has covered?",
        verdict=f"The noisy test images are {before:.4f} from the clean ones, the outputs "
        f"{after:.4f}; from their inputs they are {kept:.4f}.",
        sections=[Section("Clean, noisy, output", figures=[figure])],
        numbers={"before": before, "after": after, "from_input": kept},
        expected="the output is closer to the clean image than the input is, by half or more, and "
        "closer than to its input",
        holds=bool(holds),
    )
