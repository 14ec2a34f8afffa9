"""The loss surface of tanh networks on the digits: dense Hessians, ends of spectra, densities.

`python -m benchmarks dense ends density` compares with JAX alone; `--peers` with other libraries as
well, which `landscape_peers.py` says how to install. All 1,797 digits, softmax cross-entropy,
float32.

A residual is max ‖Hv − θv‖/‖H‖ over a side's pairs, by one product in float64 for all sides, and
an error the largest |θ − λ|/‖H‖, with λ from a search in float64. Each side runs at the first of
its settings that brings the residual to 1e-5. Memory is what the largest resident size of a
process of its own grows by, its compilation included.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks import landscape_peers as peers
from benchmarks.landscape_peers import Found
from benchmarks.tables import OURS, Row, compare
from benchmarks.timing import Contestant, Counted, alternate, contestant, timed
from jaxml import data, landscape, nn, training
from jaxml.landscape.operators.validation import precision
from jaxml.training import losses, optimizers, sampling

SMALL, MIDDLE, LARGE = [64, 32, 10], [64, 128, 64, 10], [64, 512, 512, 10]
TOLERANCE = 1e-5
STEPS = 90
TRAINED = 100
PYTORCH = ("hessian-eigenthings", "curvlinops", "PyHessian")


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        run: does the work at a setting.
        settings: from the cheapest on; what they are is the side's own affair.
    """

    run: Callable[[Any], Found]
    settings: Sequence[Any] = (None,)


@functools.cache
def _problem(widths: tuple[int, ...], steps: int) -> tuple[Any, Any]:
    """The loss and parameters after so many steps of Adam."""
    digits = data.load("digits").everything()
    model = nn.mlp(widths, activation="tanh")
    optimizer = optimizers.adam(1e-3)
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizer)
    key = jax.random.key(0)
    state = algorithm.init(key)
    if steps:
        state = training.fit(algorithm, digits, sampling.epochs(64), key=key, steps=steps).state
    return training.full_loss(algorithm, state, digits), jax.device_get(state.params)


def _network(params: Any) -> peers.Network:
    digits = data.load("digits").everything()
    return peers.network(params, digits["x"], digits["y"])


def _plain(loss: Any, params: Any) -> Any:
    return loss(params)


@functools.cache
def _jax_hessian(widths: tuple[int, ...]) -> tuple[Any, Any]:
    """`jax.hessian`, compiled once, and the flat parameters."""
    flat, unravel = ravel_pytree(_problem(widths, 0)[1])
    return jax.jit(lambda loss, v: jax.hessian(lambda v: loss(unravel(v)))(v)), flat


def dense(widths: Sequence[int], others: bool) -> dict[str, Side]:
    """The matrix; `jax.hessian` and PyTorch only where they can."""
    loss, params = _problem(tuple(widths), 0)
    hidden = Partial(_plain, loss)  # a loss of which only the value is known
    net = _network(params)

    def by_jax(_: Any) -> Found:
        whole, flat = _jax_hessian(tuple(widths))
        return Found(matrix=whole(loss, flat))

    sides = {
        OURS: Side(lambda _: Found(matrix=landscape.hessian(loss, params).dense())),
        "jax.hessian": Side(by_jax),
        "jaxml, any loss": Side(lambda _: Found(matrix=landscape.hessian(hidden, params).dense())),
    }
    if widths != SMALL:
        sides.pop("jax.hessian")
    elif others:
        sides["torch.func.hessian"] = Side(lambda _: peers.torch_hessian(net))
        sides["curvlinops"] = Side(lambda _: peers.curvlinops_dense(net))
    return sides


@jax.jit
def _apply(product: Partial, vector: jax.Array) -> jax.Array:
    return product(vector)


def _eigsh(operator: landscape.SymmetricOperator, tolerance: float, **options: Any) -> Found:
    """Scipy's restarted Lanczos on our product."""

    def product(v: np.ndarray) -> np.ndarray:
        return np.asarray(_apply(operator.product, v.ravel()))

    counted = Counted(product)
    linear = LinearOperator((operator.size,) * 2, counted, dtype=operator.dtype)
    values, vectors = eigsh(linear, tol=tolerance, **options)
    return Found(values, vectors.T, counted.calls)


