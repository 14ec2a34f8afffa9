"""Critical batch sizes by hand: exact curves, dense grids, closed forms."""

import dataclasses
import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxml import studies
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import _rank

SIZES = np.array([8, 32, 128, 512, 2048])


def table(steps, *, judged=None, resamples=None, interior=True, hits=1.0, sizes=SIZES):
    """Rows of these steps, and whatever else is made up."""
    steps = np.asarray(steps, float)
    rows = [
        studies.Steps(
            int(b), "sgd", 0.1, 0.0, "constant", s, s, s, 0.95, 1.0, hits, 0.0, interior, ()
        )
        for b, s in zip(sizes, steps, strict=True)
    ]
    one = steps[:, None]
    judged = one if judged is None else judged
    return studies.StepsTable(rows, one if resamples is None else resamples, judged, judged, 0.95)


def test_the_fit_s_interval_is_where_the_profile_is_low():
    """By a dense grid of B_crit: squares of log residuals at most as F allows."""
    random = np.random.default_rng(0)
    steps = 120 * (1 + 300 / SIZES) * np.exp(0.1 * random.normal(size=5))
    fit = studies.fit_hyperbola(SIZES, steps, confidence=0.9)
    critical = np.geomspace(1, 1e5, 200_001)
    off = np.log(steps) - np.log(1 + critical[:, None] / SIZES)
    squares = off.var(1) * 5
    best = squares.argmin()
    inside = critical[squares <= squares[best] * (1 + stats.f.ppf(0.9, 1, 3) / 3)]
    assert fit.value == pytest.approx(critical[best], rel=1e-3)
    assert fit.interval == pytest.approx((inside[0], inside[-1]), rel=1e-3)
    assert fit.least_steps == pytest.approx(math.exp(off[best].mean()), rel=1e-3)
    assert fit.least_examples == pytest.approx(fit.value * fit.least_steps)
    reach = stats.t.ppf(0.95, 3) * math.sqrt(squares[best] / 3 / 5)
    ends = [math.exp(off[np.searchsorted(critical, c)].mean()) for c in (inside[-1], inside[0])]
    expected = ends[0] * math.exp(-reach), ends[1] * math.exp(reach)
    assert fit.least_steps_interval == pytest.approx(expected, rel=1e-3)
    assert fit.level == 0.9
    np.testing.assert_allclose(fit.steps([10.0]), fit.least_steps * (1 + fit.value / 10))


@pytest.mark.parametrize(
    ("steps", "flag"),
    [
        ([1e5, 25e3, math.inf, math.inf, math.inf], "3 of 5 batch sizes miss the target"),
        ([1e5, 25e3, math.inf, math.inf, math.inf], "2 batch sizes with steps, 3 are the least"),
        (1e6 / SIZES, "the steps do not bend within the batch sizes"),
        (10 * (1 + 2 / SIZES), "2 lies outside the batch sizes 8 to 2048"),
        (10 * (1 + 1e4 / SIZES), "1e+04 lies outside the batch sizes 8 to 2048"),
    ],
)
def test_what_does_not_identify_it_is_named(steps, flag):
    fit = studies.fit_hyperbola(SIZES, steps)
    assert flag in fit.flags
    assert not fit.identified
    assert np.isnan([fit.value, fit.least_steps, fit.least_examples]).all()


def test_a_minority_of_misses_is_left_out():
    steps = 10 * (1 + 100 / SIZES)
    steps[4] = np.inf
    fit = studies.fit_hyperbola(SIZES, steps)
    assert (fit.identified, round(fit.value), round(fit.least_steps)) == (True, 100, 10)
    with pytest.raises(ValueError, match="steps above 0"):
        studies.fit_hyperbola(SIZES, -steps)
    with pytest.raises(ValueError, match="batch sizes above 0"):
        studies.fit_hyperbola(SIZES - 8, steps)
    with pytest.raises(ValueError, match="as many steps as batch sizes"):
        studies.fit_hyperbola(SIZES[1:], steps)


def test_the_bootstrap_widens_the_fit():
    """Each resample an exact hyperbola, so that its B_crit and S_min are what was put in."""
    critical, least = np.linspace(150, 250, 41), np.linspace(40, 60, 41)
    resamples = least * (1 + critical / SIZES[:, None])
    resamples[:, 40] = np.nan  # one that judged nobody
    fit = studies.by_hyperbola(table(50 * (1 + 200 / SIZES), resamples=resamples), confidence=0.8)
    assert (fit.value, fit.least_steps) == (pytest.approx(200), pytest.approx(50))
    assert fit.interval == pytest.approx(tuple(np.percentile(critical[:40], [10, 90])))
    assert fit.least_steps_interval == pytest.approx(tuple(np.percentile(least[:40], [10, 90])))
    # where most resamples do not bend, the fit's own stands
    straight = np.where(np.arange(41) < 24, 1e6 / SIZES[:, None], resamples)
    again = studies.by_hyperbola(table(50 * (1 + 200 / SIZES), resamples=straight))
    assert again.interval == pytest.approx((200, 200), rel=1e-6)


