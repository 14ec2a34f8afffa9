"""Bounds against simulation, folds, diagnoses of planted faults, pieces counted."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxml import data, nn, studies
from jaxml.studies.sweep.descents import plateau, ravine, saddle
from jaxml.studies.sweep.result import best_finite
from jaxml.training import losses, metrics


def thresholds(count=100, population=600, seed=0):
    """0/1 losses of decision stumps on two overlapping kinds, as the course's edge counts."""
    random = np.random.default_rng(seed)
    kind = random.random(population) < 0.5
    edges = random.normal(np.where(kind, 0.3, -0.3), 1.0)
    cuts = np.linspace(-3, 3, count)
    return (edges[None] > cuts[:, None]) != kind[None]


@pytest.mark.parametrize(("examples", "epsilon"), [(50, 0.2), (100, 0.15), (200, 0.15), (400, 0.1)])
def test_hoeffding_holds_in_simulation(examples, epsilon):
    found = studies.bad_samples(thresholds(), examples, epsilon)
    assert found.interval[0] <= found.value <= found.interval[1] <= max(found.bound, 0.01)
    assert found.bound == pytest.approx(min(1, 200 * np.exp(-2 * examples * epsilon**2)))


def test_one_hypothesis_against_the_binomial():
    """Exact: how often a mean of N coin flips is off by more than ε."""
    n, epsilon, p = 97, 0.1, 0.3  # no count lies on the edge
    loss = np.arange(1000)[None] < 1000 * p
    found = studies.bad_samples(loss, n, epsilon, samples=4000)
    counts = np.arange(n + 1)
    exact = stats.binom.pmf(counts, n, p)[abs(counts / n - p) > epsilon].sum()
    assert found.interval[0] <= exact <= found.interval[1]


def binomial_share(n, p, epsilon):
    """Exact, in whole numbers: P(|K/N − p| > ε)."""
    counts = np.arange(n + 1)
    off = [abs(Fraction(int(k), n) - Fraction(p)) > Fraction(epsilon) for k in counts]
    return stats.binom.pmf(counts, n, float(p))[off].sum()


@pytest.mark.parametrize(
    ("n", "p", "epsilon"), [(100, "0.3", "0.1"), (50, "0.5", "0.1"), (20, "0.4", "0.15")]
)
def test_a_mean_off_by_just_epsilon_is_not_bad(n, p, epsilon):
    """Counts on the edge: .0214 for more than ε at N = 100, where .0375 are at least ε off."""
    loss = np.arange(1000)[None] < 1000 * float(p)
    found = studies.bad_samples(loss, n, float(epsilon), samples=6000)
    exact = binomial_share(n, p, epsilon)
    assert abs(found.value - exact) < 4 * np.sqrt(exact / 6000)


