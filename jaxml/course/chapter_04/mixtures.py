"""Attention with fewer scores whose choice of keys is learned: by mixtures, by sorting blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import nn
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Model
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.chapter_04.sequences import (
    FRAMES,
    accuracies,
    cross_validated,
    outputs_on,
    recordings,
    trained_on,
)
from jaxml.course.experiment import Effort

MIXTURES, BLOCKS = 10, 5
FIXED, LEARNED, SORTED = "mixtures as drawn", "mixtures learned", "blocks sorted"


def learned_mixtures(effort: Effort = "quick") -> Finding:
    """Linformers with mixtures as they are drawn and learned, and Sinkhorn attention."""
    quick = effort == "quick"
    train, test = recordings()
    seeds, steps, width = (1, 40, 32) if quick else (5, 900, 64)
    levels = [0.3] if quick else [0.0, 0.3]
    encoder = functools.partial(
        nn.transformer_encoder, 12, 9, output="pooled", width=width, dropout=0.2
    )
    drawn = jax.random.normal(key(0), (2, MIXTURES, FRAMES)) / FRAMES**0.5
    models = {
        FIXED: encoder(attention=_mixing(drawn)),
        LEARNED: _learning(lambda mixtures: encoder(attention=_mixing(mixtures)), drawn),
        SORTED: encoder(attention=sorted_blocks),
    }
    tested, validated, chosen = {}, {}, {}
    changed = np.nan
    for name, model in models.items():
        validated[name] = [
            np.nan if quick else cross_validated(model, train, level, steps) for level in levels
        ]
        chosen[name] = levels[int(np.argmax(validated[name]))]
        trained = trained_on(model, train, chosen[name], seeds, steps)
        tested[name] = accuracies(outputs_on(model, trained, test), test)
        if name == LEARNED:
            change = jnp.linalg.norm(trained["mixtures"] - drawn, axis=(-2, -1))
            changed = float((change / jnp.linalg.norm(drawn, axis=(-2, -1))).mean())
    reached = {name: float(np.mean(each)) for name, each in tested.items()}
    least = 0.5 if quick else 0.975
    table = Table(
        ("attention", "noise, by cross-validation", "test", "each seed"),
        [
            (name, f"{chosen[name]:g}", f"{reached[name]:.1%}",
             ", ".join(f"{a:.1%}" for a in each))
            for name, each in tested.items()
        ],
    )  # fmt: skip
    figure = pictures.bars(
        {name: 1 - value for name, value in reached.items()},
        "The share of the test that each of the three networks gets wrong.",
        ylabel="test error",
    )
    return Finding(
        name="learned-mixtures",
        question="Is it worth learning which keys are mixed, or which blocks stand together?",
        verdict=f"Of {len(test['y'])} recordings by nine men a Linformer with {MIXTURES} mixtures "
        f"as they are drawn names the speaker of {reached[FIXED]:.1%}, one that learns them "
        f"{reached[LEARNED]:.1%} (they change by {changed:.0%} of their norm), Sinkhorn attention "
        f"to {BLOCKS} sorted blocks {reached[SORTED]:.1%} ({counted(seeds, 'seed')}).",
        text=(
            "The networks, the recordings and the training are those of speaker-by-attention. Both "
            "layers and all heads share the mixtures. How well a block goes beside another is the "
            "product of the mean of its queries with that of the other's keys.",
        ),
        sections=[Section("On the test", figures=[figure], table=table)],
        numbers={
            "test": tested, "validation": validated, "noise": levels, "chosen": chosen,
            "change_of_mixtures": changed,
        },
        expected=f"learned mixtures and sorted blocks name {least:.1%} of the speakers",
        holds=min(reached[LEARNED], reached[SORTED]) >= least,
    )  # fmt: skip


def _mixing(mixtures: Any) -> Callable[..., jax.Array]:
    return functools.partial(
        nn.attention.linformer_attention, mix_keys=mixtures[0], mix_values=mixtures[1]
    )


def _learning(make: Callable[[Any], Model], first: jax.Array) -> Model:
    """A network whose parameters have the mixtures of its attention among them."""
    plain = make(first)

    def init(key, x=None):
        params, state = plain.init(key, x)
        return {"encoder": params, "mixtures": first}, state

    def apply(params, state, x, **mode):
        return make(params["mixtures"]).apply(params["encoder"], state, x, **mode)

    return Model(init, apply)


def sorted_blocks(
    q: jax.Array, k: jax.Array, v: jax.Array, *, mask: jax.Array | None = None
) -> jax.Array:
    """Sinkhorn attention whose blocks are sorted by their mean queries and keys.

    Args:
        q: queries `(..., n, d)`; `BLOCKS` divides n.
        k: keys `(..., n, d)`.
        v: values `(..., n, e)`.
        mask: as in `nn.attention.sinkhorn_attention`.
    """

    def means(x):
        return x.reshape(*x.shape[:-2], BLOCKS, -1, x.shape[-1]).mean(-2)

    seen = k if mask is None else jnp.where(jnp.swapaxes(mask, -1, -2), k, 0)
    scores = nn.attention.dot_product_scores(means(q), means(seen))
    return nn.attention.sinkhorn_attention(q, k, v, scores=scores, mask=mask)