def test_seeds_that_differ_in_all_rows_widen_the_least_steps():
    factors = np.array([0.8, 0.9, 1.0, 1.1, 1.3, 1.5, 1.7])
    steps = 50 * (1 + 200 / SIZES)
    judged = steps[:, None] * factors
    fit = studies.by_hyperbola(table(steps, judged=judged))
    # of seven numbers the interval of the median is from the least to the largest
    assert fit.least_steps_interval == pytest.approx((50 * 0.8 / 1.1, 50 * 1.7 / 1.1))


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"interior": False}, "edge of its grid at B = 8, 32, 128, 512, 2048"),
        ({"hits": 0.4}, "fewer than half the seeds hit at B = 8, 32, 128, 512, 2048"),
    ],
)
def test_rows_that_are_not_the_best_there_is_are_named(fields, flag):
    fit = studies.by_hyperbola(table(50 * (1 + 200 / SIZES), **fields))
    assert any(flag in found for found in fit.flags)
    assert np.isnan([fit.value, fit.least_steps, fit.least_examples]).all()
    some = table(50 * (1 + 200 / SIZES))
    rows = [row._replace(**fields) for row in some.rows[:2]] + some.rows[2:]
    assert studies.by_hyperbola(dataclasses.replace(some, rows=rows)).identified


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (
            [100, 11, 2],
            100 * 10 ** (1 / 9),
        ),  # examples 1000, 1100, 2000: 1200 is a ninth of the way
        ([100, 11, math.inf], 100),
        ([100, 12, 2], 100),
        ([100, 20, 10], 10 * 10**0.2),
    ],
)
def test_the_overhead_by_hand(steps, value):
    found = studies.by_overhead(table(steps, sizes=[10, 100, 1000]))
    assert found.value == pytest.approx(value)
    assert np.isnan(found.interval).all()  # one seed


@pytest.mark.parametrize(
    ("steps", "flag"),
    [
        ([math.inf, 11, 2], "the smallest batch misses the target"),
        ([100, 11, 1.1], "no batch needs 20% more examples than the smallest"),
    ],
)
def test_an_overhead_that_is_not_met_is_named(steps, flag):
    found = studies.by_overhead(table(steps, sizes=[10, 100, 1000]))
    assert found.flags == (flag,)
    assert math.isnan(found.value)


@pytest.mark.parametrize(("confidence", "rank"), [(0.95, 0), (0.85, 1)])
def test_the_overhead_s_interval_on_a_dense_grid(confidence, rank):
    """Of seven seeds an interval is from the least to the largest ratio, or one further in."""
    random = np.random.default_rng(1)
    sizes = np.array([10, 100, 1000, 10_000])
    steps = 100 * (1 + 200 / sizes)
    judged, chosen = (steps[:, None] * np.exp(0.1 * random.normal(size=(4, 7))) for _ in range(2))
    made = dataclasses.replace(table(steps, judged=judged, sizes=sizes), chosen=chosen)
    found = studies.by_overhead(made, 0.5, confidence=confidence)
    at = np.linspace(np.log(sizes[0]), np.log(sizes[-1]), 20_001)
    possible = np.zeros(len(at), bool)
    ends = []
    for some in (judged, chosen):
        ratio = sizes[:, None] * some / (sizes[0] * some[0])
        ends.append([np.interp(at, np.log(sizes), column) for column in ratio.T])
    ordered = np.sort(ends, axis=1)
    low, high = ordered[:, rank].min(0), ordered[:, -1 - rank].max(0)
    possible = np.exp(at[(low <= 1.5) & (high >= 1.5)])
    assert found.level == confidence
    # outwards to the next of 32 places between two batch sizes
    place = 10 ** (1 / 32)
    assert possible[0] / place * 0.999 <= found.interval[0] <= possible[0]
    assert possible[-1] <= found.interval[1] <= possible[-1] * place * 1.001


@pytest.mark.parametrize("overhead", [0.0, math.inf])
def test_overheads_out_of_range_are_refused(overhead):
    with pytest.raises(ValueError, match="an overhead above 0"):
        studies.by_overhead(table([100, 11, 2], sizes=[10, 100, 1000]), overhead)


def quiet(h, count=64):
    """½Σh·w² without noise."""

    def values(w, batch):
        return 0.5 * (h * w**2).sum() + 0 * batch["x"]

    task = studies.Task(
        init=lambda key: (jnp.full(len(h), 9.0), None),
        loss=lambda w, state, batch, key: (values(w, batch), state),
        measures=lambda w, state, batch: {"loss": values(w, batch)},
    )
    return task, {"x": np.zeros(count, np.float32)}