@pytest.mark.parametrize(
    ("losses", "n", "epsilon"),
    [([0, 0.1, 0.2, 0.7], 6, 0.1), ([0, 1 / 3, 2 / 3, 1], 6, 1 / 6), ([0.25, 0.5], 8, 0.125 / 4)],
)
def test_fractions_are_compared_as_fractions(losses, n, epsilon):
    """Against all samples there are, in whole numbers."""
    whole = [Fraction(loss).limit_denominator(1000) for loss in losses]
    share = Fraction(epsilon).limit_denominator(1000)
    sums = {Fraction(0): 1}
    for _ in range(n):
        longer = {}
        for total, ways in sums.items():
            for loss in whole:
                longer[total + loss] = longer.get(total + loss, 0) + ways
        sums = longer
    mean = sum(whole) / len(whole)
    bad = sum(ways for total, ways in sums.items() if abs(total / n - mean) > share)
    exact = bad / len(whole) ** n
    found = studies.bad_samples(np.array([losses]), n, epsilon, samples=6000)
    assert abs(found.value - exact) < 4 * np.sqrt(exact * (1 - exact) / 6000)
    at_least = sum(ways for total, ways in sums.items() if abs(total / n - mean) >= share)
    assert at_least > 1.1 * bad  # so that the edge counts


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: studies.hoeffding_bound(0, 10, 0.1), "at least one hypothesis"),
        (lambda: studies.hoeffding_bound(1, 0, 0.1), r"expected examples"),
        (lambda: studies.hoeffding_bound(1, 10, 1.0), "epsilon in"),
        (lambda: studies.examples_needed(0, 0.1, 0.1), "at least one hypothesis"),
        (lambda: studies.examples_needed(1, 0.0, 0.1), "epsilon in"),
        (lambda: studies.examples_needed(1, 0.1, 1.0), "delta in"),
        (lambda: studies.bad_samples(np.ones(3), 2, 0.1), "losses in"),
        (lambda: studies.bad_samples(np.full((1, 3), 1.1), 2, 0.1), "losses in"),
        (lambda: studies.bad_samples(np.full((1, 3), -0.1), 2, 0.1), "losses in"),
        (lambda: studies.bad_samples(np.ones((1, 3)), 2, 0.1, samples=0), "expected samples"),
        (lambda: studies.best_of_many(np.ones((2, 3)), 3, [1]), "1 to 2 examples, got 3"),
        (lambda: studies.best_of_many(np.ones((2, 3)), 0, [1]), "1 to 2 examples, got 0"),
        (lambda: studies.best_of_many(np.ones((2, 3)), 1, [3]), "counts of 1 to the 2 models"),
        (lambda: studies.best_of_many(np.ones((2, 3)), 1, []), "counts of 1 to the 2 models"),
        (lambda: studies.best_of_many(np.ones((2, 3)), 1, [1], draws=0), "expected draws"),
        (lambda: studies.width_of(11, 64, 10, 1), "parameters for 1 layers of one unit"),
        (lambda: studies.width_of(100, 4, 2, 0), "expected depth"),
        (lambda: studies.linear_pieces(abs, 1.0, 1.0), "low below high"),
    ],
)
def test_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_best_of_two_by_hand():
    """One validation example of two: whichever it is, the private one is the other."""
    losses = np.array([[0.0, 1.0], [0.25, 0.5]])
    (one, both) = studies.best_of_many(losses, 1, [1, 2], draws=4000)
    assert (one.models, both.models) == (1, 2)
    # chosen on the first example: 0 in public, 1 in private; on the second: .5 and .25
    error = 4 * 0.5 / np.sqrt(4000)
    assert both.public == pytest.approx((0 + 0.5) / 2, abs=error)
    assert both.private == pytest.approx((1 + 0.25) / 2, abs=error)
    assert both.least == pytest.approx((0.5 + 0) / 2, abs=error)
    assert one.public == pytest.approx(losses.mean(), abs=error)
    assert one.private == one.least == pytest.approx(losses.mean(), abs=error)


def test_enough_examples_are_enough():
    """N ≥ log(2|H|/δ)/(2ε²): the bound is at most δ there, and above it one example before."""
    n = studies.examples_needed(100, 0.1, 0.05)
    assert studies.hoeffding_bound(100, n, 0.1) <= 0.05 < studies.hoeffding_bound(100, n - 1, 0.1)
    assert studies.bad_samples(thresholds(), n, 0.1).interval[1] <= 0.05


def test_the_best_of_many_random_models_is_luck():
    """Models that guess: the more are tried, the better the best looks, and only looks."""
    random = np.random.default_rng(0)
    guesses = random.random((1000, 5000)) < 0.5
    rows = studies.best_of_many(guesses, 50, [1, 10, 100, 1000], draws=100)
    public = [row.public for row in rows]
    assert public[0] == pytest.approx(0.5, abs=0.02)
    assert (np.diff(public) < -0.03).all()
    # the mean of the least of k binomials
    least = [stats.binom.ppf(1 / k, 50, 0.5) / 50 for k in (10, 100, 1000)]
    np.testing.assert_allclose(public[1:], least, atol=0.05)
    assert all(row.private == pytest.approx(0.5, abs=0.01) for row in rows)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def classifier(widths, **options):
    model = nn.mlp(widths, **options)
    return studies.task(model, losses.softmax_cross_entropy, {"error": metrics.error})


@pytest.mark.slow
def test_cross_validation_chooses_a_working_rate(digits):
    some = {k: v[:300] for k, v in digits.train.items()}
    lanes = studies.grid([25], [1e-4, 0.1], seeds=1)
    found = studies.cross_validate(classifier([64, 16, 10]), some, lanes, folds=5, epochs=15)
    assert found.scores.shape == (2, 5)
    assert found.best == 1
    assert found.mean == pytest.approx(found.scores[1].mean())
    assert found.mean < 0.25 < found.scores[0].mean()
    held = studies.batch_size(
        classifier([64, 16, 10]), some, lanes, splits={"test": digits.test}, epochs=15
    )
    assert abs(held.last("test error")[1] - found.mean) < 5 * found.error + 0.03


@pytest.fixture(scope="module")
def diverging():
    """A steep loss at rates that are far too large."""
    overflowing = studies.Task(
        init=lambda key: (jnp.ones(2), None),
        loss=lambda w, state, batch, key: (1e30 * (w**4).sum() + 0 * batch["y"], state),
        measures=lambda w, state, batch: {
            "loss": 1e30 * (w**4).sum() + 0 * batch["y"],
            "error": 0.5 + 0.0 * batch["y"],
        },
    )
    return (
        overflowing,
        {"y": np.arange(60.0)},
        studies.grid([20], [1e10, 1e12], optimizers=["sgd"], seeds=1),
    )


