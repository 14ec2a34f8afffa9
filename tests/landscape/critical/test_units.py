"""Units do not matter: s·f(x/t) has the critical points of f, t times as far away."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxml import landscape
from jaxml.data.surfaces import course_saddle, monkey_saddle, rosenbrock

UNITS = [(1.0, 1.0)] + [
    (10.0**a, 10.0**b) for a, b in [(-20, -20), (-20, 20), (20, -20), (20, 20), (-12, 0), (0.3, -7)]
]


def camel(x):
    """The six-hump camel."""
    a, b = x[0], x[1]
    return (4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (-4 + 4 * b**2) * b**2


def quartic_valley(x):
    return x[0] ** 4 + x[1] ** 2


def offset_monkey(x):
    return 1 + monkey_saddle(x) + (x**4).sum()


def scaled(function, s, t):
    return Partial(lambda x, s, t: s * function(x / t), s=s, t=t)


# six-hump camel's minimum and maximum to 16 digits, by Newton's method in 40
CAMEL = [0.089842013100318062, -0.71265640302073963], [1.2302298765166526, 0.16233458445899497]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "x", "kind", "index"),
    [
        (rosenbrock, [1.0, 1.0], "minimum", 0),
        (rosenbrock, [-1.2, 1.0], "not critical", 0),
        (rosenbrock, [0.0, 0.0], "not critical", 0),
        (camel, CAMEL[0], "minimum", 0),
        (camel, CAMEL[1], "maximum", 2),
        (camel, [0.0, 0.0], "saddle", 1),
        (camel, [1e-13, -2e-13], "saddle", 1),
        (camel, [0.01, 0.0], "not critical", 1),
        (course_saddle, [0.0, 0.0], "saddle", 1),
        (course_saddle, [2.0, 0.5], "degenerate", 0),
        (course_saddle, [2.0, 0.51], "not critical", 1),
        (quartic_valley, [0.0, 0.0], "degenerate", 0),
        (quartic_valley, [2e-4, 1e-12], "degenerate", 0),
        (quartic_valley, [0.3, 0.0], "not critical", 0),
        (monkey_saddle, [0.0, 0.0], "degenerate", 0),
        (offset_monkey, [0.0, 0.0], "degenerate", 0),
    ],
)
def test_analyze(function, x, kind, index):
    falls = {"saddle", "maximum"} | ({"degenerate"} if "monkey" in function.__name__ else set())
    for s, t in UNITS:
        point = landscape.analyze(scaled(function, s, t), t * np.array(x))
        assert (point.kind, point.index) == (kind, index), (s, t, str(point))
        assert point.certified == (kind in ("minimum", "maximum", "saddle"))
        assert (point.descent is not None) == (kind in falls or index > 0), (s, t, str(point))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "x"),
    [
        (camel, [0.0, 0.0]),
        (course_saddle, [0.0, 0.0]),
        (offset_monkey, [0.0, 0.0]),
    ],
)
def test_escape(function, x):
    """The line search goes as far, in units of t, and falls by as much, in units of s."""
    falls = []
    for s, t in UNITS:
        loss = scaled(function, s, t)
        out = landscape.escape(loss, t * np.array(x), max_steps=0)
        falls.append((float(function(jnp.array(x))) - out.loss / s, abs(out.distance) / t))
        assert out.loss < s * float(function(jnp.array(x)))
    falls = np.array(falls)
    if function is offset_monkey:  # no Hessian, so no length of its own: it falls, but how far
        return
    # the grid of distances goes by √2
    assert falls[:, 1].max() <= 1.5 * falls[:, 1].min()
    assert falls[:, 0].max() <= 2 * falls[:, 0].min()


def test_distinct():
    known = [[0.0, 0.0], *CAMEL, [-x for x in CAMEL[0]]]
    for s, t in UNITS:
        loss = scaled(camel, s, t)
        points = [
            landscape.analyze(loss, t * (np.array(x) + shift), gradient_tolerance=1e-3 * s / t)
            for x in known
            for shift in (0, 1e-9, -2e-9)
        ]
        assert len(points) == 12
        assert len(landscape.distinct_points(points)) == 4, (s, t)