@pytest.mark.parametrize(("rule", "power"), [("sqrt", 0.5), ("linear", 1.0), ("none", 0.0)])
def test_branches_are_descent_by_hand(rule, power):
    """k·B, k^p·η and 1/k of the updates, from the checkpoint."""
    h = np.array([1.0, 0.3], np.float32)
    task, rows = quiet(h)
    factors = np.array([1, 2, 4, 8, 16])
    found, branches = studies.by_branching(
        task, jnp.ones(2), None, rows,
        batch=4, factors=factors, optimizer="sgd", learning_rate=0.05, rule=rule,
        epochs=2, tolerance=0.05, seeds=2, microbatches=[4],
    )  # fmt: skip
    ends = [(1 - 0.05 * k**power * h) ** (32 / k) for k in factors]
    losses = np.array([0.5 * (h * w**2).sum() for w in ends])
    assert [b.batch_size for b in branches] == [4, 8, 16, 32, 64]
    np.testing.assert_allclose([b.loss for b in branches], losses, rtol=1e-5)
    np.testing.assert_allclose([b.error for b in branches], 0, atol=1e-7)
    behind = [k for k in range(1, 5) if losses[k] > losses[:k].min() + 0.05]
    if not behind:
        assert found.flags == ("no branch falls behind, up to 64",)
    elif behind[0] == 1:
        assert found.flags == ("already 8 falls behind",)
    else:
        assert found.interval == (4 * factors[behind[0] - 1], 4 * factors[behind[0]])
        assert found.value == found.interval[0]
    # how many fall behind, by rule
    assert len(behind) == {"sqrt": 3, "linear": 0, "none": 4}[rule]


def test_a_first_branch_that_falls_behind_tells_no_size():
    task, rows = quiet(np.ones(1, np.float32))
    found, branches = studies.by_branching(
        task, jnp.ones(1), None, rows, batch=4, factors=[1, 2], optimizer="sgd",
        learning_rate=0.05, rule="none", tolerance=0.0, seeds=1, microbatches=[4],
    )  # fmt: skip
    assert branches[0].loss < branches[1].loss
    assert np.isnan([branches[0].error, found.value, *found.interval]).all()
    assert found.flags == ("already 8 falls behind",)


@pytest.mark.slow
def test_branches_that_differ_have_an_error():
    """Noise by the order of the examples: the standard error of the mean of the seeds' losses."""
    x = np.random.default_rng(0).normal(size=(16, 1)).astype(np.float32)
    task = studies.Task(
        init=lambda key: (jnp.ones(1), None),
        loss=lambda w, state, batch, key: (0.5 * (w - batch["x"])[:, 0] ** 2, state),
        measures=lambda w, state, batch: {"loss": 0.5 * (w - batch["x"])[:, 0] ** 2},
    )
    options = {
        "batch": 2, "factors": [1, 2], "optimizer": "sgd", "learning_rate": 0.3,
        "epochs": 0.5, "microbatches": [2],
    }  # fmt: skip
    held = {"x": x[:3] + 1}
    start = task, jnp.ones(1), None, {"x": x}
    _, many = studies.by_branching(*start, **options, seeds=3, measured=held)
    lanes = studies.grid([2], [0.3], optimizers=["sgd"], seeds=3)
    study = studies.batch_size(
        task, {"x": x}, lanes, splits={"train": held}, epochs=0.5, resolution=1.0, microbatches=[2]
    )
    assert many[0].loss == pytest.approx(study.last("train loss").mean(), rel=1e-5)
    assert many[0].error == pytest.approx(stats.sem(study.last("train loss")), rel=1e-4)
    heavy = options | {"optimizer": "momentum", "momentum": 0.0, "seeds": 3, "measured": held}
    assert studies.by_branching(*start, **heavy)[1][0].loss == pytest.approx(many[0].loss)
    with pytest.raises(ValueError, match="a rule among sqrt, linear, none"):
        studies.by_branching(*start, **options, rule="cube")


class Sharp:
    def __init__(self, value):
        self.largest_eigenvalue = value


def minimum(size, seed, value):
    return studies.Minimum(0, size, seed, 1, Sharp(value), 1.0, {})


def test_a_rank_correlation_and_its_chance():
    """Against all shuffles within the seeds: 36."""
    values = {0: [1.0, 3.0, 2.0], 1: [1.5, 2.5, 4.0]}
    minima = [
        minimum(b, s, v) for s in (0, 1) for b, v in zip([8, 32, 128], values[s], strict=True)
    ]
    sizes = [m.batch_size for m in minima]
    found, p_value = _rank([*minima, minimum(512, 0, math.nan)])
    exact = stats.spearmanr(sizes, values[0] + values[1]).statistic
    assert found == pytest.approx(exact)
    reached = [
        abs(stats.spearmanr(sizes, [*a, *b]).statistic) >= exact - 1e-12
        for a in itertools.permutations(values[0])
        for b in itertools.permutations(values[1])
    ]
    share = np.mean(reached)
    assert abs(p_value - share) < 4 * math.sqrt(share * (1 - share) / 2000)
    assert np.isnan(_rank(minima[:2])).all()
    assert np.isnan(_rank([minimum(b, 0, 1.0) for b in (1, 2, 3)])).all()