@pytest.mark.slow
def test_where_no_configuration_ends_finite_the_study_says_so(diverging):
    """The error that was measured is 50 % all the same."""
    task, rows, lanes = diverging
    message = "a configuration with a finite validation error in every fold, got none of 2"
    with pytest.raises(ValueError, match=message):
        studies.cross_validate(task, rows, lanes, folds=3, epochs=2)


@pytest.mark.slow
def test_where_a_network_diverges_at_all_rates(diverging):
    task, rows, lanes = diverging
    message = "a configuration with a finite train error"
    with pytest.raises(ValueError, match=message + ".*smaller learning rates"):
        studies.diagnose_networks(
            task, {}, rows, lanes, splits={"validation": rows}, acceptable=0.1, epochs=2
        )
    found = studies.depths(
        lambda widths: task, rows, rows, lanes,
        inputs=64, outputs=10, size=1000, depth=[1], epochs=2,
    )[0]  # fmt: skip
    assert np.isnan([found.learning_rate, found.validation_error, found.error]).all()
    assert found.train_loss == np.inf


@pytest.mark.parametrize("above", [False, True])
def test_the_best_is_among_the_finite(above):
    values = np.array([np.nan, 3.0, np.inf, 1.0, -np.inf, 2.0])
    assert best_finite(values, "error", above=above) == (1 if above else 3)


def trained(widths, rows, splits, rate=0.1, epochs=30, **options):
    lanes = studies.grid([20], [rate], optimizers=["momentum"], seeds=1)
    study = studies.batch_size(
        classifier(widths, **options), rows, lanes, splits={"train": rows, **splits}, epochs=epochs
    )
    return {
        name: studies.Score(float(study.last(f"{name} error")[0]), len(split["x"]))
        for name, split in {"train": rows, **splits}.items()
    }


@pytest.mark.slow
def test_planted_faults_are_named(digits):
    """Each fault made on real digits, and none where there is none."""
    full, held = digits.train, {"validation": digits.validation}
    sound = trained([64, 64, 10], full, held)
    found = studies.diagnose(**sound, acceptable=0.06, shallower=[sound["train"]])
    assert found.fault == "nothing wrong"
    assert found.remedies == ()

    # a net with one hidden unit cannot tell ten classes apart, nor can a smaller one
    narrow = trained([64, 1, 10], full, held)
    smaller = trained([64, 1, 10], full, held, rate=0.05)["train"]
    assert studies.diagnose(**narrow, acceptable=0.06, shallower=[smaller]).fault == "model bias"

    # twelve sigmoid layers: the gradient does not come through, where one layer trains
    deep = trained([64, *[64] * 12, 10], full, held, activation="sigmoid")
    shallow = trained([64, 64, 10], full, held, activation="sigmoid")["train"]
    found = studies.diagnose(**deep, acceptable=0.06, shallower=[shallow])
    assert found.fault == "optimisation"
    assert "a smaller network trains to" in str(found)

    few = {k: v[:40] for k, v in full.items()}
    over = trained([64, 64, 10], few, held, epochs=100)
    assert studies.diagnose(**over, acceptable=0.06).fault == "overfitting"

    # the test's images are negatives
    x = digits.test["x"]
    negative = {**digits.test, "x": x.max() - x}
    shifted = trained([64, 64, 10], full, {**held, "test": negative})
    assert studies.diagnose(**shifted, acceptable=0.06).fault == "mismatch"
    same = trained([64, 64, 10], full, {**held, "test": digits.test})
    assert studies.diagnose(**same, acceptable=0.06).fault == "nothing wrong"


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 8])
def test_k_layers_of_two_neurons_make_2_to_the_k_pieces(layers):
    model = nn.mlp([1, *[2] * layers, 1])
    params = studies.tents(layers)
    shapes = jax.tree.map(jnp.shape, model.init(jax.random.key(0))[0])
    assert jax.tree.map(jnp.shape, params) == shapes

    def function(x):
        return model.apply(params, {}, x[None, None])[0][0, 0]

    assert studies.linear_pieces(function) == 2**layers
    assert float(function(jnp.float32(2.0**-layers))) == pytest.approx(1, abs=1e-4)
    assert float(function(jnp.float32(0))) == 0


