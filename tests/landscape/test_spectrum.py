"""One call for small and large problems, on one problem both ways."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import landscape

VALUES = np.r_[-0.5, np.linspace(0.1, 1, 36), 3, 4, 5].astype(np.float32)


def loss(w):
    return (VALUES * w**2).sum() / 2 + w[0] ** 4


@pytest.mark.slow
def test_both_ways_see_the_same_spectrum():
    w = jnp.zeros(VALUES.size)
    exact = landscape.spectrum(loss, w)
    assert (exact.kind, exact.index, exact.counts.within) == ("saddle", 1, 0)
    np.testing.assert_allclose(exact.eigenvalues, VALUES, atol=1e-5)
    found = landscape.spectrum(loss, w, exact=False)
    np.testing.assert_allclose(found.eigenpairs.values, VALUES[[0, -5, -4, -3, -2, -1]], atol=1e-5)
    assert found.index.negative == (1, 1)
    assert found.density.nodes.mean() == pytest.approx(VALUES.mean(), abs=1e-5)


def test_the_size_decides(monkeypatch):
    called = []
    monkeypatch.setattr("jaxml.landscape._spectrum.analyze", lambda *a, **k: called.append("exact"))
    monkeypatch.setattr(
        "jaxml.landscape._spectrum.inspect", lambda *a, **k: called.append("products")
    )
    for size, memory in ((3000, 10**9), (3001, 10**9), (2000, 10**6)):
        landscape.spectrum(loss, np.zeros(size, np.float32), memory=memory)
    landscape.spectrum(loss, np.zeros(3001), exact=True)
    assert called == ["exact", "products", "products", "exact"]


def test_bad_problems_are_refused():
    with pytest.raises(ValueError, match="a loss that returns one number"):
        landscape.spectrum(lambda w: w, np.ones(3))
    with pytest.raises(ValueError, match="finite values in params"):
        landscape.spectrum(loss, np.full(VALUES.size, np.nan), exact=False)
