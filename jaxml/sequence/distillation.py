"""Learning from what another network puts out: sequence-level knowledge distillation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxml.core.types import Batch, Params
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence import decoding
from jaxml.sequence._decode import decode
from jaxml.sequence.decoding.results import Decoded


def distilled(
    network: Seq2Seq,
    params: Params,
    data: Batch,
    search: Callable[..., Decoded] = decoding.beam,
    *,
    maximum_length: int,
    **options: Any,
) -> dict[str, Any]:
    """The data with what a network makes of each source in the place of its target.

    Of several right targets it is one, and for like sources the like, which a network learns that
    puts out all tokens at once.

    Args:
        network: the teacher, trained on the data.
        params: its parameters.
        data: with `"x"` and, where they are padded, `"x_length"`.
        search: of `sequence.decoding`; of a beam the best is taken.
        maximum_length: as in `decode`.
        **options: as in `decode`: `begin`, `end`, `size`, ...

    Returns:
        The data with other `"y"` and `"y_length"`, without ends (`with_end` puts them there), and
        without a mask. `"y"` is as wide as the longest.

    Raises:
        ValueError: as `decode`.

    Reference:
        Kim and Rush (2016), arXiv:1606.07947, section 3.2.

    >>> import jax
    >>> from jaxml import nn
    >>> network = nn.transformer(5, 7, width=8, layers=1, heads=2)
    >>> params, _ = network.init(jax.random.key(0))
    >>> data = {"x": np.ones((3, 4), int), "y": np.ones((3, 2), int), "y_length": np.ones(3, int)}
    >>> found = distilled(network, params, data, begin=5, end=6, size=2, minimum_length=2,
    ...                   maximum_length=9)
    >>> found["y"].shape == (3, found["y_length"].max())
    True
    """
    found = decode(network, params, data, search, maximum_length=maximum_length, **options)
    if np.ndim(found.tokens) == 3:
        found = Decoded(*(field[:, 0] for field in found[:4]))
    lengths = np.asarray(found.lengths - found.finished)
    longest = max(1, int(lengths.max()))
    inside = np.arange(longest) < lengths[:, None]
    y = np.where(inside, found.tokens[:, :longest], 0)
    kept = {name: values for name, values in data.items() if name != "mask"}
    return {**kept, "y": y, "y_length": lengths}