@functools.partial(jax.jit, static_argnames="steps")
def _matfree(product: Partial, start: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    from matfree import decomp, eig

    solve = eig.eigh_partial(decomp.tridiag_sym(steps))
    return solve(lambda v, product: product(v), start, product)


def _matfree_ends(operator: landscape.SymmetricOperator, steps: int, pairs: slice) -> Found:
    start = jax.random.normal(jax.random.key(0), (operator.size,))
    values, vectors = _matfree(operator.product, start, steps)
    return Found(np.asarray(values[pairs]), np.asarray(vectors[pairs]), steps)


def _ours(operator: landscape.SymmetricOperator, tolerance: float, **ends: int) -> Found:
    found = landscape.eigenpairs(operator, tolerance=tolerance, **ends)
    return Found(found.values, found.vectors, found.products)


def top_five(others: bool) -> dict[str, Side]:
    """The five largest eigenvalues."""
    loss, params = _problem(tuple(LARGE), 0)
    net = _network(params)
    hessian = functools.partial(landscape.hessian, loss, params)
    largest = {"k": 5, "which": "LA"}
    tolerances = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 0)
    sides = {
        OURS: Side(lambda tolerance: _ours(hessian(), tolerance, top=5), (TOLERANCE,)),
        "scipy eigsh": Side(lambda tolerance: _eigsh(hessian(), tolerance, **largest), tolerances),
    }
    if others:
        steps = (20, 22, 24, 26, 28, 30, 40)
        sides |= {
            "matfree": Side(lambda k: _matfree_ends(hessian(), k, slice(-5, None)), steps),
            "hessian-eigenthings": Side(
                lambda k: peers.eigenthings_lanczos(net, k, 5, "LA"), steps
            ),
            "curvlinops": Side(lambda t: peers.curvlinops_eigsh(net, t, **largest), tolerances),
            "PyHessian": Side(
                lambda tolerance: peers.pyhessian_power(net, tolerance, 5), (1e-3, 1e-4, 1e-5)
            ),
        }
    return sides


def lowest(steps: int, others: bool) -> dict[str, Side]:
    """The lowest eigenvalue; PyHessian has no way to it."""
    loss, params = _problem(tuple(LARGE), steps)
    net = _network(params)
    hessian = functools.partial(landscape.hessian, loss, params)
    tolerances = (1e-1, 1e-2, 1e-3, 1e-4)

    def arpack(tolerance: float, **options: int) -> Found:
        return _eigsh(hessian(), tolerance, k=1, which="SA", **options)

    sides = {
        OURS: Side(lambda t: _ours(hessian(), t, top=0, lowest=1), (TOLERANCE,)),
        "scipy eigsh": Side(arpack, tolerances),
        "scipy eigsh, ncv=60": Side(functools.partial(arpack, ncv=60), tolerances),
    }
    if others:
        taken = range(30, 140, 10)
        sides |= {
            "matfree": Side(lambda k: _matfree_ends(hessian(), k, slice(1)), taken),
            "hessian-eigenthings": Side(
                lambda k: peers.eigenthings_lanczos(net, k, 1, "SA"), taken
            ),
        }
    return sides


def density(others: bool) -> dict[str, Side]:
    """One probe of 90 steps."""
    loss, params = _problem(tuple(LARGE), 0)
    net = _network(params)
    operator = landscape.hessian(loss, params)

    def ours(_: Any) -> Found:
        found = landscape.spectral_density(operator, steps=STEPS, probes=1)
        return Found(products=found.products)

    def matfree(_: Any) -> Found:
        start = jax.random.rademacher(jax.random.key(0), (operator.size,), operator.dtype)
        values, _vectors = _matfree_density(operator.product, start)
        return Found(values=values, products=STEPS)

    sides = {OURS: Side(ours)}
    if others:
        sides |= {
            "matfree": Side(matfree),
            "hessian-eigenthings": Side(lambda _: peers.eigenthings_density(net, STEPS)),
            "curvlinops": Side(lambda _: peers.curvlinops_density(net, STEPS)),
            "PyHessian": Side(lambda _: peers.pyhessian_density(net, STEPS)),
        }
    return sides


