"""Results as files: what comes back is what went there, to the bit."""

import dataclasses
import io
from typing import Any, NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.core.serialization import from_npz, to_npz


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True)
class Plain:
    x: Any


@flax.struct.dataclass
class Tree:
    x: Any


def test_round_trip():
    value = Plain(
        {
            "pair": Pair(0.1, None),
            "tree": Tree([1, True, "µ", -np.inf]),
            3: (np.float32(1 / 3), np.arange(6).reshape(2, 3)),
            "empty": [{}, [], (), np.zeros((0, 3))],
            "device": jnp.bool_([True, False]),
            "bits": np.array([np.nan, -0.0, 5e-324]),
        }
    )
    back = from_npz(to_npz(value), [Pair, Plain, Tree])
    assert type(back) is Plain
    assert list(back.x) == list(value.x)
    assert back.x["pair"] == Pair(0.1, None)
    assert back.x["tree"].x == [1, True, "µ", -np.inf]
    assert back.x["tree"].x[1] is True
    third, grid = back.x[3]
    assert (third.dtype, third.tobytes()) == (np.float32, np.float32(1 / 3).tobytes())
    np.testing.assert_array_equal(grid, [[0, 1, 2], [3, 4, 5]], strict=True)
    assert back.x["empty"][:3] == [{}, [], ()]
    assert back.x["empty"][3].shape == (0, 3)
    np.testing.assert_array_equal(back.x["device"], np.array([True, False]), strict=True)
    assert back.x["bits"].tobytes() == value.x["bits"].tobytes()


def test_what_is_not_plain_is_refused():
    with pytest.raises(ValueError, match=r"plain values.*got function"):
        to_npz([lambda: 1])
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        to_npz(np.array([object()]))


def test_another_type_is_refused():
    with pytest.raises(ValueError, match=r"objects among \['Plain'\], got Tree"):
        from_npz(to_npz(Tree(1)), [Plain])


def test_another_file_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones(2))
    with pytest.raises(ValueError, match="a file that to_npz wrote"):
        from_npz(buffer.getvalue(), [])
