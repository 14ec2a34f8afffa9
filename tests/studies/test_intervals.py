"""Intervals of steps to target: they hold the estimate, and the truth as often as they say."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage_studies import LOGARITHMS, RATES, coverage, planted
from jaxml import studies
from jaxml.studies.batch_scaling.median_interval import seeds_for
from jaxml.studies.batch_scaling.views import steps_row


@pytest.mark.parametrize("count", [3, 5, 6, 9, 15])
def test_a_median_s_interval_holds_it_as_often_as_it_says(count):
    """2,000 samples at once; of six and more of any distribution."""
    random = np.random.default_rng(0)
    samples = {"normal": random.normal(size=(count, 2000))}
    if count >= 6:
        samples["exponential"] = np.log(random.exponential(size=(count, 2000)) / math.log(2))
        samples["Cauchy"] = random.standard_cauchy(size=(count, 2000))
    for logarithms in samples.values():
        low, high, level = studies.median_interval(np.exp(np.clip(logarithms, -300, 300)))
        assert (level == 0.95).all()
        assert ((low <= 1) & (high >= 1)).mean() > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(("count", "first"), [(6, 1), (8, 1), (9, 2), (12, 3), (20, 6)])
def test_order_statistics_are_the_binomial_s(count, first):
    low, high, _ = studies.median_interval(np.arange(1.0, count + 1))
    assert (low, high) == (first, count + 1 - first)
    assert 2 * stats.binom.cdf(first - 1, count, 0.5) <= 0.05
    assert 2 * stats.binom.cdf(first, count, 0.5) > 0.05


@pytest.mark.parametrize(("misses", "level"), [([np.inf], 0.75), ([np.inf, np.inf], 0.875)])
def test_misses_among_few_lower_the_level(misses, level):
    found = studies.median_interval(np.array([100.0, 120.0, *misses]))
    assert (found.low, found.high, found.level) == (100, np.inf, level)


def test_columns_are_taken_one_by_one():
    """Student's and order statistics, misses, NaN for what may be any, and one that is constant."""
    random = np.random.default_rng(0)
    for count in (4, 9):
        values = np.exp(random.normal(size=(count, 5)))
        values[0, 1], values[1:, 2], values[2, 3], values[:, 4] = np.inf, np.inf, np.nan, 1000
        found = studies.median_interval(values, confidence=0.9)
        for k in range(5):
            one = studies.median_interval(values[:, k], confidence=0.9)
            assert [float(part[k]) for part in found] == [float(part) for part in one]
        low, high, _ = studies.median_interval(values[:, 3])
        known = np.delete(values[:, 3], 2)
        assert low <= known.min() or count == 9
        assert high >= known.max() or count == 9


def test_few_finite_numbers_have_student_s_interval_of_their_logarithms():
    values = np.array([80.0, 120.0, 100.0, 90.0])
    low, high, level = studies.median_interval(values, confidence=0.9)
    center, error = np.log(values).mean(), stats.sem(np.log(values))
    expected = np.exp(stats.t.interval(0.9, 3, center, error))
    np.testing.assert_allclose([low, high], expected)
    assert level == 0.9


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_seeds_that_an_interval_needs(confidence):
    """The least n with P(all on one side of the median) = 2·2⁻ⁿ at most 1 − confidence."""
    count = seeds_for(confidence)
    assert 2 * 0.5**count <= 1 - confidence + 1e-12
    assert count == 2 or 2 * 0.5 ** (count - 1) > 1 - confidence


def test_one_value_tells_no_interval():
    assert np.isnan(studies.median_interval(np.array([3.0]))).all()
    with pytest.raises(ValueError, match="a confidence in"):
        studies.median_interval(np.ones(3), confidence=1.0)
    with pytest.raises(ValueError, match="at least one value"):
        studies.median_interval(np.ones((0, 3)))


def one_batch(updates, exits, budget=500):
    """Lanes of one batch size and rate."""
    lanes = studies.grid([64], [0.1], seeds=len(updates))
    return studies.Study(
        lanes=lanes,
        target=studies.Target(0.1),
        microbatch=np.ones(len(lanes), int),
        budget=np.full(len(lanes), budget),
        exits=np.array(exits, dtype="U10"),
        updates=np.array(updates),
        records={},
        params=None,
        examples=1000,
        size=10,
        seconds={},
        programs={},
    )


@pytest.mark.parametrize("exit_", ["plateau", "budget", "not finite"])
def test_a_miss_counts_as_one_however_early_it_ended(exit_):
    """Two of three missed: the median is not that of the one that hit."""
    (row,) = studies.steps_to_target(one_batch([100, 120, 500], [exit_, exit_, "target"])).rows
    assert math.isinf(row.steps)
    assert (row.low, row.high, row.level) == (500, math.inf, 0.75)
    assert row.hits == 1 / 3
    (row,) = studies.steps_to_target(one_batch([100, 120, 300], ["target", "target", exit_])).rows
    assert (row.steps, row.low, row.high) == (120, 100, math.inf)
    assert "too few seeds for an interval of 95%" in row.flags


def test_what_is_not_known_is_not_printed():
    (row,) = studies.steps_to_target(one_batch([100], ["target"])).rows
    assert row.steps == 100
    assert math.isnan(row.level)
    assert steps_row(row)[5] == ""
    (row,) = studies.steps_to_target(one_batch([100] * 3, ["budget"] * 3)).rows
    assert steps_row(row)[4:6] == ["∞", "500 to ∞ (75%)"]
    (row,) = studies.steps_to_target(one_batch([100, 110, 120], ["target"] * 3)).rows
    assert steps_row(row)[5] == "87 to 138 (95%)"


def test_estimates_lie_in_their_intervals():
    random = np.random.default_rng(0)
    for seeds in (2, 3, 4, 6, 7):
        study = planted(random, seeds, RATES["close"], LOGARITHMS["Laplace"])
        missed = random.random(len(study.lanes)) < 0.2
        study = dataclasses.replace(study, exits=np.where(missed, "plateau", study.exits))
        table = studies.steps_to_target(study, resamples=20)
        for row in table.rows:
            assert row.low <= row.steps <= row.high or math.isinf(row.steps)
            assert row.low <= row.high
        for found in (studies.by_overhead(table), studies.by_hyperbola(table)):
            if found.identified:
                assert found.interval[0] <= found.value <= found.interval[1]


def test_the_overhead_s_interval_says_its_level():
    study = planted(np.random.default_rng(0), 3, RATES["far apart"], LOGARITHMS["normal"])
    found = studies.by_overhead(studies.steps_to_target(study, resamples=1))
    assert found.level == 0.95
    assert "(95%)" in str(found)
    alone = study.lanes.seed == 0
    one = dataclasses.replace(
        study,
        lanes=study.lanes.take(alone),
        exits=study.exits[alone],
        updates=study.updates[alone],
        budget=study.budget[alone],
    )
    found = studies.by_overhead(studies.steps_to_target(one, resamples=1))
    assert np.isnan(found.interval).all()
    assert "too few seeds" in str(found) or not found.identified


def test_coverage_at_three_seeds():
    found = coverage(3, RATES["far apart"], LOGARITHMS["normal"], simulations=60)
    assert found.rows > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)
    assert found.overhead > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 60)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 6])
@pytest.mark.parametrize("rates", RATES)
def test_coverage(seeds, rates):
    """Within three standard errors of the simulation, rows of one study taken as one."""
    found = coverage(seeds, RATES[rates], LOGARITHMS["normal"])
    assert found.rows > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)
    assert found.overhead > 0.95 - 3 * math.sqrt(0.95 * 0.05 / found.simulations)