@jax.jit
def _matfree_density(product: Partial, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    from matfree import decomp

    _, matrix, *_ = decomp.tridiag_sym(STEPS)(lambda v, product: product(v), start, product)
    return jnp.linalg.eigh(matrix)


CASES: dict[str, Callable[[bool], dict[str, Side]]] = {
    "dense small": functools.partial(dense, SMALL),
    "dense middle": functools.partial(dense, MIDDLE),
    "top five": top_five,
    "lowest": functools.partial(lowest, 0),
    "lowest trained": functools.partial(lowest, TRAINED),
    "density": density,
}


def dense_hessians(rounds: int, others: bool) -> Iterator[Row]:
    """The whole matrix.

    Args:
        rounds: turns of each side.
        others: whether to compare with other libraries than JAX and scipy.
    """
    yield _dense_row(SMALL, rounds, others)
    yield _dense_row(MIDDLE, min(rounds, 3), others)


def ends(rounds: int, others: bool) -> Iterator[Row]:
    """The largest and the lowest eigenvalues; arguments as above."""
    yield _ends_row("top five", "the five largest eigenvalues", rounds, others)
    yield _ends_row("lowest", "the lowest eigenvalue", rounds, others, most=61)
    trained = f"the lowest eigenvalue after {TRAINED} steps of Adam"
    yield _ends_row("lowest trained", trained, min(rounds, 3), others)


def densities(rounds: int, others: bool) -> Iterator[Row]:
    """The spectral density; arguments as above."""
    yield _density_row(rounds, others)


def _dense_row(widths: list[int], rounds: int, others: bool) -> Row:
    case = "dense small" if widths == SMALL else "dense middle"
    sides = CASES[case](others)
    parameters = sum(a * b + b for a, b in itertools.pairwise(widths))
    examples = len(data.load("digits").everything()["y"])
    flops = examples * parameters**2  # multiplications and additions of its half by examples
    contestants: dict[str, Any] = {OURS: contestant(timed(lambda: sides[OURS].run(None)))}
    if widths != SMALL:
        contestants[f"{flops:.2g} flops of products"] = _product_limit(examples, flops)
    for name in sides:
        run = functools.partial(sides[name].run, None)
        contestants.setdefault(name, lambda run=run: contestant(timed(run)))
    row = compare(
        f"dense Hessian of {parameters:,} parameters on {examples:,} digits",
        contestants,
        rounds=rounds,
        flops=flops,
        expected=20.0 if widths == SMALL else 1 / 1.6,
    )
    ours = np.asarray(sides[OURS].run(None).matrix)
    facts = {name: _memory(case, name, None) for name in sides if name in row.rates}
    for name in facts:
        if name != OURS:
            off = np.asarray(sides[name].run(None).matrix) - ours
            facts[name] |= {"difference": float(abs(off).max() / abs(ours).max())}
    absent = dict(row.absent)
    if widths != SMALL:
        whole, flat = _jax_hessian(tuple(widths))
        compiled = whole.lower(_problem(tuple(widths), 0)[0], flat).compile()
        needed = compiled.memory_analysis().temp_size_in_bytes
        absent["jax.hessian"] = f"it would take {needed / 2**30:,.0f} GiB"
    return dataclasses.replace(row, facts=_with_seconds(row, facts), absent=absent)


def _product_limit(examples: int, flops: float) -> Contestant:
    """So many operations as products of the shape that the blocks of a Hessian have."""
    keys = jax.random.split(jax.random.key(0))
    left = jax.random.normal(keys[0], (examples, 129))
    right = jax.random.normal(keys[1], (examples, 8192))
    product = jax.jit(lambda left, right: left.T @ right)
    repeats = 20

    def work() -> jax.Array:
        for _ in range(repeats):
            last = product(left, right)
        return last

    seconds = timed(work)
    share = flops / (repeats * 2 * examples * left.shape[1] * right.shape[1])
    return contestant(lambda: share * seconds())


def _ends_row(case: str, what: str, rounds: int, others: bool, most: int | None = None) -> Row:
    sides = CASES[case](others)
    judge = _Judge(case)
    chosen, facts, absent = {}, {}, {}
    for name, side in sides.items():
        try:
            chosen[name], facts[name] = judge.first_enough(side)
        except Exception as error:  # whatever a peer's library raises
            if name == OURS:
                raise
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    runs = {name: functools.partial(sides[name].run, setting) for name, setting in chosen.items()}
    row = compare(
        f"{what} of {judge.size:,}",
        {name: contestant(timed(run)) for name, run in runs.items()},
        rounds=rounds,
    )
    for name, setting in chosen.items():
        facts[name] |= _memory(case, name, setting)
    products = {name: fact["products"] for name, fact in facts.items()}
    enough = {name: fact["residual"] <= TOLERANCE for name, fact in facts.items()}
    best = min((products[name] for name in products if enough[name] and name != OURS), default=0)
    checks = {
        f"residual within {TOLERANCE:g}": enough[OURS],
        f"no more products than the best peer's {best:.0f}": products[OURS] <= best,
    }
    if most is not None:
        checks[f"at most {most} products"] = products[OURS] <= most
    if case == "top five":
        slower = {name: np.median(row.ratios[name]) for name in PYTORCH if name in row.ratios}
        for name, ratio in slower.items():
            checks[f"at least 3 times as fast as {name}"] = bool(ratio >= 3)
    return dataclasses.replace(
        row, facts=_with_seconds(row, facts), absent=row.absent | absent, checks=checks
    )


class _Judge:
    """Residuals and errors of what the sides find, by one operator in float64."""

    def __init__(self, case: str) -> None:
        loss, params = _problem(tuple(LARGE), TRAINED if case == "lowest trained" else 0)
        wide = lambda tree: jax.tree.map(  # noqa: E731
            lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, jax.device_get(tree)
        )
        with precision(True):
            self._operator = landscape.hessian(jax.tree.map(jnp.asarray, wide(loss)), wide(params))
        ends = {"top": 5} if case == "top five" else {"top": 0, "lowest": 1}
        self._truth = landscape.eigenpairs(self._operator, tolerance=1e-8, **ends)
        self.size = self._operator.size

    def first_enough(self, side: Side) -> tuple[Any, dict[str, float]]:
        """The first setting that reaches the tolerance, or the last, and its facts."""
        for setting in side.settings:
            found = side.run(setting)
            facts = self.facts(found)
            if facts["residual"] <= TOLERANCE:
                break
        return setting, facts

    def facts(self, found: Found) -> dict[str, float]:
        """Products, the largest residual and the largest error."""
        pairs = zip(found.values, np.asarray(found.vectors, np.float64), strict=True)
        residuals = [
            np.linalg.norm(self._operator.matvec(v) - value * v) / np.linalg.norm(v)
            for value, v in pairs
        ]
        norm = self._truth.norm
        return {
            "products": found.products,
            "residual": float(max(residuals)) / norm,
            "error": float(abs(np.sort(found.values) - self._truth.values).max()) / norm,
        }


def _density_row(rounds: int, others: bool) -> Row:
    sides = CASES["density"](others)
    loss, params = _problem(tuple(LARGE), 0)
    operator, net = landscape.hessian(loss, params), _network(params)
    row = compare(
        f"spectral density of {operator.size:,}: probes of {STEPS} steps",
        {
            name: functools.partial(contestant, timed(functools.partial(side.run, None)))
            for name, side in sides.items()
        },
        rounds=rounds,
    )
    vector = np.full(operator.size, operator.size**-0.5, operator.dtype)
    ours = lambda: _apply(operator.product, vector)  # noqa: E731
    calls: dict[str, Callable[[], Any]] = {OURS: ours, "matfree": ours}
    if others:
        theirs = torch.tensor(vector, device=net.x.device)
        calls |= {
            name: functools.partial(product, theirs)
            for name, product in peers.products(net).items()
        }
    repeated = {name: contestant(timed(_repeated(calls[name], 10))) for name in row.rates}
    own = {name: np.median(s) / 10 for name, s in alternate(repeated, rounds).items()}
    facts = {}
    for name, seconds in own.items():
        whole = 1 / float(np.median(row.rates[name]))
        facts[name] = {
            "products": sides[name].run(None).products,
            "a step": whole / STEPS / float(seconds),
            **_memory("density", name, None),
        }
    checks = {"at most 1.25 products a step": facts[OURS]["a step"] <= 1.25}
    return dataclasses.replace(row, facts=_with_seconds(row, facts), checks=checks)


def _repeated(call: Callable[[], Any], times: int) -> Callable[[], Any]:
    return lambda: [jax.block_until_ready(call()) for _ in range(times)]


def _with_seconds(row: Row, facts: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median seconds before the other facts."""
    return {
        name: {"seconds": 1 / float(np.median(rate)), **facts.get(name, {})}
        for name, rate in row.rates.items()
    }


def _memory(case: str, name: str, setting: Any) -> dict[str, float]:
    """MiB by which a process of its own grows while a side runs."""
    command = [sys.executable, "-m", "benchmarks.landscape", case, name, repr(setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    return {"MiB": float(done.stdout.split()[-1])}


def _grown(case: str, name: str, setting: Any) -> float:
    """MiB that a side's work adds to this process's largest resident size."""
    side = CASES[case](True)[name]
    before = _largest()
    jax.block_until_ready(side.run(setting))
    return _largest() - before


def _largest() -> float:
    """This process's largest resident size in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux includes the process that started this one
        (line,) = [row for row in status.read_text().splitlines() if row.startswith("VmHWM")]
        return float(line.split()[1]) / 2**10
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    import ast

    print(_grown(*sys.argv[1:3], ast.literal_eval(sys.argv[3])))
