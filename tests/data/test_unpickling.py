"""What a pickle may hold, and what it may not."""

import builtins
import gzip
import os
import pickle

import numpy as np
import pytest

from jaxml.data.loaders.mnist import read_pickle
from jaxml.data.unpickling import restricted_loads


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Evaluated:
    def __reduce__(self):
        return builtins.eval, ("1 + 1",)


# protocols 0 and 1 make arrays through copyreg, which is refused
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back(protocol):
    tree = {"x": np.arange(6.0, dtype=np.float32).reshape(2, 3), "y": [np.array(["a", None])]}
    got = restricted_loads(pickle.dumps(tree, protocol))
    np.testing.assert_array_equal(got["x"], tree["x"])
    np.testing.assert_array_equal(got["y"][0], tree["y"][0])


def test_arrays_of_numpy_1_come_back():
    new = pickle.dumps(np.arange(3), protocol=2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != new
    np.testing.assert_array_equal(restricted_loads(old), [0, 1, 2])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("hidden", [False, True])
def test_a_bomb_is_refused(tmp_path, protocol, hidden):
    exploded = tmp_path / "exploded"
    bomb = np.array([Bomb(exploded)], dtype=object) if hidden and protocol > 1 else Bomb(exploded)
    content = pickle.dumps(bomb, protocol)
    with pytest.raises(ValueError, match=r"arrays alone, got another: it asks for (os|posix)\.mkd"):
        restricted_loads(content)
    with pytest.raises(ValueError, match="mkdir"):
        read_pickle([gzip.compress(content)])
    assert not exploded.exists()
    pickle.loads(content)  # the bomb is live, so its silence above means something
    assert exploded.exists()


@pytest.mark.parametrize("value", [Evaluated(), np.load, np.random.default_rng(0), Bomb, print])
def test_other_globals_are_refused(value):
    with pytest.raises(ValueError, match="it asks for "):
        restricted_loads(pickle.dumps(value))


def test_a_truncated_pickle_is_a_value_error_wherever_it_is_cut():
    whole = pickle.dumps({"x": np.arange(5), "y": "text"})
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="expected a pickle"):
            restricted_loads(whole[:length])
