"""What the experiments of this chapter share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxml import sequence, training
from jaxml.core.types import Algorithm
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.training import optimizers, sampling, schedules


def trained(
    network: Seq2Seq,
    train: dict[str, Any],
    score: Callable[[Any], float],
    *,
    begin: int,
    edges: int | Sequence[int],
    tokens: int,
    epochs: int,
    rate: float,
    warm_up: float = 0.05,
    looks: int = 10,
    technique: Callable[..., Algorithm] = sequence.teacher_forcing,
) -> tuple[Any, dict[float, float]]:
    """A network from sequences to sequences, trained on batches of similar length.

    Args:
        network: what to train.
        train: as `sequence.with_end` makes it.
        score: of parameters, on what is held out.
        begin: the token before the first.
        edges: as in `sampling.buckets`.
        tokens: likewise.
        epochs: in all.
        rate: the highest of Adam's rates.
        warm_up: fraction of the steps in which it is reached.
        looks: how often it is scored.
        technique: what makes an algorithm of the network, such as teacher forcing.

    Returns:
        The parameters, and epoch -> score.
    """
    lengths = np.maximum(train["x_length"], train["mask"].sum(1))
    buckets = sampling.buckets(lengths, edges, tokens)
    chunk = epochs * buckets.steps_per_epoch // looks
    steps = looks * chunk  # chunks of one length are compiled once
    rates = schedules.warmup_cosine(rate, steps, warm_up)
    algorithm = technique(
        network, optimizers.adam(rates, b2=0.98), begin=begin, label_smoothing=0.1
    )
    scores: dict[float, float] = {}

    def look(chunk: training.Chunk) -> None:
        scores[chunk.step / buckets.steps_per_epoch] = score(chunk.state.params)

    run = training.fit(
        buckets.cut(algorithm), train, buckets, key=jax.random.key(0), steps=steps,
        chunk=chunk, hooks=[look],
    )  # fmt: skip
    return run.state.params, scores
