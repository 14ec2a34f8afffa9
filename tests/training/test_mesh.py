"""Many devices give the figures of one: 8 in one process, and 2 processes of one each."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import many_devices
import numpy as np
import pytest

from jaxml import landscape, nn
from jaxml.core.sharding import spans_devices
from jaxml.core.types import Algorithm
from jaxml.training import fit, fit_many, full_loss, loop, losses, optimizers, sampling, supervised

SCRIPT = Path(many_devices.__file__)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(11, 3)).astype(np.float32), "y": RNG.integers(0, 3, 11)}
ONE = jax.make_mesh((1,), ("data",))
LANES = jax.make_mesh((1,), ("lanes",))
ALGORITHM = supervised(nn.mlp([3, 4, 3]), losses.softmax_cross_entropy, optimizers.adam(0.05))


def start(out, *arguments):
    command = [sys.executable, str(SCRIPT), str(out), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def figures(processes, paths):
    try:
        for process in processes:
            text, _ = process.communicate(timeout=1500)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            process.kill()
    return [dict(np.load(path)) for path in paths]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "one.npz"
    return figures([start(path, 1)], [path])[0]


def assert_same_figures(got, one):
    assert got.keys() == one.keys()
    for name, expected in one.items():
        if name.startswith("flops"):
            continue
        tolerance = 1e-10 if name.startswith("float64") else 1e-5
        scale = np.abs(expected).max()
        if name.endswith(("ends", "loss")):  # each, not the largest alone
            scale = np.abs(expected)
        error = np.max(np.abs(got[name] - expected) / scale)
        assert error <= tolerance, f"{name} is off by {error:.1e}"


def assert_work_is_divided(got, one, devices):
    for name in ("step", "gradient", "Hessian"):
        share = got[f"flops: {name}"] / one[f"flops: {name}"]
        # a step also updates the parameters and draws the batch, which each device does whole
        assert 1 / devices <= share <= (1.3 if name == "step" else 1.1) / devices, (name, share)


@pytest.mark.slow
def test_a_ragged_last_batch(one):
    """One by one, the eigenvalues are off by so much of the largest."""
    ragged = {name: figures for name, figures in one.items() if "ragged" in name}
    whole = {name: one[name.replace("ragged", "all rows")] for name in ragged}
    assert len(ragged) == 10
    assert_same_figures(ragged, whole)


@pytest.mark.slow
def test_eight_devices(one, tmp_path):
    path = tmp_path / "eight.npz"
    (eight,) = figures([start(path, 8)], [path])
    assert_same_figures(eight, one)
    assert_work_is_divided(eight, one, 8)


@pytest.mark.slow
def test_two_processes(one, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    paths = [tmp_path / f"{index}.npz" for index in range(2)]
    both = figures([start(path, 1, address, 2, i) for i, path in enumerate(paths)], paths)
    for got in both:
        assert_same_figures(got, one)
        assert_work_is_divided(got, one, 2)
    for name, values in both[0].items():
        np.testing.assert_array_equal(values, both[1][name], err_msg=name)


def assert_same(a, b):
    """To the bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_a_mesh_of_one_device_changes_nothing_to_the_bit():
    plain, meshed = (
        fit(ALGORITHM, DATA, sampling.epochs(4), key=KEY, steps=6, chunk=3, mesh=mesh)
        for mesh in (None, ONE)
    )
    assert_same((plain.state, plain.history), (meshed.state, meshed.history))
    keys = jax.random.split(KEY, 3)
    plain, meshed = (
        fit_many(ALGORITHM, DATA, sampling.epochs(4), keys=keys, steps=6, chunk=3, mesh=mesh)
        for mesh in (None, LANES)
    )
    assert_same((plain.state, plain.history), (meshed.state, meshed.history))
    state = fit(ALGORITHM, DATA, sampling.epochs(4), key=KEY, steps=1).state
    plain, meshed = (
        landscape.hessian(full_loss(ALGORITHM, state, DATA, mesh=mesh), state.params, mesh=mesh)
        for mesh in (None, ONE)
    )
    assert_same(plain.dense(), meshed.dense())


def test_a_mesh_is_compiled_once():
    traces = []

    def loss(outputs, batch):
        traces.append(1)
        return losses.mse(outputs, batch)

    counted = supervised(nn.linear(3, 3), loss, optimizers.sgd(0.1))
    data = {"x": DATA["x"], "y": DATA["x"]}
    compiled = []
    for _ in range(2):
        mesh = jax.make_mesh((1,), ("data",))
        fit(counted, data, sampling.full(), key=KEY, steps=9, chunk=3, mesh=mesh)
        compiled.append(loop._advance._cache_size())
    assert compiled[1] == compiled[0]
    assert len(traces) == 4  # each time of the step, and of the loss at its end


def test_states_may_hold_keys():
    """As those of algorithms that play do."""
    drawing = Algorithm(_init_with_key, _step_with_key)
    run = fit(drawing, None, sampling.full(), key=KEY, steps=2, mesh=ONE)
    assert_same(
        jax.random.key_data(run.state.params),
        jax.random.key_data(fit(drawing, None, sampling.full(), key=KEY, steps=2).state.params),
    )


def _init_with_key(key):
    state = ALGORITHM.init(key)
    return state.replace(params=key, opt_state=())


def _step_with_key(state, batch, key):
    params = jax.random.fold_in(state.params, state.step)
    return state.replace(step=state.step + 1, params=params), {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fit(ALGORITHM, DATA, sampling.full(), key=KEY, steps=1, mesh=LANES),
            "a mesh with an axis 'data', got one of 'lanes'",
        ),
        (
            lambda: fit(ALGORITHM, DATA, sampling.full(), key=KEY, steps=1, mesh=8),
            "a mesh, from jax.make_mesh, got int",
        ),
        (
            lambda: fit_many(
                ALGORITHM, DATA, sampling.full(), keys=jax.random.split(KEY), steps=1, mesh=ONE
            ),
            "a mesh with an axis 'lanes', got one of 'data'",
        ),
        (
            lambda: full_loss(ALGORITHM, ALGORITHM.init(KEY), DATA, mesh=LANES),
            "a mesh with an axis 'data'",
        ),
        (
            lambda: landscape.hessian(
                lambda w: w @ w, np.ones(2, np.float32), mesh=jax.make_mesh((1,), ("model",))
            ),
            "a mesh with an axis 'data' or 'lanes'",
        ),
    ],
)
def test_other_meshes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_device_spans_none():
    assert not spans_devices(full_loss(ALGORITHM, ALGORITHM.init(KEY), DATA, mesh=ONE))
