"""Deep against wide."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxml import nn, studies
from jaxml.core.finding import Finding, Section
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort


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
