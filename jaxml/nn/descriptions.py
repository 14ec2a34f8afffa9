"""The built-in networks as plain values, which a file can hold."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from jaxml.core.checks import require, require_choice
from jaxml.core.types import Model
from jaxml.nn.convnets import cnn, go_policy, resnet
from jaxml.nn.dense import deep_linear, linear, mlp
from jaxml.nn.encoder_decoder import transformer
from jaxml.nn.recurrent_seq2seq import recurrent_seq2seq
from jaxml.nn.seq2seq import Seq2Seq

_NETWORKS: dict[str, Callable[..., Model | Seq2Seq]] = {
    "cnn": cnn,
    "deep_linear": deep_linear,
    "go_policy": go_policy,
    "linear": linear,
    "mlp": mlp,
    "recurrent_seq2seq": recurrent_seq2seq,
    "resnet": resnet,
    "transformer": transformer,
}


def description(name: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    """A built-in network as a dict of plain values, for `from_description`.

    All of its arguments are written out, so that a later version with other defaults makes the
    same network of it.

    Args:
        name: of the function in `jaxml.nn`.
        *arguments: of that function; numbers, names and lists of these.
        **options: likewise.

    Raises:
        ValueError: if there is no such network, it takes no such arguments, or they are not plain
            values.

    >>> description("linear", 64, 10)
    {'name': 'linear', 'inputs': 64, 'outputs': 10, 'bias': True, 'dtype': None}
    """
    function = _NETWORKS[require_choice("name", name, tuple(_NETWORKS))]
    try:
        bound = inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise ValueError(f"expected arguments of nn.{name}, got others: {error}") from error
    bound.apply_defaults()
    described = {"name": name, **bound.arguments}
    try:
        json.dumps(described)
    except TypeError as error:
        raise ValueError(f"expected plain values for nn.{name}, got {described}") from error
    return described


def from_description(described: Mapping[str, Any]) -> Any:
    """The network that `description` described.

    Returns:
        A `Model`; of a network from sequences to sequences an `nn.Seq2Seq`.

    Raises:
        ValueError: if it is no such description, or of arguments that the network refuses.

    >>> import jax
    >>> model = from_description({"name": "mlp", "widths": [4, 3, 2], "norm": "batch"})
    >>> params, model_state = model.init(jax.random.key(0))
    >>> sorted(params), sorted(model_state)
    (['dense_0', 'dense_1', 'norm_0'], ['batch_stats'])
    """
    known = isinstance(described, Mapping) and "name" in described
    require(known, 'the description of a network, with its "name"', described)
    whole = description(**described)
    try:
        return _NETWORKS[whole.pop("name")](**whole)
    except TypeError as error:
        raise ValueError(f"expected arguments of a network, got {whole}: {error}") from error