@pytest.mark.parametrize("width", [1, 3, 10])
def test_a_layer_of_n_neurons_makes_at_most_n_plus_one_pieces(width):
    params = nn.mlp([1, width, 1]).init(jax.random.key(1))[0]
    params["dense_0"]["bias"] = -params["dense_0"]["kernel"][0] * jnp.linspace(0.1, 0.9, width)

    def function(x):
        return nn.mlp([1, width, 1]).apply(params, {}, x[None, None])[0][0, 0]

    assert studies.linear_pieces(function) == width + 1


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_equal_parameters(depth):
    width = studies.width_of(5000, 64, 10, depth)
    params, _ = nn.mlp([64, *[width] * depth, 10]).init(jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    step = 64 + 10 + depth + 1 + 2 * width * (depth - 1)  # what one unit more in all layers adds
    assert abs(size - 5000) <= step


@pytest.mark.slow
def test_deep_against_wide(digits):
    lanes = studies.grid([50], [0.05, 0.2], seeds=2)
    found = studies.depths(
        classifier, digits.train, digits.validation, lanes,
        inputs=64, outputs=10, size=2410, depth=(1, 3), epochs=10,
    )  # fmt: skip
    assert [len(d.widths) for d in found] == [3, 5]
    assert all(abs(d.size - 2410) < 200 for d in found)
    assert all(d.validation_error < 0.3 for d in found)


@pytest.mark.slow
def test_optimizers_on_the_course_s_surfaces():
    at = studies.descents(*studies.SURFACES["saddle"], steps=300, rates=[0.05])
    assert at.losses[:, 0] == pytest.approx(float(saddle(jnp.array([-1.5, 1e-3]))))
    reached = dict(zip(at.names, at.reached, strict=True))
    assert reached["momentum"] < reached["sgd"]
    assert np.isfinite(reached["adam"])
    ravines = studies.descents(*studies.SURFACES["ravine"], steps=300, rates=[0.15])
    ends = dict(zip(ravines.names, ravines.losses[:, -1], strict=True))
    assert ends["adam"] < ends["sgd"]  # gradient descent crawls along
    for surface, name in ((ravine, "ravine"), (plateau, "plateau"), (saddle, "saddle")):
        assert studies.SURFACES[name][0] is surface


@pytest.mark.slow
def test_batch_norm_smooths_the_way():
    """Santurkar 2018: at a rate that a deep net bears badly, the gradient changes less with it."""
    some = {k: v[:500] for k, v in data.load("digits").train.items()}
    widths = [64, *[32] * 6, 10]
    options = {"batch_size": 100, "learning_rate": 0.5, "steps": 60, "every": 10}
    plain = studies.smoothness(classifier(widths, activation="tanh"), some, **options)
    normed = studies.smoothness(
        classifier(widths, activation="tanh", norm="batch"), some, **options
    )
    assert plain.updates.tolist() == list(range(0, 60, 10))
    assert np.median(normed.loss) < np.median(plain.loss)
    assert np.isfinite(normed.lipschitz).all()


def test_seeds_are_those_of_the_draws():
    losses = thresholds()
    for draw in (
        lambda seed: studies.bad_samples(losses, 50, 0.1, samples=200, seed=seed).value,
        lambda seed: studies.best_of_many(losses, 50, [10], draws=20, seed=seed)[0],
    ):
        assert draw(0) == draw(0) != draw(1)


@pytest.mark.slow
def test_the_seed_of_cross_validation_divides_the_rows():
    """A loss that is the row's own number: a fold's score is the mean of its rows."""
    x = np.arange(6.0, dtype=np.float32) ** 2
    task = studies.Task(
        init=lambda key: (jnp.ones(1), None),
        loss=lambda w, state, batch, key: (0 * w + batch["x"], state),
        measures=lambda w, state, batch: {"loss": 0 * w + batch["x"]},
    )
    lanes = studies.grid([4], [0.1], optimizers=["sgd"], seeds=1)
    options = {"folds": 3, "measure": "loss", "steps": 1, "noise": False}
    scores = studies.cross_validate(task, {"x": x}, lanes, seed=5, **options).scores
    order = np.random.default_rng(5).permutation(6).reshape(3, 2)
    np.testing.assert_allclose(scores[0], x[order].mean(1), rtol=1e-6)


def test_descents_with_another_momentum():
    """Heavy ball on ½(w₀² + 3w₁²), by hand."""
    curvature = np.array([1.0, 3.0])
    found = studies.descents(
        lambda w: 0.5 * (jnp.asarray(curvature) * w**2).sum(), [1.0, 1.0],
        optimizers=["momentum"], rates=[0.1], steps=4, momentum=0.5,
    )  # fmt: skip
    w, m, path = np.ones(2), np.zeros(2), [np.ones(2)]
    for _ in range(4):
        m = 0.5 * m + curvature * w
        w = w - 0.1 * m
        path.append(w)
    np.testing.assert_allclose(found.path[0], path, rtol=1e-5)
