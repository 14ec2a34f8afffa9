"""λ_max along full-batch training against the edge."""

import numpy as np
import pytest

from jaxml import nn, studies
from jaxml.training import losses

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
DATA = {"x": X, "y": X @ np.ones((3, 1), "float32")}
LINE = nn.linear(3, 1, bias=False)
TOP = 2 * np.linalg.eigvalsh(X.T @ X / len(X))[-1]  # of the mean squared error


@pytest.mark.parametrize(
    ("optimizer", "edge"),
    [("sgd", 2.0), ("momentum", 3.8), ("nesterov", 3.8 / 2.8)],
)
@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_quadratic_is_stable_just_below_its_edge(optimizer, edge, share):
    options = {"optimizer": optimizer, "learning_rate": share * edge / TOP}
    found = studies.sharpening(LINE, losses.mse, DATA, steps=400, every=40, **options)
    np.testing.assert_allclose(found.edge, TOP / share, rtol=1e-5)
    np.testing.assert_allclose(found.sharpness[0], TOP, rtol=1e-3)
    fell = found.losses[-1] < found.losses[0]
    assert fell == (share < 1)
    if share < 1:
        np.testing.assert_allclose(found.ratio, share, rtol=1e-2)
        assert found.updates.tolist() == list(range(40, 401, 40))


def test_an_l2_penalty_adds_to_the_curvature():
    found = studies.sharpening(
        LINE, losses.mse, DATA, learning_rate=0.01, l2=0.7, steps=40, every=20, momentum=0.0
    )
    np.testing.assert_allclose(found.sharpness, TOP + 0.7, rtol=1e-3)
    assert (found.optimizer, found.learning_rate, found.diverged) == ("sgd", 0.01, False)
    assert found.losses.shape == (40,)


def test_divergence_is_told():
    found = studies.sharpening(LINE, losses.mse, DATA, learning_rate=100.0, steps=200, every=10)
    assert found.diverged
    assert np.isnan(found.ratio)
    assert len(found.losses) < 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adagrad", "learning_rate": 0.1}, "an optimizer among sgd, momentum"),
        ({"learning_rate": 0.0}, "a learning_rate above 0"),
        ({"learning_rate": 0.1, "steps": 0}, "steps"),
    ],
)
def test_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        studies.sharpening(LINE, losses.mse, DATA, **options)
