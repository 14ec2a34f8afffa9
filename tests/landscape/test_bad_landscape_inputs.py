"""What is no loss, no point or no option is refused before tracing, by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import landscape
from jaxml.landscape import analyze, descend, escape, find_critical_point, follow, hessian

W = np.ones(2, np.float32)


def loss(w):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(w))


BAD_LOSSES = {
    "no function": (3.0, r"a function loss\(params\), got float"),
    "vector": (lambda w: w**2, r"returns one number, got outputs of shapes \(2,\)"),
    "one-element vector": (lambda w: w[:1], r"returns one number, got outputs of shapes \(1,\)"),
    "tuple": (
        lambda w: (w.sum(), w),
        r"returns one number, got outputs of shapes \(\(\), \(2,\)\)",
    ),
    "tuple of one": (lambda w: (w.sum(),), r"returns one number, got outputs of shapes \(\(\),\)"),
    "with state": (lambda w: (w.sum(), {}), r"returns one number, got outputs of .*\{\}"),
    "nothing": (lambda w: None, "returns one number, got outputs of shapes None"),
    "empty tuple": (lambda w: (), r"returns one number, got outputs of shapes \(\)"),
    "int": (jnp.argmax, "a loss in float32, as its parameters, got one in int32"),
    "bool": (lambda w: w[0] > 0, "a loss in float32, as its parameters, got one in bool"),
    "half": (lambda w: loss(w).astype(jnp.float16), "a loss in float32.*got one in float16"),
    "constant": (lambda w: jnp.float32(1), "depends on the parameters, got a constant one"),
    "other argument": (lambda w: jnp.ones(3).sum(), "depends on the parameters"),
}


@pytest.mark.parametrize(("bad", "match"), BAD_LOSSES.values(), ids=BAD_LOSSES.keys())
@pytest.mark.parametrize("function", [hessian, analyze, find_critical_point, descend])
def test_bad_losses(function, bad, match):
    with pytest.raises(ValueError, match=match):
        function(bad, W)


BAD_PARAMS = {
    "empty": ({}, "parameters, got a pytree without leaves"),
    "no numbers": (np.zeros((0, 3), np.float32), "at least one parameter, got empty arrays"),
    "integers": ({"a": W, "n": np.arange(2)}, r"float32 or float64 in params\['n'\], got int64"),
    "complex": (np.ones(2, np.complex64), "float32 or float64 in params, got complex64"),
    "NaN": ([W, np.array([1, np.nan], np.float32)], r"finite values in params\[1\], got 1 of 2"),
    "infinite": (np.full(3, -np.inf, np.float32), "finite values in params, got 3 of 3"),
    "function": ({"a": W, "act": jnp.tanh}, r"an array as params\['act'\], got .*leave it out"),
    "string": ({"a": "tanh"}, r"an array as params\['a'\], got str \(leave it out of params\)"),
    "key": ({"a": jax.random.key(0)}, r"float32 or float64 in params\['a'\], got key<fry>"),
}


@pytest.mark.parametrize(("bad", "match"), BAD_PARAMS.values(), ids=BAD_PARAMS.keys())
@pytest.mark.parametrize("function", [hessian, analyze, find_critical_point, descend])
def test_bad_params(function, bad, match):
    with pytest.raises(ValueError, match=match):
        function(loss, bad)


def test_losses_that_stay_in_float32(x64):
    with pytest.raises(ValueError, match="a loss in float64, as its parameters, got one in float3"):
        analyze(lambda w: loss(w.astype(jnp.float32)), np.ones(2))


def undefined(w):
    return jnp.log(-(w[0] ** 2))


def kink(w):
    return jnp.sqrt(abs(w[0])) + w[1] ** 2


BAD_CALLS = {
    "NaN loss": (lambda: analyze(undefined, W), "a finite loss at params, got .*nan.* 1 in all"),
    "infinite gradient": (lambda: analyze(kink, 0 * W), "a finite gradient at params, got"),
    "method": (
        lambda: find_critical_point(loss, W, "bfgs"),
        "method to be one of newton, newton_mr, gradient_norm, got 'bfgs'",
    ),
    "no steps": (
        lambda: find_critical_point(loss, W, max_steps=0),
        "max_steps to be a whole number of at least 1, got 0",
    ),
    "half a step": (lambda: find_critical_point(loss, W, max_steps=1.5), "max_steps.*got 1.5"),
    "search tolerance": (
        lambda: find_critical_point(loss, W, gradient_tolerance=-1.0),
        "gradient_tolerance > 0, got -1.0",
    ),
    "search tolerance NaN": (
        lambda: find_critical_point(loss, W, gradient_tolerance=np.nan),
        "gradient_tolerance > 0, got nan",
    ),
    "flat tolerance": (
        lambda: find_critical_point(loss, W, flat_tolerance=2),
        r"flat_tolerance in \(0, 1\), got 2",
    ),
    "analysis tolerance": (
        lambda: analyze(loss, W, gradient_tolerance=-1e-3),
        "gradient_tolerance of at least 0, got -0.001",
    ),
    "analysis memory": (
        lambda: analyze(loss, W, memory=10),
        r"at most 0\.00 MiB of memory for the dense matrix, got 2 parameters \(float32\)",
    ),
    "explore memory": (lambda: landscape.explore(loss, W, memory=10), "for the dense matrix, got"),
    "explore steps": (lambda: landscape.explore(loss, W, max_steps=0), "max_steps to be a whole"),
    "explore method": (lambda: landscape.explore(loss, W, method="nelder"), "method.*got 'nelder'"),
    "minima memory": (lambda: landscape.connected_minima(loss, W, memory=10), "the dense matrix"),
    "minima tolerance": (
        lambda: landscape.connected_minima(
            lambda w: w[0] ** 2 + (w[1] ** 2 - 1) ** 2, 0 * W, gradient_tolerance=-1.0
        ),
        "gradient_tolerance .*got -1",
    ),
    "follow memory": (lambda: follow(loss, W[None], memory=10), "for the dense matrix, got 2"),
    "escape memory": (lambda: escape(loss, W, memory=10), "for the dense matrix, got 2"),
    "descent's steps": (lambda: descend(loss, W, max_steps=-1), "max_steps of at least 0, got -1"),
    "descent's tolerance": (
        lambda: descend(loss, W, gradient_tolerance=-1.0),
        "gradient_tolerance of at least 0, got -1.0",
    ),
    "descent's method": (
        lambda: descend(loss, W, "newton"),
        "method to be one of lbfgs, trust_region, got 'newton'",
    ),
    "escape's steps": (lambda: escape(loss, W, max_steps=-1), "max_steps of at least 0, got -1"),
    "direction's structure": (
        lambda: escape(loss, W, direction={"w": W}),
        r"a direction of shapes \(2,\), got \{'w': \(2,\)\}",
    ),
    "direction's size": (
        lambda: escape(loss, W, direction=np.ones(3)),
        r"a direction of shapes \(2,\), got \(3,\)",
    ),
    "zero direction": (
        lambda: escape(loss, W, direction=0 * W),
        "a direction of finite length above 0, got 0.0",
    ),
    "NaN direction": (
        lambda: escape(loss, W, direction=np.nan * W),
        "a direction of finite length above 0, got nan",
    ),
    "no stack": (lambda: follow(loss, W, axes=2), "stacked along 2 leading axes, got .*2,"),
    "uneven stack": (
        lambda: follow(loss, {"a": np.ones((3, 2)), "b": np.ones((4, 2))}),
        r"stacked along 1 leading axes, got leading shapes \[\(3, 2\), \(4, 2\)\]",
    ),
    "empty stack": (lambda: follow(loss, np.ones((0, 2))), "stacked along 1 leading axes"),
}


def test_no_steps_of_descent_leave_the_point():
    found = descend(loss, W, max_steps=0)
    np.testing.assert_array_equal(found.params, W)
    assert found.loss == pytest.approx(float(loss(W)))


@pytest.mark.parametrize(("call", "match"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_calls(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_backend_that_computes_wrong_is_refused(monkeypatch):
    from jaxml.core import selfcheck  # noqa: PLC0415

    wrong = (selfcheck.Answer("matrix product", 0.5, 1e-4),)
    monkeypatch.setattr(selfcheck, "known_answers", lambda *_: wrong)
    for function in (analyze, find_critical_point, landscape.escape):
        with pytest.raises(selfcheck.BackendError, match=r"matrix product is off by 5\.0e-01"):
            function(loss, W)
    with pytest.raises(selfcheck.BackendError):
        follow(loss, W[None])
