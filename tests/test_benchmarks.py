"""The arithmetic of the benchmarks; the figures themselves are no test."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from rich.console import Console

from benchmarks.tables import compare, heading, table
from benchmarks.timing import Contestant, Counted, alternate, contestant, matmul_peak
from jaxml import landscape


def fixed(*seconds):
    values = iter(seconds)
    return Contestant(lambda: next(values), compile_seconds=0.5)


def fails():
    raise RuntimeError("no compiler\nand a long story")


def test_ratios_are_taken_round_by_round_and_absent_peers_named():
    row = compare(
        "work",
        {"jaxml": fixed(1.0, 2.0, 4.0), "peer": fixed(3.0, 4.0, 20.0), "other": fails},
        rounds=3,
        per_run=8,
        expected=3.0,
    )
    np.testing.assert_array_equal(row.ratios["peer"], [3.0, 2.0, 5.0])
    np.testing.assert_array_equal(row.rates["jaxml"], [8.0, 4.0, 2.0])
    assert row.met
    assert row.absent == {"other": "RuntimeError: no compiler"}
    assert row.record()["ratios"]["peer"] == {"median": 3.0, "min": 2.0, "max": 5.0}
    console = Console(file=io.StringIO(), width=120)
    console.print(table(row))
    text = console.file.getvalue()
    assert "3.00×" in text
    assert heading(row) == "work (expected 3×: met)"


def test_a_ratio_below_the_expected_one_is_called_so():
    row = compare("work", {"jaxml": fixed(1.0), "peer": fixed(2.9)}, rounds=1, expected=3.0)
    assert row.met is False


def test_contestants_take_turns():
    order = []
    sides = {
        name: Contestant(lambda name=name: order.append(name) or 1.0, 0.0) for name in ("a", "b")
    }
    alternate(sides, 2)
    assert order == ["a", "b", "a", "b"]


def test_our_own_failure_is_not_passed_over():
    with pytest.raises(RuntimeError, match="no compiler"):
        compare("work", {"jaxml": fails, "peer": fixed(1.0)}, rounds=1)


def test_compilation_is_what_the_first_run_took_longer():
    assert contestant(lambda: 0.0).compile_seconds < 0.01


def test_the_peak_is_seconds_per_operation():
    per_second = 1 / matmul_peak(256).run()
    assert 1e8 < per_second < 1e16


def test_facts_and_checks_are_shown_beside_the_figures():
    row = compare("work", {"jaxml": fixed(1.0), "peer": fixed(2.0)}, rounds=1)
    row = dataclasses.replace(row, facts={"jaxml": {"products": 21.0}}, checks={"few": True})
    console = Console(file=io.StringIO(), width=120)
    console.print(table(row))
    assert "products" in console.file.getvalue()
    assert row.record()["facts"] == {"jaxml": {"products": 21.0}}
    assert row.record()["checks"] == {"few": True}


@pytest.mark.slow
def test_the_ends_take_no_more_products_than_restarted_lanczos():
    """Counts, which no other load on the machine changes."""
    sparse = pytest.importorskip("scipy.sparse.linalg")
    scales = np.r_[-0.1, np.linspace(-0.05, 0.1, 500), 0.5, 0.7, 0.9, 1.0, 1.6]
    operator = landscape.symmetric(Partial(jnp.multiply, scales.astype(np.float32)), scales.size)
    for ends, options in (
        ({"top": 5}, {"k": 5, "which": "LA", "tol": 1e-2}),
        ({"top": 0, "lowest": 1}, {"k": 1, "which": "SA", "ncv": 60, "tol": 1e-2}),
    ):
        product = Counted(lambda v: (scales * v.ravel()).astype(np.float32))
        linear = sparse.LinearOperator((scales.size,) * 2, product, dtype=np.float32)
        sparse.eigsh(linear, **options)
        found = landscape.eigenpairs(operator, **ends)
        assert found.converged.all()
        assert found.products <= product.calls


@pytest.mark.slow
@pytest.mark.oracle
def test_the_landscape_comparisons_run_with_small_networks(monkeypatch):
    """Whatever a change of the library would break in them; the figures are no test."""
    pytest.importorskip("torch")
    from benchmarks import landscape as surfaces  # noqa: PLC0415 - it needs PyTorch

    monkeypatch.setattr(surfaces, "LARGE", [64, 6, 10])
    monkeypatch.setattr(surfaces, "_memory", lambda *_: {})
    rows = [
        surfaces._dense_row(surfaces.SMALL, 1, others=False),
        surfaces._ends_row("top five", "the five largest eigenvalues", 1, others=False),
        surfaces._ends_row("lowest trained", "the lowest eigenvalue", 1, others=False),
        surfaces._density_row(1, others=False),
    ]
    for row in rows:
        assert row.rates["jaxml"].all()
        assert not row.absent
    assert rows[1].checks["residual within 1e-05"]
