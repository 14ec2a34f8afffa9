"""Pairs from targets alone: back-translation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxml.core.checks import require
from jaxml.core.types import Batch, Params
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence._decode import decode
from jaxml.sequence.decoding.greedy_search import greedy
from jaxml.sequence.decoding.results import Decoded


def back_translation(
    network: Seq2Seq,
    params: Params,
    pairs: Batch,
    targets: Batch,
    search: Callable[..., Decoded] = greedy,
    **options: Any,
) -> dict[str, Any]:
    """Pairs, and behind them targets without a source beside what a reverse network reads them as.

    A network from sources to targets is then trained on all of them alike: its targets are right
    throughout.

    Args:
        network: from targets to sources, such as one that was trained on the pairs, turned.
        params: its parameters.
        pairs: `"x"` `(N, n)`, `"x_length"`, `"y"` and `"y_length"`.
        targets: `"y"` and `"y_length"` of sequences whose sources are not known.
        search: as in `decode`: beam search, of which the best is taken, as in the paper; or
            another.
        **options: of `decode`: `begin` and `end` of the network's own targets, `maximum_length`,
            ...

    Returns:
        The four arrays of both, padded with 0 to the longest; first the pairs, then the targets in
        their order. A target whose source came out empty is left out.

    Raises:
        ValueError: if an array is missing; as `decode`.

    Reference:
        Sennrich, Haddow and Birch (2016), arXiv:1511.06709, section 3.2.

    >>> import jax
    >>> from jaxml import nn
    >>> network = nn.transformer(5, 7, width=8, layers=1, heads=2)
    >>> params, _ = network.init(jax.random.key(0))
    >>> pairs = {"x": np.ones((2, 4), int), "x_length": np.array([4, 3]),
    ...          "y": np.ones((2, 3), int), "y_length": np.array([3, 1])}
    >>> more = back_translation(network, params, pairs, {"y": pairs["y"][:1], "y_length": [3]},
    ...                         begin=5, end=6, maximum_length=5, minimum_length=2)
    >>> more["x"].shape[0], more["y"].shape
    (3, (3, 3))
    """
    for what, given, names in (
        ("pairs", pairs, ("x", "x_length", "y", "y_length")),
        ("targets", targets, ("y", "y_length")),
    ):
        missing = [name for name in names if name not in given]
        require(not missing, f"{what} with {', '.join(names)}", f"none of {', '.join(missing)}")
    turned = {"x": np.asarray(targets["y"]), "x_length": np.asarray(targets["y_length"])}
    found = decode(network, params, turned, search, **options)
    read = found.sequences()
    if found.tokens.ndim == 3:  # several a row, the best first
        read = [several[0] for several in read]
    length = np.array([len(one) for one in read], np.int32)
    x = np.zeros((len(read), max(1, length.max())), np.int32)
    x[np.arange(x.shape[1]) < length[:, None]] = [token for one in read for token in one]
    kept = length > 0
    made = {"x": x, "x_length": length, "y": turned["x"], "y_length": turned["x_length"]}
    return {
        name: _joined(np.asarray(pairs[name]), made[name][kept])
        for name in ("x", "x_length", "y", "y_length")
    }


def _joined(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Rows behind rows, both padded with 0 to the longer."""
    if first.ndim == 2:
        size = max(first.shape[1], then.shape[1])
        first, then = (np.pad(a, ((0, 0), (0, size - a.shape[1]))) for a in (first, then))
    return np.concatenate([first, then.astype(first.dtype)])
