"""Where the layer norm of a Transformer stands."""

from __future__ import annotations

import numpy as np
import optax

from jaxml import data, nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.types import Algorithm, Model
from jaxml.course import pictures, stability
from jaxml.course.chapter_04.sequences import given
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers, sampling

SPEAKERS = 9
LEARNED = 1.1  # half of ln 9, the loss of guessing


def norm_position(effort: Effort = "quick") -> Finding:
    """Deep encoders with the norm after the sum and before the layer: λ_max, and Adam's rates."""
    quick = effort == "quick"
    rows = data.load("japanese_vowels").train
    depths = [6] if quick else [2, 4, 8]
    deepest, seeds, steps = depths[-1], 1 if quick else 5, 50 if quick else 150
    rates = [0.03] if quick else [0.002, 0.004, 0.01, 0.03]
    large, shown = (0, [0]) if quick else (2, [1, 2])
    ways = {
        "post-norm": ("post", 0.0),
        "post-norm, warm-up": ("post", 0.5),
        "pre-norm": ("pre", 0.0),
    }
    sharp = {
        name: [
            stability.sharpness(_algorithm(_encoder(depth, norm), lambda _: 1.0), rows, seeds)
            for depth in depths
        ]
        for name, norm in (("post-norm", "post"), ("pre-norm", "pre"))
    }
    ended = stability.late_losses(
        lambda norm, schedule: _algorithm(_encoder(deepest, norm), schedule),
        ways, rows, sampling.epochs(30), rates=rates, seeds=seeds, steps=steps,
    )  # fmt: skip
    trained = {name: (values < LEARNED).sum(1).tolist() for name, values in ended.items()}
    post, pre = (np.array(values)[-1] for values in sharp.values())

    figures = [
        pictures.curves(
            {name: (depths, np.mean(values, 1)) for name, values in sharp.items()},
            "Largest eigenvalue against the number of layers: that of post-norm grows faster.",
            style="o-", xlabel="layers", ylabel="λ_max at initialisation", ylim=(0, None),
        ),
        pictures.curves(
            {name: (rates, counts) for name, counts in trained.items()},
            f"How many of {seeds} encoders learn against the rate: all pre-norm ones at each rate, "
            "post-norm ones at small rates alone.",
            style={"post-norm": "o-", "post-norm, warm-up": "s--", "pre-norm": "x:"},
            xlabel="Adam's learning rate", xscale="log",
            ylabel=f"encoders of {seeds} that learn", ylim=(-0.2, seeds + 0.2),
        ),
    ]  # fmt: skip
    table = Table(
        ("network", "learning rate", "learn", "loss at the end, each seed"),
        [
            (name, f"{rate:g}", f"{count} of {seeds}", ", ".join(f"{v:.2f}" for v in values))
            for name in ways
            for rate, count, values in zip(rates, trained[name], ended[name], strict=True)
        ],
    )
    holds = trained["post-norm"][large] == 0 and trained["pre-norm"][large] == seeds
    return Finding(
        name="norm-position",
        question="Where does a Transformer's layer norm belong?",
        verdict=f"With {deepest} layers and Adam at "
        + "; at ".join(
            f"{rates[i]:g} {trained['post-norm'][i]} of {seeds} encoders with the norm behind each "
            f"sum learn, {trained['post-norm, warm-up'][i]} with warm-up, "
            f"{trained['pre-norm'][i]} of those with the norm before each layer"
            for i in shown
        )
        + f". λ_max at initialisation is {post.mean():.0f} and {pre.mean():.0f}.",
        sections=[
            Section(
                "Encoders by their layers and rates",
                "Width 32, four heads, on the 270 recordings of nine speakers. λ_max is that of "
                f"the loss over all of them, the mean of {seeds} initialisations. Trained for "
                f"{steps} updates of 30 recordings; warm-up takes the first half of them. An "
                f"encoder learns if its loss over the last tenth is below {LEARNED}; guessing has "
                f"{np.log(SPEAKERS):.1f}.",
                figures, table,
            )
        ],
        numbers={
            "layers": depths, "largest_eigenvalue": sharp, "rate": rates, "learn": trained,
            "loss": {name: values.tolist() for name, values in ended.items()},
        },
        expected=f"at a rate of {rates[large]:g} no encoder with post-norm learns without warm-up, "
        "each with pre-norm does; λ_max is the larger in post-norm, for each seed at the depth "
        "trained",
        holds=bool(holds and (post > pre).all()),
    )  # fmt: skip


def _encoder(layers: int, norm: str) -> Model:
    return nn.transformer_encoder(
        12, SPEAKERS, output="pooled", width=32, layers=layers, hidden=64, norm=norm
    )


def _algorithm(model: Model, schedule: optax.Schedule) -> Algorithm:
    optimizer = optimizers.adam(schedule)
    return training.supervised(model, losses.softmax_cross_entropy, optimizer, inputs=given)
