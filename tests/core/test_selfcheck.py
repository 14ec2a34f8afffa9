"""Known answers: right here, and wrong where the backend is."""

import threading

import jax
import jax.numpy as jnp
import pytest

from jaxml.core import selfcheck


@pytest.fixture
def fresh():
    """Answers computed anew, before and after."""
    selfcheck.known_answers.cache_clear()
    yield
    selfcheck.known_answers.cache_clear()


def test_the_answers_are_right_here():
    answers = selfcheck.known_answers()
    assert [answer.name for answer in answers] == [
        "softmax curvature",
        "matrix product",
        "Hessian of log-sum-exp",
        "symmetric eigenvalues",
    ]
    for answer in answers:
        assert 0 <= answer.error <= answer.tolerance, answer
        assert answer.right
    selfcheck.require_sound_backend()


def test_the_formula_that_jax_0_10_2_gets_wrong_is_large_enough_to_show_it():
    """Its fault needs more than about 32,768 elements."""
    sizes = []

    def spy(p, t):
        sizes.append(t.size)
        return p * (t - (p * t).sum(-1, keepdims=True))

    assert selfcheck._softmax_curvature() < 1e-5
    jax.jit(spy)(jnp.ones((64, 10)), jnp.ones((128, 64, 10)))
    assert sizes == [81920]


@pytest.mark.slow
def test_answers_off_by_a_thousandth_are_all_seen(fresh, monkeypatch):
    monkeypatch.setattr(selfcheck.jax, "jit", lambda f: lambda *args: 1.001 * f(*args))
    answers = selfcheck.known_answers()
    assert not any(answer.right for answer in answers)
    assert all(answer.error == pytest.approx(1e-3, rel=0.1) for answer in answers)


@pytest.mark.parametrize("error", [0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["matrix product", "symmetric eigenvalues"])
def test_a_wrong_answer_is_refused_by_name(fresh, monkeypatch, name, error):
    monkeypatch.setitem(selfcheck._QUESTIONS, name, (lambda: error, 1e-5))
    with pytest.raises(selfcheck.BackendError, match=f"{name} is off by {error:.1e}") as caught:
        selfcheck.require_sound_backend()
    assert f"jax {jax.__version__} on {jax.default_backend()}" in str(caught.value)
    assert "at most 1e-05" in str(caught.value)


def test_the_answers_are_numbers_inside_a_trace(fresh):
    @jax.jit
    def traced(x):
        selfcheck.require_sound_backend()
        assert all(isinstance(answer.error, float) for answer in selfcheck.known_answers())
        return 2 * x

    assert traced(1.0) == 2
    assert jax.vmap(jax.grad(traced))(jnp.ones(2)).tolist() == [2, 2]


def test_the_answers_are_float32s_under_float64(fresh):
    usual = selfcheck.known_answers()
    selfcheck.known_answers.cache_clear()
    with jax.enable_x64(True):
        assert selfcheck.known_answers() == usual
        assert jnp.asarray(1.0).dtype == jnp.float64  # and the caller's precision is his own


def test_a_platform_may_be_named_and_is_asked_once(monkeypatch):
    answers = selfcheck.known_answers("cpu")
    assert all(answer.right for answer in answers)
    monkeypatch.setitem(selfcheck._QUESTIONS, "matrix product", (pytest.fail, 0.0))
    assert selfcheck.known_answers("cpu") is answers


def test_parallel_map_is_map():
    assert selfcheck.parallel_map(lambda i: i * i, iter(range(7))) == [i * i for i in range(7)]
    assert selfcheck.parallel_map(str, []) == []
    with pytest.raises(ZeroDivisionError):
        selfcheck.parallel_map(lambda i: 1 / i, [2, 1, 0])


def test_parallel_map_compiles_once_for_all():
    traces = []

    @jax.jit
    def square(x):
        traces.append(1)
        return x * x

    squares = selfcheck.parallel_map(lambda x: float(square(x)), list(jnp.arange(5.0)))
    assert squares == [0, 1, 4, 9, 16]
    assert len(traces) == 1


def test_parallel_map_has_nothing_to_wait_for_when_all_is_compiled(monkeypatch):
    monkeypatch.setattr(selfcheck.os, "cpu_count", lambda: 2)
    together = threading.Barrier(2)
    waited = selfcheck.parallel_map(lambda _: together.wait(10), range(2), compiled=True)
    assert sorted(waited) == [0, 1]


def test_parallel_map_computes_in_the_callers_precision():
    """JAX's context managers hold for one thread: float64 would be lost on the way."""

    def setting(i):
        return jnp.asarray(1.0).dtype.name, jax.config.jax_default_matmul_precision

    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        inside = selfcheck.parallel_map(setting, range(5))
    assert inside == [("float64", "highest")] * 5
    assert selfcheck.parallel_map(setting, range(5)) == [("float32", None)] * 5
