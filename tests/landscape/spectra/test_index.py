"""Counts of eigenvalues: closed forms, the dense spectrum, and that the intervals hold."""

import numpy as np
import pytest
from problems import autoencoder
from test_lanczos import diagonal, random_quadratic

from jaxml import landscape
from jaxml.landscape import Interval, count_eigenvalues
from jaxml.linalg.quadrature import Rule, mass_below


def true_counts(spectrum, tolerance):
    values = np.asarray(spectrum)
    within = abs(values) <= tolerance
    return (values[~within] < 0).sum(), within.sum(), (values[~within] > 0).sum()


def holds(counts, spectrum):
    truth = true_counts(spectrum, counts.tolerance)
    return [
        count.low <= true <= count.high
        for count, true in zip(
            (counts.negative, counts.within, counts.positive), truth, strict=True
        )
    ]


def test_the_dense_way_on_baldi_and_horniks_saddles(x64):
    problem = autoencoder([4.0, 3.0, 2.0, 1.0], 2)
    for point in problem.points:
        counts = count_eigenvalues(landscape.hessian(problem.loss, point.params))
        assert counts.method == "dense"
        assert counts.negative == (point.index, point.index)
        assert counts.within == (point.nullity, point.nullity)
        assert counts.undecided == 0


def test_an_eigenvalue_at_the_edge_is_undecided():
    counts = count_eigenvalues(diagonal([1.0, 0.1, -0.1, -1.0]), tolerance=0.1)
    assert counts.negative == (1, 2)
    assert counts.within == (0, 2)
    assert counts.undecided == 2
    assert "1 to 2 negative, 0 to 2 within ±1.0e-01, 1 to 2 positive, 2 undecided" in str(counts)


@pytest.mark.slow
def test_few_negative_ones_are_found_one_by_one():
    spectrum = np.concatenate([np.linspace(0.5, 1, 150), [2.0] * 3, [-1, -1, -0.3, -0.2]])
    counts = count_eigenvalues(diagonal(spectrum), memory=0, max_products=800)
    assert counts.method == "lowest end"
    assert counts.negative == (4, 4)
    assert counts.within == (0, 0)
    assert counts.positive == (153, 153)
    assert counts.products <= 800
    assert counts.products > 0
    assert "no negative one" in counts.certainty


@pytest.mark.slow
def test_no_negative_ones():
    counts = count_eigenvalues(diagonal(np.linspace(0.5, 1, 160)), memory=0, max_products=800)
    assert counts.negative == (0, 0)
    assert counts.positive == (160, 160)


@pytest.mark.slow
def test_many_are_counted_by_random_vectors():
    matrix, operator = random_quadratic(160)
    counts = count_eigenvalues(operator, memory=0, tolerance=0.5, max_products=400)
    spectrum = np.linalg.eigvalsh(matrix)
    assert counts.method == "stochastic"
    assert all(holds(counts, spectrum))
    assert 60 < counts.negative.low < counts.negative.high < 100
    assert counts.products <= 400


@pytest.mark.slow
def test_the_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    spectrum = np.concatenate([rng.normal(size=100), 1e-3 * rng.normal(size=60)])
    operator = diagonal(spectrum)
    held = [
        holds(
            count_eigenvalues(operator, memory=0, tolerance=0.05, max_products=200, seed=seed),
            spectrum,
        )
        for seed in range(12)
    ]
    # 36 intervals at 95 %: more than 5 outside have a probability of about 1 %
    assert np.size(held) - np.sum(held) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_zeros_among_600_are_those_found(dtype):
    """Random vectors alone left "0 to 5" and were wrong 19 times of 160."""
    spectrum = np.r_[np.zeros(4), np.linspace(0.1, 1, 596)]
    for seed in range(3):
        counts = count_eigenvalues(diagonal(spectrum, dtype), memory=0, seed=seed)
        assert counts.within == (4, 4)
        assert counts.negative == (0, 0)
        assert counts.undecided == 0


@pytest.mark.slow
def test_zeros_inside_the_spectrum_are_counted_by_random_vectors():
    """Pairs at the ends say nothing of three zeros among 600: the intervals hold at 95 %."""
    spectrum = np.r_[np.zeros(3), np.linspace(0.1, 1, 297), np.linspace(-1, -0.1, 300)]
    operator = diagonal(spectrum)
    held = []
    for seed in range(100):
        counts = count_eigenvalues(operator, memory=0, max_products=1000, seed=seed)
        held.append(holds(counts, spectrum))
        assert counts.within.high <= 20
    assert np.sum(held, axis=0).min() >= 93


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "spectrum",
    [
        np.geomspace(1e-16, 1, 600),
        np.r_[1e-16, np.geomspace(1e-3, 1, 599)],
        np.r_[-np.geomspace(1e-16, 1, 300), np.geomspace(1e-16, 1, 300)],
    ],
    ids=["all scales", "one tiny", "both signs"],
)
def test_graded_spectra_say_what_is_not_known(spectrum, dtype):
    counts = count_eigenvalues(diagonal(spectrum, dtype), memory=0)
    assert all(holds(counts, np.asarray(spectrum, dtype)))
    if counts.undecided:
        assert "for the whole matrix" in str(counts)
        assert "a larger tolerance, or more products" in str(counts)
        assert ("float64" in str(counts)) == (dtype == "float32")


def test_the_zero_tolerance_is_that_of_a_random_walk():
    for size in (100, 900):
        counts = count_eigenvalues(diagonal(np.ones(size)))
        assert counts.tolerance == pytest.approx(10 * size**0.5 * 2.0**-23)


def test_radau_masses_enclose_the_measure():
    rng = np.random.default_rng(0)
    for _ in range(20):
        atoms, masses = np.sort(rng.normal(size=40)), rng.dirichlet(np.ones(40))
        # Lanczos on the atoms, to the full basis, then cut off
        rows, start = [], np.sqrt(masses)
        for _ in range(9):
            for row in rows + rows:
                start = start - (row @ start) * row
            rows.append(start / np.linalg.norm(start))
            start = atoms * rows[-1]
        matrix = np.array(rows[:8]) * atoms @ np.array(rows[:8]).T
        values, weights = np.linalg.eigh(matrix)
        rule = Rule(values, weights[0], weights[-1], float(rows[8] * atoms @ rows[7]))
        for x in rng.normal(size=5):
            low, high = mass_below(rule, x)
            assert low - 1e-12 <= masses[atoms < x].sum() <= high + 1e-12
            assert high - low < 0.5


@pytest.mark.slow
def test_a_hook_ends_it_with_wider_intervals():
    matrix, operator = random_quadratic(160)
    counts = count_eigenvalues(
        operator, memory=0, max_products=400, on_progress=lambda done, total: True
    )
    assert counts.products < 100
    assert all(holds(counts, np.linalg.eigvalsh(matrix)))


@pytest.mark.parametrize("spectrum", [[-1.0], [1.0, -1.0], [-1.0, -2.0, 0.0], [0.0, 0.0]])
def test_small_problems_by_products(spectrum):
    counts = count_eigenvalues(diagonal(spectrum), memory=0, tolerance=1e-3)
    assert (counts.negative.low, counts.within.low, counts.positive.low) == true_counts(
        spectrum, 1e-3
    )
    assert counts.undecided == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, "tolerance"),
        ({"memory": -1}, "memory"),
        ({"max_products": 10}, "max_products of at least 64"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        count_eigenvalues(diagonal([1.0, 2.0]), **options)


def test_an_interval_reads_as_a_number_or_a_range():
    assert [str(Interval(3, 3)), str(Interval(3, 4000))] == ["3", "3 to 4,000"]
