"""The same trainings and Hessians on however many devices; run by test_mesh.py.

Run: python many_devices.py OUT.npz DEVICES [COORDINATOR:PORT PROCESSES INDEX]
"""

import functools
import os
import sys

if __name__ == "__main__":  # before anything asks for the devices
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[2]}"

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxml import data, landscape, nn, training
from jaxml.core.sharding import check_mesh, gather
from jaxml.landscape.operators import hessian as operators
from jaxml.landscape.operators.dense_hessian import Dense
from jaxml.training import loop, losses, metrics, optimizers, sampling

KEY = jax.random.key
LANES = 8

# the loss is an argument: no process may close over another's arrays
value_and_grad = jax.jit(lambda loss, params: jax.value_and_grad(loss)(params))


def make(rate, norm=None):
    # without biases: their gradient before a batch norm is rounding, which Adam makes a full step
    model = nn.mlp([64, 24, 10], activation="tanh", norm=norm, bias=norm is None)
    extra = {"accuracy": metrics.accuracy}
    loss = losses.softmax_cross_entropy
    return training.supervised(model, loss, optimizers.adam(rate), metrics=extra, l2=1e-3)


def meshes(devices):
    """Rows, lanes, and both; without a mesh on one device."""
    if devices == 1:
        return None, None, None
    return (
        jax.make_mesh((devices,), ("data",)),
        jax.make_mesh((devices,), ("lanes",)),
        jax.make_mesh((2, devices // 2), ("lanes", "data")),
    )


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def compute(devices, directory):
    """Name -> figures, the same on any number of devices."""
    digits = data.load("digits").train
    rows, lanes, both = meshes(devices)
    out = {}

    # 1,077 examples are no multiple of 8; batches must be
    for name, norm, sample in (
        ("mlp", None, sampling.epochs(64)),
        ("batch norm", "batch", sampling.epochs(64)),
    ):
        algorithm = make(1e-2, norm)
        run = training.fit(algorithm, digits, sample, key=KEY(0), steps=20, chunk=20, mesh=rows)
        out[f"fit {name}: loss"] = run.history["loss"]
        out[f"fit {name}: gradient norm"] = run.history["gradient_norm"]
        out[f"fit {name}: params"] = flat(run.state.params)

    stream = training.streaming.rows({"of": digits}, sampling.epochs(64))
    inner = training.supervised(
        nn.mlp([64, 10]),
        lambda outputs, batch: losses.softmax_cross_entropy(outputs, batch["of"]),
        optimizers.adam(1e-2),
        inputs=lambda batch: batch["of"]["x"],
        accumulate=2,
    )
    run = training.fit(inner, stream, key=KEY(0), steps=5, mesh=rows)
    out["fit from the host, in parts: params"] = flat(run.state.params)

    for name, mesh in (("lanes", lanes), ("lanes and data", both)):
        kept, where = training.snapshots(), os.path.join(directory, name)
        many = training.fit_many(
            make,
            digits,
            sampling.epochs(64),
            keys=jax.random.split(KEY(1), LANES),
            hyperparameters={"rate": np.geomspace(1e-3, 1e-2, LANES).astype("float32")},
            steps=20,
            chunk=20,
            hooks=[kept, training.checkpoint(where)],
            mesh=mesh,
        )
        out[f"fit_many {name}: loss"] = many.history["loss"]
        out[f"fit_many {name}: snapshot"] = flat(kept.params)
        whole = jax.tree.map(np.asarray, gather(many.state))
        if jax.process_index() == 0:  # which wrote
            saved = training.restore(where, whole)
            jax.tree.map(np.testing.assert_array_equal, saved, whole)
            np.testing.assert_array_equal(flat(saved.params), flat(kept.params))

    model = nn.mlp([64, 4, 10], activation="tanh")
    small = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-2), l2=1e-3)
    start = training.fit(small, digits, sampling.full(), key=KEY(2), steps=20).state
    for bits, mesh in ((32, rows), (64, both)):
        with jax.enable_x64(bits == 64):
            cast = functools.partial(np.asarray, dtype=f"float{bits}")
            params = jax.tree.map(cast, start.params)
            loss = training.full_loss(small, start, digits, mesh=mesh)
            value, gradient = value_and_grad(loss, params)
            operator = landscape.hessian(loss, params, mesh=mesh)
            vector = np.linspace(-1, 1, operator.size, dtype=f"float{bits}")
            out |= {
                f"float{bits}: loss": np.asarray(value),
                f"float{bits}: gradient": flat(gradient),
                f"float{bits}: Hessian's ends": np.linalg.eigvalsh(operator.dense())[[0, -1]],
                f"float{bits}: product": np.asarray(operator.matvec(vector)),
            }
    point = landscape.analyze(training.full_loss(small, start, digits, mesh=rows), start.params)
    out["float32: analysis"] = point.eigenvalues[[0, -1]]
    return out


