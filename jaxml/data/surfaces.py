"""Surfaces whose critical points are known, to test what looks for such points.

Each is a function of one vector, of numpy or of any other library whose arrays follow the array
API; jax's do, under `jit`, `grad` and `vmap` too. `SURFACES` has them by name and
`CRITICAL_POINTS` what is known about each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxml.core.checks import require


@dataclasses.dataclass(frozen=True)
class CriticalPoint:
    """A point where the gradient vanishes.

    Attributes:
        x: where it is.
        value: of the surface there.
        kind: "minimum", "saddle" or "maximum": what the surface does around it, which a Hessian
            with a zero eigenvalue need not tell.
        index: number of negative eigenvalues of the Hessian.
    """

    x: tuple[float, ...]
    value: float
    kind: str
    index: int


def himmelblau(x: Any) -> Any:
    """(x0² + x1 - 11)² + (x0 + x1² - 7)²: four minima of value 0, four saddles, one maximum.

    Args:
        x: `(2,)`.

    Raises:
        ValueError: if `x` has another shape.

    Reference:
        Himmelblau (1972), Applied Nonlinear Programming, McGraw-Hill.

    >>> import numpy as np
    >>> float(himmelblau(np.array([3.0, 2.0])))
    0.0
    """
    a, b = _plane(x)
    return (a**2 + b - 11) ** 2 + (a + b**2 - 7) ** 2


def muller_brown(x: Any) -> Any:
    """Müller and Brown's model of a reaction: a sum of four Gaussians.

    Three minima, the states, and two saddles, the transitions between them.

    Args:
        x: `(2,)`; the region of interest is [-1.5, 1.2] by [-0.2, 2].

    Raises:
        ValueError: if `x` has another shape.

    Reference:
        Müller & Brown (1979), Theoretica Chimica Acta 53:75-93, doi:10.1007/BF00547608.

    >>> import numpy as np
    >>> round(float(muller_brown(np.array([-0.558224, 1.441726]))), 3)
    -146.7
    """
    a, b = _plane(x)
    exp = x.__array_namespace__().exp
    return sum(
        height * exp(p * (a - a0) ** 2 + q * (a - a0) * (b - b0) + r * (b - b0) ** 2)
        for height, p, q, r, a0, b0 in (
            (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
            (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
            (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
            (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
        )
    )


def monkey_saddle(x: Any) -> Any:
    """x0³ - 3 x0 x1²: a saddle whose Hessian is zero, so that its eigenvalues say nothing.

    Args:
        x: `(2,)`.

    Raises:
        ValueError: if `x` has another shape.

    >>> import numpy as np
    >>> float(monkey_saddle(np.array([1.0, 2.0])))
    -11.0
    """
    a, b = _plane(x)
    return a**3 - 3 * a * b**2


def quartic_bowl(x: Any) -> Any:
    """Sum of the fourth powers: a minimum whose Hessian is zero.

    Args:
        x: `(n,)`, n at least 1.

    Raises:
        ValueError: if `x` has another shape.

    >>> import numpy as np
    >>> float(quartic_bowl(np.array([1.0, 2.0])))
    17.0
    """
    return _vector(x, 1).__array_namespace__().sum(x**4)


def course_saddle(x: Any) -> Any:
    """(1 - x0 x1)²: the squared error of the two-layer linear network x1 x0 at input 1, target 1.

    The origin is a saddle with Hessian eigenvalues -2 and 2; the minima are the hyperbola
    x0 x1 = 1, flat along it.

    Args:
        x: `(2,)`.

    Raises:
        ValueError: if `x` has another shape.

    Reference:
        Hung-yi Lee (2021), Machine Learning, National Taiwan University, lecture on critical
        points: "When gradient is small".

    >>> import numpy as np
    >>> float(course_saddle(np.array([0.0, 0.0])))
    1.0
    """
    a, b = _plane(x)
    return (1 - a * b) ** 2


def rosenbrock(x: Any) -> Any:
    """Sum over i of 100 (x_{i+1} - x_i²)² + (1 - x_i)²: a bent valley, ending in (1, ..., 1).

    In two and three dimensions that minimum is the only critical point.

    Args:
        x: `(n,)`, n at least 2.

    Raises:
        ValueError: if `x` has another shape.

    Reference:
        Rosenbrock (1960), The Computer Journal 3:175-184, doi:10.1093/comjnl/3.3.175, for two
        dimensions.

    >>> import numpy as np
    >>> float(rosenbrock(np.array([0.0, 0.0, 0.0])))
    2.0
    """
    here, following = _vector(x, 2)[:-1], x[1:]
    xp = x.__array_namespace__()
    return xp.sum(100 * (following - here**2) ** 2 + (1 - here) ** 2)


SURFACES: dict[str, Callable[[Any], Any]] = {
    "himmelblau": himmelblau,
    "muller_brown": muller_brown,
    "monkey_saddle": monkey_saddle,
    "quartic_bowl": quartic_bowl,
    "course_saddle": course_saddle,
    "rosenbrock": rosenbrock,
}

CRITICAL_POINTS: dict[str, tuple[CriticalPoint, ...]] = {
    "himmelblau": (
        CriticalPoint((3.0, 2.0), 0.0, "minimum", 0),
        CriticalPoint((-2.8051180869527449, 3.131312518250573), 0.0, "minimum", 0),
        CriticalPoint((-3.7793102533777469, -3.2831859912861694), 0.0, "minimum", 0),
        CriticalPoint((3.5844283403304917, -1.8481265269644036), 0.0, "minimum", 0),
        CriticalPoint((0.086677504555396352, 2.8842547011747761), 67.71915008752614, "saddle", 1),
        CriticalPoint((3.3851541836070209, 0.073851879837749288), 13.31192627040559, "saddle", 1),
        CriticalPoint((-3.0730257507643896, -0.081353044287967512), 104.0151629175581, "saddle", 1),
        CriticalPoint((-0.12796134673068007, -1.9537149802445764), 178.33723920192746, "saddle", 1),
        CriticalPoint(
            (-0.27084459066734761, -0.92303855647998146), 181.6165215225827, "maximum", 2
        ),
    ),
    "muller_brown": (
        CriticalPoint((-0.55822363463302428, 1.4417258418046687), -146.699517209954, "minimum", 0),
        CriticalPoint((0.62349940493087651, 0.028037758528685666), -108.166724116852, "minimum", 0),
        CriticalPoint((-0.050010822998206058, 0.46669410487197209), -80.767818129659, "minimum", 0),
        CriticalPoint((-0.8220015587327321, 0.62431280281487136), -40.6648435086574, "saddle", 1),
        CriticalPoint((0.21248658200066201, 0.29298832510736777), -72.2489401123252, "saddle", 1),
    ),
    "monkey_saddle": (CriticalPoint((0.0, 0.0), 0.0, "saddle", 0),),
    "quartic_bowl": (CriticalPoint((0.0, 0.0), 0.0, "minimum", 0),),
    "course_saddle": (
        CriticalPoint((0.0, 0.0), 1.0, "saddle", 1),
        CriticalPoint((1.0, 1.0), 0.0, "minimum", 0),  # one of the hyperbola of minima
        CriticalPoint((-1.0, -1.0), 0.0, "minimum", 0),  # one of its other branch
    ),
    "rosenbrock": (CriticalPoint((1.0, 1.0), 0.0, "minimum", 0),),
}
"""Surface -> its critical points in the plane (of muller_brown, those in its region of interest).

All isolated ones are here, in float64 from Newton's method in forty digits.
"""


def _plane(x: Any) -> tuple[Any, Any]:
    shape = getattr(x, "shape", None)
    require(shape == (2,), "an array of shape (2,)", _shape_or_type(x))
    return x[0], x[1]


def _vector(x: Any, least: int) -> Any:
    shape = getattr(x, "shape", ())
    valid = len(shape) == 1 and shape[0] >= least
    require(valid, f"an array of shape (n,), n at least {least}", _shape_or_type(x))
    return x


def _shape_or_type(x: Any) -> str:
    return f"shape {x.shape}" if hasattr(x, "shape") else f"a {type(x).__name__}"
