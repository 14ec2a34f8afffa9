"""A Transformer that is trained and that decodes, and a recurrent network."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import torch

from benchmarks import peers
from benchmarks.tables import Row, compare
from benchmarks.timing import contestant, timed
from benchmarks.training_speed import LEARNING_RATE, fitting
from jaxml import nn, sequence, training
from jaxml.training import losses, optimizers

HEADS, SMOOTHING = 4, 0.1


def _sentences(rows: int, size: int, tokens: int) -> dict[str, Any]:
    """Random sources, up to half of each padding, and targets; 0 is no token of theirs."""
    rng = np.random.default_rng(0)
    length = rng.integers(size // 2, size + 1, rows)
    inside = np.arange(size) < length[:, None]
    x, y = (np.where(inside, rng.integers(1, tokens - 1, (rows, size)), 0) for _ in range(2))
    return {"x": x, "x_length": length, "y": y, "mask": inside}


def training_steps(rounds: int) -> Iterator[Row]:
    """Jaxml against `torch.nn.Transformer`, small with few tokens and larger with many."""
    sizes = ((128, 2, 64, 12, 44, 20), (256, 3, 32, 32, 4000, 4))
    for width, layers, batch_size, size, tokens, steps in sizes:
        begin = tokens - 1
        split = _sentences(4 * batch_size, size, tokens)
        options = {"width": width, "layers": layers, "heads": HEADS, "dropout": 0.1}
        algorithm = sequence.teacher_forcing(
            nn.transformer(tokens, tokens, **options),
            optimizers.adam(LEARNING_RATE),
            begin=begin,
            label_smoothing=SMOOTHING,
        )
        previous = np.asarray(sequence.forced(split, begin=begin)[2])
        cross_entropy = functools.partial(
            torch.nn.functional.cross_entropy, label_smoothing=SMOOTHING, ignore_index=0
        )
        by_torch = functools.partial(
            peers.training,
            functools.partial(peers.Transformer, tokens, size=size, **options),
            np.concatenate([split["x"], previous], axis=1),
            split["y"],
            batch_size=batch_size,
            steps=steps,
            loss=cross_entropy,
        )
        yield compare(
            f"transformer of width {width}, {layers} + {layers} layers, {tokens:,} tokens, "
            f"batch {batch_size} of {size}: steps a second",
            {
                "jaxml": fitting(algorithm, split, batch_size, steps),
                "PyTorch": contestant(by_torch()),
                "PyTorch compiled": lambda make=by_torch: contestant(make(compiled=True)),
            },
            rounds=rounds,
            per_run=steps,
            expected=1.0,
        )


def greedy_decoding(rounds: int) -> Iterator[Row]:
    """The likeliest token, 16 times for 64 sources: with a cache, and by PyTorch's decoder."""
    rows, size, tokens, steps = 64, 12, 44, 16
    begin, end = tokens - 1, tokens - 2
    split = _sentences(rows, size, tokens - 1)
    options = {"width": 128, "layers": 2, "heads": HEADS}
    network = nn.transformer(tokens, tokens, **options)
    params, _ = network.init(jax.random.key(0))
    source = {name: split[name] for name in ("x", "x_length")}
    peer = peers.Transformer(tokens, size=steps, dropout=0.0, **options)

    def decode() -> Any:
        return sequence.decode(
            network, params, source, begin=begin, end=end, minimum_length=steps,
            maximum_length=steps,
        ).tokens  # fmt: skip

    yield compare(
        f"greedy decoding, {rows} sources of {size}, {steps} tokens: tokens a second",
        {
            "jaxml": contestant(timed(decode)),
            "PyTorch": contestant(peers.decoding(peer, split["x"], begin, steps)),
        },
        rounds=rounds,
        per_run=rows * steps,
        expected=3.0,
    )


def recurrent_steps(rounds: int) -> Iterator[Row]:
    """An LSTM of 64 units on the frames of a short utterance, and `torch.nn.LSTM`."""
    batch_size, size, inputs, outputs, width, steps = 32, 29, 12, 9, 64, 50
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * batch_size, size, inputs)).astype(np.float32)
    y = rng.integers(0, outputs, len(x))
    algorithm = training.supervised(
        nn.rnn(inputs, outputs, output="last", width=width),
        losses.softmax_cross_entropy,
        optimizers.adam(LEARNING_RATE),
    )
    peer = functools.partial(peers.LSTM, inputs, outputs, width)
    yield compare(
        f"LSTM of {width} units, batch {batch_size} of {size} frames: steps a second",
        {
            "jaxml": fitting(algorithm, {"x": x, "y": y}, batch_size, steps),
            "PyTorch": contestant(peers.training(peer, x, y, batch_size=batch_size, steps=steps)),
        },
        rounds=rounds,
        per_run=steps,
        expected=1.0,
    )