def spectra(devices):
    """Name -> a spectrum, the same on any number of devices and for any batches."""
    digits = data.load("digits").train
    rows, _, _ = meshes(devices)
    model = nn.mlp([64, 8, 10], activation="tanh")
    loss_of = losses.softmax_cross_entropy
    algorithm = training.supervised(model, loss_of, optimizers.adam(1e-2), l2=1e-3)
    state = training.fit(algorithm, digits, sampling.full(), key=KEY(3), steps=20).state
    out = {}
    for bits, tolerance in ((32, 1e-5), (64, 1e-8)):
        with jax.enable_x64(bits == 64):
            # rounded, since the training itself differs in its last digits
            params = jax.tree.map(lambda a: np.round(a, 3).astype(f"float{bits}"), state.params)  # noqa: B023
            # 1,077 rows: the last batch has 77, of 1,080 on 8 devices 80
            for batches, size in (("all rows", None), ("ragged", 200)):
                loss = training.full_loss(algorithm, state, digits, batch_size=size, mesh=rows)
                hessian = landscape.hessian(loss, params, mesh=rows)
                operators = {"Hessian": hessian}
                if bits == 32:  # in float64 their hundreds of equal eigenvalues take too long
                    operators["Gauss-Newton"] = landscape.gauss_newton(loss, params, mesh=rows)
                    fisher = landscape.fisher(loss, params, kind="monte carlo", mesh=rows)
                    operators["Fisher"] = fisher
                found = {
                    matrix: landscape.eigenpairs(operator, top=5, lowest=2, tolerance=tolerance)
                    for matrix, operator in operators.items()
                }
                density = landscape.spectral_density(hessian, steps=20, probes=1)
                figures = {matrix: pairs.values for matrix, pairs in found.items()} | {
                    "density's nodes": density.nodes[0],
                    "density's weights": density.weights[0],
                    "dense": np.linalg.eigvalsh(hessian.dense()),
                }
                assert all(pairs.converged.all() for pairs in found.values()), found
                out |= {f"float{bits} {batches}: {name}": a for name, a in figures.items()}
    return out


def flops(devices):
    """What one device computes in a step of training, a gradient and a Hessian."""
    digits = data.load("digits").train
    rows, _, both = map(check_mesh, meshes(devices))
    algorithm = make(1e-2)
    state = algorithm.init(KEY(0))
    placed = loop.check_data(digits, rows)
    program = loop._read(algorithm, sampling.epochs(1024), digits, placed, state, KEY(0))
    step = loop._advance.lower(*program, KEY(0), placed, state, n=1, mesh=rows)
    loss = training.full_loss(algorithm, state, digits, mesh=rows)
    gradient = value_and_grad.lower(loss, state.params)
    # more columns at a time than a lane has: one pass makes the whole matrix
    few = {"x": digits["x"][:, :8], "y": digits["y"]}
    narrow = training.supervised(nn.linear(8, 10), losses.softmax_cross_entropy, optimizers.sgd(1))
    state = narrow.init(KEY(0))
    loss = training.full_loss(narrow, state, few, mesh=both)
    dense = operators._dense.lower(loss, state.params, Dense((), 999), both)
    programs = {"step": step, "gradient": gradient, "Hessian": dense}
    return {
        f"flops: {name}": program.compile().cost_analysis()["flops"]
        for name, program in programs.items()
    }


def refusals(devices):
    """What cannot be divided is refused, before anything runs, with both numbers."""
    rows, lanes, _ = meshes(devices)
    digits = data.load("digits").train
    algorithm = make(1e-2)
    state = algorithm.init(KEY(0))
    deaf = algorithm._replace(loss=lambda params, state, batch: (batch["x"] ** 2).mean())
    keys = jax.random.split(KEY(0), devices + 1)
    calls = {
        f"a multiple of the mesh's {devices} examples, got 61": lambda: training.fit(
            algorithm, digits, sampling.epochs(61), key=KEY(0), steps=1, mesh=rows
        ),
        f"lanes in multiples of the mesh's {devices}, got {devices + 1}": lambda: training.fit_many(
            algorithm, digits, sampling.epochs(64), keys=keys, steps=1, mesh=lanes
        ),
        f"rows in multiples of {devices}, got one that ignores them, and 1077 rows": (
            lambda: training.full_loss(deaf, state, digits, mesh=rows)(state.params)
        ),
    }
    for message, call in calls.items():
        try:
            call()
        except ValueError as error:
            assert message in str(error), error  # noqa: PT017
        else:
            raise AssertionError(f"not refused: {message}")


def main(out, devices, coordinator=None, processes=1, index=0):
    if coordinator is not None:
        jax.distributed.initialize(coordinator, int(processes), int(index))
    assert jax.device_count() == int(devices) * int(processes)
    figures = compute(jax.device_count(), os.path.dirname(out)) | flops(jax.device_count())
    figures |= spectra(jax.device_count())
    if jax.device_count() > 1:
        refusals(jax.device_count())
    np.savez(out, **figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
