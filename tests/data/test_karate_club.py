"""Zachary's club, as it is published."""

import numpy as np

from jaxml import data


def test_the_graph():
    club = data.load("karate_club")
    adjacency = club.train["adjacency"]
    np.testing.assert_array_equal(adjacency, adjacency.T)
    np.testing.assert_array_equal(adjacency.diagonal(), 0)
    assert adjacency.sum() == 2 * 78
    # the best connected: the administrator, the instructor, members 32, 2 and 1
    degrees = adjacency.sum(1)
    assert list(np.argsort(-degrees)[:5]) == [33, 0, 32, 2, 1]
    assert degrees[[33, 0, 32]].tolist() == [17, 16, 12]
    # triangles, by the trace of the cube
    assert np.trace(np.linalg.matrix_power(adjacency, 3)) / 6 == 45
    # half of the members went with each, and two of them are told
    assert club.train["y"].sum() == 17
    np.testing.assert_array_equal(np.flatnonzero(club.train["mask"]), [0, 33])
    np.testing.assert_array_equal(club.train["mask"] + club.test["mask"], 1)
