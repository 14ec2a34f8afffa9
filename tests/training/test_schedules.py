"""Schedules against their closed forms and PyTorch's."""

import inspect

import jax
import numpy as np
import pytest

from jaxml.training import schedules


def values(schedule, steps):
    return np.array([float(schedule(t)) for t in steps])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("constant", {}, {0: 0.2, 50: 0.2, 100: 0.2, 150: 0.2}),
        ("linear", {}, {0: 0.2, 25: 0.15, 50: 0.1, 100: 0.0, 150: 0.0}),
        ("cosine", {}, {0: 0.2, 25: 0.1 * (1 + 0.5**0.5), 50: 0.1, 100: 0.0, 150: 0.0}),
        ("exponential", {}, {0: 0.2, 50: 0.02, 100: 0.002}),
        ("exponential", {"final": 0.25}, {0: 0.2, 50: 0.1, 100: 0.05}),
        ("exponential", {"final": 1}, {0: 0.2, 100: 0.2}),
        ("warmup_cosine", {}, {0: 0.0, 5: 0.1, 10: 0.2, 55: 0.1, 100: 0.0, 150: 0.0}),
        ("warmup_cosine", {"warmup": 0.5}, {0: 0.0, 25: 0.1, 50: 0.2, 75: 0.1, 100: 0.0}),
        ("warmup_cosine", {"warmup": 0}, {0: 0.2, 50: 0.1, 100: 0.0}),
        ("warmup_cosine", {"warmup": 0.999}, {0: 0.0, 99: 0.2, 100: 0.0}),
        ("inverse_sqrt", {}, {0: 0.02, 5: 0.1, 10: 0.2, 40: 0.1, 90: 0.2 / 3, 1000: 0.02}),
        ("inverse_sqrt", {"warmup": 0.25}, {5: 0.04, 25: 0.2, 100: 0.1}),
        ("inverse_sqrt", {"warmup": 1e-9}, {0: 0.2, 1: 0.2, 100: 0.02}),
    ],
)
def test_closed_forms(name, options, expected):
    schedule = getattr(schedules, name)(0.2, 100, **options)
    np.testing.assert_allclose(values(schedule, expected), [*expected.values()], atol=2e-7)


@pytest.mark.parametrize("name", ["warmup_cosine", "inverse_sqrt"])
def test_the_warm_up_is_linear(name):
    rise = values(getattr(schedules, name)(0.3, 70, warmup=0.2), range(1, 15))
    np.testing.assert_allclose(rise, 0.3 * np.arange(1, 15) / 14, rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cosine", lambda lr, o: lr.CosineAnnealingLR(o, T_max=30)),
        ("linear", lambda lr, o: lr.LinearLR(o, 1.0, 1e-16, total_iters=30)),
        ("exponential", lambda lr, o: lr.ExponentialLR(o, 0.01 ** (1 / 30))),
    ],
)
def test_the_rates_are_torchs(name, make):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(31):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    schedule = getattr(schedules, name)(0.2, 30)
    np.testing.assert_allclose(values(schedule, range(31)), rates, atol=1e-7)


@pytest.mark.parametrize("name", schedules.__all__)
def test_the_peak_may_be_traced(name):
    """A lane of `fit_many` may carry its own peak."""
    make = getattr(schedules, name)
    assert list(inspect.signature(make).parameters)[:2] == ["learning_rate", "steps"]
    lanes = jax.jit(jax.vmap(lambda peak, t: make(peak, 20)(t), (0, None)))(
        np.float32([0.1, 0.2]), 7
    )
    np.testing.assert_allclose(lanes, [float(make(p, 20)(7)) for p in (0.1, 0.2)], rtol=1e-6)
