"""What the filters of a convolutional network have learned to look for."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.chapter_03 import moved
from jaxml.course.chapter_03.convolution import convolve
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics, optimizers, sampling, schedules


def filters(effort: Effort = "quick") -> Finding:
    """The first layer's filters, and the inputs that excite those of the second layer most."""
    if effort == "quick":
        what, model, test = "digits", moved.PLAIN, moved.digits("test")
        params = moved.trained(model, sampling.epochs(64), 0, moved.QUICK_STEPS).params
        starts, steps = 4, 100
    else:
        what, (model, params, test) = "clothes", _clothes()
        starts, steps = 16, 500
    accuracy = training.evaluate(
        lambda state, rows: model.apply(state, {}, rows["x"])[0], params, test,
        {"accuracy": metrics.accuracy},
    )["accuracy"]  # fmt: skip
    norms = np.sqrt((test["x"] ** 2).sum((1, 2, 3), keepdims=True))
    norm = float(norms.mean())
    images = test["x"] * (norm / norms)  # a brighter image is no better than a darker one
    activations = np.asarray(jax.jit(activation)(params, images))  # (images, filters)
    strongest = activations.argsort(0)[::-1][:5]
    made = np.asarray(_ascended(params, images.shape[1:], norm, starts, steps))
    reached = np.asarray(jnp.stack([activation(params, x[None])[0, i] for i, x in enumerate(made)]))
    alive = activations.max(0) > 0
    best = np.where(alive, activations.max(0), np.nan)
    ratio = reached[alive] / best[alive]
    shown = np.flatnonzero(alive)[:6]
    kernels = np.moveaxis(np.asarray(params["conv_0"]["kernel"])[:, :, 0], -1, 0)
    figures = [
        pictures.images(
            {"filters": [_grey(k) for k in kernels]},
            f"The {len(kernels)} filters of the first layer in grey, dark below zero and bright "
            "above.",
        ),
        pictures.images(
            {
                f"filter {i}": [_grey(x[..., 0]) for x in (made[i], *images[strongest[:, i]])]
                for i in shown
            },
            "One row for each of six filters of the second layer: first the input found by "
            f"gradient ascent, a pattern all over the image, then the five {what} of the test that "
            "excite it most.",
        ),
    ]  # fmt: skip
    rows = [
        (str(i), f"{best[i]:.3g}", f"{reached[i]:.3g}", f"{reached[i] / best[i]:.2f}")
        for i in np.flatnonzero(alive)
    ]
    return Finding(
        name="filters",
        question="What does a filter look for?",
        verdict=f"At equal norm the input that gradient ascent finds excites its filter of the "
        f"second layer {ratio.min():.2f} to {ratio.max():.2f} times as strongly as the strongest "
        f"of {len(images):,} {what} of the test, {np.median(ratio):.2f} times in the median of "
        f"{len(ratio)} filters. The network names {accuracy:.1%} of them rightly.",
        sections=[
            Section("The first layer's filters", figures=figures[:1]),
            Section(
                "The second layer's filters: what excites them",
                "Excitement is the mean of the filter's map after the ReLU. Inputs, found or of "
                f"the test, have no negative pixel and the norm {norm:.2f}.",
                figures=figures[1:],
                table=Table(("filter", "strongest of the test", "found", "ratio"), rows),
            ),
        ],
        numbers={"strongest": best.tolist(), "found": reached.tolist(), "accuracy": accuracy},
        expected="for every filter that some image excites, gradient ascent finds an input that "
        "excites it more than any image of the test at equal norm",
        holds=bool((ratio > 1).all()),
    )  # fmt: skip


def activation(params: Any, images: jax.Array) -> jax.Array:
    """The mean over the map of each filter of a `cnn`'s second layer, shape `(images, filters)`."""
    h = jax.nn.relu(convolve(images, params["conv_0"]["kernel"], "SAME") + params["conv_0"]["bias"])
    h = convolve(nn.max_pool(h), params["conv_1"]["kernel"], "SAME") + params["conv_1"]["bias"]
    return jax.nn.relu(h).mean((1, 2))


@functools.partial(jax.jit, static_argnums=(1, 3, 4))
def _ascended(
    params: Any, shape: tuple[int, ...], norm: float, starts: int, steps: int
) -> jax.Array:
    """For each filter the input of that norm that excites it most, of those found."""
    count = params["conv_1"]["bias"].shape[0]

    def project(x):
        x = jnp.maximum(x, 0)
        return norm * x / jnp.linalg.norm(x)

    def ascend(which, start):
        def excitement(x):
            return activation(params, x[None])[0, which]

        def step(i, x):
            gradient = jax.grad(excitement)(x)
            size = jnp.linalg.norm(gradient)
            rate = 0.1 * norm * (1 - i / steps)
            return project(x + rate * gradient / jnp.maximum(size, 1e-12))

        x = jax.lax.fori_loop(0, steps, step, project(start))
        return excitement(x), x

    noise = jax.random.uniform(key(0), (starts, *shape))
    from_each = jax.vmap(jax.vmap(ascend, (None, 0)), (0, None))
    reached, x = from_each(jnp.arange(count), noise)
    return x[jnp.arange(count), reached.argmax(1)]


def _grey(image: np.ndarray) -> np.ndarray:
    """On one scale, zero being the same grey where it is in all."""
    return image / abs(image).max()


def _clothes() -> tuple[Any, Any, dict[str, np.ndarray]]:
    """A network for Fashion-MNIST with filters of 5 by 5, its parameters, and 2,000 test images."""
    splits, steps = data.load("fashion_mnist").splits, 1500
    train = {k: splits["train"][k][:10_000] for k in ("x", "y")}
    test = {k: splits["test"][k][:2000] for k in ("x", "y")}
    model = nn.cnn((28, 28, 1), 10, channels=(8, 16), hidden=(32,), kernel_size=5)
    rate = schedules.cosine(3e-3, steps)
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(rate))
    state = training.fit(algorithm, train, sampling.epochs(64), key=key(0), steps=steps).state
    return model, state.params, test
