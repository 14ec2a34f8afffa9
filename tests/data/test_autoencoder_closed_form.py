"""What the closed form must be; tests/landscape has it against exact analyses."""

import math

import numpy as np
import pytest

from jaxml.data import linear_autoencoder


def test_the_losses_are_those_of_the_points():
    covariance, points = linear_autoencoder.closed_form((5.0, 3.7, 2.2, 1.3, 0.6), 2)
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), (0.6, 1.3, 2.2, 3.7, 5.0))
    assert len(points) == sum(math.comb(5, r) for r in range(3))
    for point in points:
        assert linear_autoencoder.loss(point.params, covariance) == pytest.approx(point.loss)
        # central differences along random directions vanish to second order
        for seed in range(3):
            rng = np.random.default_rng(seed)
            step = {name: 1e-4 * rng.normal(size=leaf.shape) for name, leaf in point.params.items()}
            ends = [
                linear_autoencoder.loss(
                    {name: leaf + sign * step[name] for name, leaf in point.params.items()},
                    covariance,
                )
                for sign in (1, -1)
            ]
            assert abs(ends[0] - ends[1]) < 1e-9


@pytest.mark.parametrize(
    ("eigenvalues", "hidden"),
    [((1.0, 2.0), 1), ((2.0, 2.0), 1), ((2.0, 0.0), 1), ((), 1), ((2.0, 1.0), 3), ((2.0, 1.0), 0)],
)
def test_bad_options(eigenvalues, hidden):
    with pytest.raises(ValueError, match="expected"):
        linear_autoencoder.closed_form(eigenvalues, hidden)
