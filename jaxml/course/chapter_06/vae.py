"""VAEs of digits: how likely they find images never seen, and what a code of fewer nats costs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, generative, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling, schedules

PUBLISHED = -86.76
"""Log-likelihood by 5,000 codes of such a network: Burda et al. 2016 (arXiv:1509.00519), as the
README of github.com/nbip/IWAE quotes it."""


def vae_likelihood(effort: Effort = "quick") -> Finding:
    """A VAE of digits whose pixels are drawn as 0 or 1: its bound by epochs, and a tighter one."""
    quick = effort == "quick"
    splits, side = _digits(quick)
    widths, codes, batch, epochs, samples, rows = (
        ((64, 64), 8, 64, (1, 8, 64), 200, 100)
        if quick
        else ((200, 200), 50, 100, (1, 2, 4, 8, 16, 32, 64), 5000, 1000)
    )
    size = side**2
    nets = *_nets(size, widths, codes), generative.bernoulli()
    per_epoch = len(splits["train"]) // batch
    rate = schedules.warmup_cosine(2e-3, epochs[-1] * per_epoch)
    algorithm = generative.vae(*nets, optimizers.adam(rate), binarize=True)
    # what is held out is drawn once
    drawn = {
        name: np.asarray(jax.random.bernoulli(key(i), splits[name]), np.float32)
        for i, name in enumerate(("validation", "test"))
    }
    found, sample = {}, sampling.epochs(batch)
    state: Any = None
    for before, after in zip((0, *epochs), epochs, strict=False):
        # by epochs, so that all parts are one program
        state = training.fit(
            algorithm, {"x": splits["train"]}, sample, key=key(0), state=state,
            steps=(after - before) * per_epoch, chunk=per_epoch,
        ).state  # fmt: skip
        bound = generative.elbo(*nets, state, drawn["validation"], key=key(1))
        found[after] = float(bound.value.mean())
    bound = generative.elbo(*nets, state, drawn["test"], key=key(2), samples=1 if not quick else 50)
    test, kl = float(bound.value.mean()), float(bound.kl.mean())
    some = drawn["test"][:: len(drawn["test"]) // rows][:rows]
    tight = generative.importance_bound(*nets, state, some, key=key(3), samples=samples)
    loose = generative.elbo(*nets, state, some, key=key(4), samples=50).value
    gain = float(tight.mean() - loose.mean())
    # each pixel on its own, at its mean
    mean = np.clip(splits["train"].mean(0, dtype=float), 1e-6, 1 - 1e-6)
    apart = float((drawn["test"] * np.log(mean / (1 - mean)) + np.log(1 - mean)).sum(1).mean())
    holds = test > apart + 1 and gain > 0 if quick else test >= -100 and 2 <= gain <= 6

    z = jax.random.normal(key(5), (10, codes))
    of = state.params["decoder"], state.model_state["decoder"]
    outputs = generative.bernoulli().mean(nets[1].apply(*of, z)[0])
    inner = generative.reconstruct(*_means(nets, codes), state, drawn["test"][:10]).outputs
    shown = {
        "test": drawn["test"][:10], "reconstructed": generative.bernoulli().mean(inner),
        "drawn": outputs,
    }  # fmt: skip
    figures = [
        pictures.curves(
            {"validation": (list(found), list(found.values()))},
            "The bound on the validation set rises with the epochs, ever more slowly.",
            style="o-", xlabel="epochs", ylabel="bound, nats an image", xscale="log",
        ),
        pictures.images(
            {name: [np.asarray(v).reshape(side, side) for v in rows]
             for name, rows in shown.items()},
            "Ten test images, below them their reconstructions, and ten images drawn from the "
            "prior.",
        ),
    ]  # fmt: skip
    beside = "" if quick else f" Burda et al. 2016 are quoted with {PUBLISHED} by 5,000 codes."
    return Finding(
        name="vae-likelihood",
        question="How likely does a VAE find images that it has never seen?",
        verdict=f"After {epochs[-1]} epochs the bound on the test is {test:.2f} nats an image, of "
        f"which the code takes {kl:.1f}; pixels on their own have {apart:.1f}. On {len(some):,} "
        f"of the images {samples:,} codes each raise it by {gain:.2f}, from {loose.mean():.2f} to "
        f"{tight.mean():.2f}.{beside}",
        text=[
            f"{size}-{'-'.join(map(str, widths))}-{codes} and back, tanh, trained on the training "
            "set alone, each image drawn anew as black or white at every step; those of validation "
            "and test are drawn once. Adam to 0.002 with warm-up and a cosine.",
        ],
        sections=[Section("Bound and images", figures=figures)],
        numbers={"validation": found, "test": test, "kl": kl, "pixels_apart": apart,
                 "test_of_some": float(loose.mean()), "tight_of_some": float(tight.mean()),
                 "gain": gain},
        expected="the test's bound is above that of pixels on their own, by 1 nat, and many codes "
        "raise it" if quick else
        "the test's bound is -100 nats or more, and 5,000 codes raise it by 2 to 6",
        holds=bool(holds),
    )  # fmt: skip


def rate_distortion(effort: Effort = "quick") -> Finding:
    """VAEs with several weights of the divergence: the code's nats against the error's."""
    quick = effort == "quick"
    splits, side = _digits(quick)
    betas, widths, codes, batch, steps = (
        ((0.5, 1.0, 2.0), (32,), 8, 64, 1500)
        if quick
        else ((0.5, 1.0, 2.0, 4.0), (200, 200), 20, 100, 3000)
    )
    nets = *_nets(side**2, widths, codes), generative.bernoulli()
    rate = schedules.warmup_cosine(2e-3, steps)

    def algorithm(beta):
        return generative.vae(*nets, optimizers.adam(rate), beta=beta, binarize=True)

    state = training.fit_many(
        algorithm, {"x": splits["train"]}, sampling.epochs(batch), steps=steps,
        keys=jnp.stack([key(0)] * len(betas)),
        hyperparameters={"beta": np.asarray(betas, np.float32)},
    ).state  # fmt: skip
    test = np.asarray(jax.random.bernoulli(key(1), splits["test"]), np.float32)
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in range(len(betas))]
    bounds = [generative.elbo(*nets, lane, test, key=key(2)) for lane in lanes]
    rates = np.array([float(b.kl.mean()) for b in bounds])
    distortions = np.array([-float(b.reconstruction.mean()) for b in bounds])
    used = [int((_rates(nets, lane, test).mean(0) > 0.01).sum()) for lane in lanes]
    slopes = np.diff(distortions) / -np.diff(rates)
    monotone = (np.diff(rates) < 0).all() and (np.diff(distortions) > 0).all()
    best = betas[int(np.argmin(rates + distortions))]
    between = [bool(a < s < b) for a, s, b in zip(betas, slopes, betas[1:], strict=False)]

    def draw(ax):
        ax.plot(rates, distortions, "o-", color=drawing.BLUE, markersize=5)
        for beta, x, y in zip(betas, rates, distortions, strict=True):
            ax.annotate(f"β = {beta:g}", (x, y), xytext=(6, 4), textcoords="offset points")
        ax.set(xlabel="rate: divergence from the prior, nats",
               ylabel="distortion: −log p(x|z), nats")  # fmt: skip
        ax.margins(0.15)

    z = jax.random.normal(key(5), (10, codes))
    shown: dict[str, Any] = {"test": test[:10]}
    for beta, lane in zip(betas, lanes, strict=True):
        of = lane.params["decoder"], lane.model_state["decoder"]
        shown[f"β = {beta:g}"] = generative.bernoulli().mean(nets[1].apply(*of, z)[0])
    figures = [
        Figure(draw, "Rate and distortion: a falling convex curve, β growing from right to left."),
        pictures.images(
            {name: [np.asarray(v).reshape(side, side) for v in row]
             for name, row in shown.items()},
            "Ten test images, and below them images drawn from the prior by the network of each β.",
        ),
    ]  # fmt: skip
    return Finding(
        name="rate-distortion",
        question="What does a code of fewer nats cost?",
        verdict=f"From β = {betas[0]:g} to {betas[-1]:g} the code's rate falls from {rates[0]:.1f} "
        f"to {rates[-1]:.1f} nats and the distortion grows from {distortions[0]:.1f} to "
        f"{distortions[-1]:.1f}; their sum is least at β = {best:g}. Between neighbours a nat less "
        f"costs {', '.join(f'{s:.2f}' for s in slopes)} nats of distortion, {sum(between)} of "
        f"{len(between)} of them between the two β.",
        text=[
            "On the best curve that a network can reach the slope of distortion over rate is −β, "
            "so that a chord's lies between its ends'.",
        ],
        sections=[
            Section(
                "Rate and distortion on the test", figures=figures,
                table=Table(
                    ["β", "rate", "distortion", "sum", "codes in use"],
                    [[f"{b:g}", f"{r:.2f}", f"{d:.2f}", f"{r + d:.2f}", f"{u} of {codes}"]
                     for b, r, d, u in zip(betas, rates, distortions, used, strict=True)],
                ),
            ),
        ],
        numbers={"betas": betas, "rates": rates, "distortions": distortions, "slopes": slopes,
                 "codes_in_use": used},
        expected="with β the rate falls and the distortion grows at every step, and rate and "
        "distortion have their least sum at β = 1",
        holds=bool(monotone and best == 1),
    )  # fmt: skip


def _digits(small: bool) -> tuple[dict[str, np.ndarray], int]:
    """The splits' pixels in rows, and how many there are on a side."""
    splits, side = data.load("digits" if small else "mnist").splits, 8 if small else 28
    return {name: split["x"].reshape(-1, side**2) for name, split in splits.items()}, side


def _nets(size: int, widths: tuple[int, ...], codes: int) -> tuple[Any, Any]:
    encoder = nn.mlp([size, *widths, 2 * codes], activation="tanh")
    return encoder, nn.mlp([codes, *widths[::-1], size], activation="tanh")


def _means(nets: Any, codes: int) -> tuple[Any, Any]:
    """The networks with the posterior's mean as the code."""
    encoder, decoder, _ = nets

    def apply(*of, **mode):
        found, state = encoder.apply(*of, **mode)
        return found[:, :codes], state

    return encoder._replace(apply=apply), decoder


def _rates(nets: Any, state: Any, x: np.ndarray) -> np.ndarray:
    """The divergence from the prior of each code of each image."""
    of = state.params["encoder"], state.model_state["encoder"]
    mean, log_variance = np.split(np.asarray(nets[0].apply(*of, x)[0]), 2, axis=1)
    return 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
