"""What is reported of studies whose measurements are made up: every number by hand."""

import math
from dataclasses import is_dataclass

import numpy as np
import pytest
from scipy import stats

from jaxml import staircase, studies
from jaxml.studies.topics import chapters, depth, generalization


def made_up(lanes, final, *, exits=None, updates=None, **fields):
    """A study that measured each lane once; `final` is name -> one value a lane."""
    count = len(lanes)
    updates = np.full(count, 10) if updates is None else np.asarray(updates)
    return studies.Study(
        **{
            "lanes": lanes,
            "target": studies.Target(0.1),
            "microbatch": np.full(count, 4),
            "budget": updates,
            "exits": np.array(exits or ["budget"] * count, dtype="U10"),
            "updates": updates,
            "records": {"lane": np.arange(count), "updates": updates}
            | {name: np.asarray(values, float) for name, values in final.items()},
            "params": None,
            "examples": 1000,
            "size": 77,
            "seconds": {},
            "programs": {},
        }
        | fields
    )


@pytest.mark.parametrize("package", [studies, staircase])
def test_results_are_values(package):
    """Nobody changes one that another holds."""
    kinds = [k for k in vars(package).values() if isinstance(k, type) and is_dataclass(k)]
    assert len(kinds) > 4
    assert all(kind.__dataclass_params__.frozen for kind in kinds)


def test_the_table_s_columns():
    lanes = studies.grid([8, 40], [0.1], seeds=1)
    study = made_up(lanes, {"train loss": [0.5, 0.25]}, exits=["target", "budget"], updates=[30, 5])
    table = study.table()
    assert table["epochs"].tolist() == [30 * 8 / 1000, 5 * 40 / 1000]
    assert table["steps_to_target"].tolist() == [30, math.inf]
    assert table["train_loss"].tolist() == [0.5, 0.25]
    assert table["microbatch"].tolist() == [4, 4]


def test_depths_take_the_rate_of_the_lowest_loss(monkeypatch):
    """The lowest mean over seeds among rates at which no seed diverged."""
    lanes = studies.grid([8], [0.1, 0.2, 0.4], seeds=3)
    losses = [3.0, 1.0, 2.0, 1.0, 1.0, 0.4, 0.1, 0.1, 0.1]
    errors = [0.5, 0.5, 0.5, 0.3, 0.1, 0.2, 0.0, 0.0, 0.0]
    asked = []

    def batch_size(task, data, lanes, *, splits, **options):
        asked.append((task, data, splits, options))
        exits = ["budget"] * 8 + ["not finite"]
        return made_up(lanes, {"train loss": losses, "validation error": errors}, exits=exits)

    monkeypatch.setattr(depth, "batch_size", batch_size)
    one, two = studies.depths(
        lambda widths: ("task", widths), "rows", "held", lanes,
        inputs=64, outputs=10, size=2410, depth=(1, 4), epochs=7, rows=3,
    )  # fmt: skip
    assert (one.widths, two.widths) == ((64, 32, 10), (64, 18, 18, 18, 18, 10))
    assert [task for task, *_ in asked] == [("task", one.widths), ("task", two.widths)]
    splits = {"train": "rows", "validation": "held"}
    assert asked[0][1:] == ("rows", splits, {"epochs": 7, "rows": 3})
    assert (one.size, one.learning_rate, one.seeds) == (77, 0.2, 3)
    assert one.train_loss == pytest.approx(2.4 / 3)
    assert one.validation_error == pytest.approx(0.2)
    assert one.error == pytest.approx(0.1 / math.sqrt(3))


def test_one_seed_tells_no_spread_of_a_depth(monkeypatch):
    lanes = studies.grid([8], [0.1, 0.2], seeds=1)
    final = {"train loss": [1.0, 2.0], "validation recall": [0.5, 0.7]}
    monkeypatch.setattr(depth, "batch_size", lambda *_, **__: made_up(lanes, final))
    (one,) = studies.depths(
        lambda widths: None, None, None, lanes,
        inputs=4, outputs=2, size=60, depth=(2,), epochs=1, measure="recall",
    )  # fmt: skip
    assert (one.learning_rate, one.train_loss, one.validation_error) == (0.1, 1.0, 0.5)
    assert math.isnan(one.error)


def test_depths_take_the_rate_that_validates_best(monkeypatch):
    """The test is measured too, and chooses nothing."""
    lanes = studies.grid([8], [0.1, 0.2], seeds=2)
    final = {
        "train loss": [1.0, 1.0, 0.1, 0.1], "validation error": [0.2, 0.4, 0.5, 0.3],
        "test error": [0.9, 0.9, 0.0, 0.0],
    }  # fmt: skip
    asked = []

    def batch_size(task, data, lanes, *, splits, **options):
        asked.append(splits)
        return made_up(lanes, final)

    monkeypatch.setattr(depth, "batch_size", batch_size)
    options = {"inputs": 4, "outputs": 2, "size": 60, "depth": (2,), "epochs": 1}
    rows = (lambda widths: None, "rows", "held", lanes)
    (one,) = studies.depths(*rows, **options, by="validation error", test="last")
    assert asked == [{"train": "rows", "validation": "held", "test": "last"}]
    assert (one.learning_rate, one.train_loss) == (0.1, 1.0)
    assert one.validation_error == pytest.approx(0.3)
    assert studies.depths(*rows, **options)[0].learning_rate == 0.2
    with pytest.raises(ValueError, match="rates chosen on training or validation, got test error"):
        studies.depths(*rows, **options, by="test error", test="last")
    with pytest.raises(ValueError, match=r"a choice by one of train loss, .*, got validation los"):
        studies.depths(*rows, **options, by="validation los")


@pytest.mark.parametrize(("above", "best"), [(False, 1), (True, 0)])
def test_folds_part_the_rows(monkeypatch, above, best):
    """Each row but the remainder is left out once, and what is left out is not trained on."""
    lanes = studies.grid([2], [0.1, 0.2, 0.4], seeds=1)
    rows = {"x": np.arange(23.0), "y": -np.arange(23)}
    seen = []

    def batch_size(task, data, lanes, *, splits, **options):
        (left_out,) = splits.values()
        assert list(splits) == ["validation"]
        assert options == {"epochs": 3}
        np.testing.assert_array_equal(data["x"], -data["y"])
        assert set(data["x"]).isdisjoint(left_out["x"])
        assert (len(data["x"]), len(left_out["x"])) == (16, 4)
        seen.append(left_out["x"])
        k = len(seen)
        values = [[0.9 + 0.01 * k, 0.2 + 0.01 * k * k, 0.0]]
        exits = ["budget", "budget", "not finite" if k == 5 else "budget"]
        return made_up(lanes, {"validation recall": values[0]}, exits=exits)

    monkeypatch.setattr(generalization, "batch_size", batch_size)
    found = studies.cross_validate(
        None, rows, lanes, folds=5, measure="recall", above=above, epochs=3
    )
    assert len({*np.concatenate(seen)}) == 20
    assert not np.array_equal(np.sort(np.concatenate(seen)), np.concatenate(seen))
    k = np.arange(1, 6)
    scores = np.array([0.9 + 0.01 * k, 0.2 + 0.01 * k**2])
    np.testing.assert_allclose(found.scores[:2], scores)
    assert np.isnan(found.scores[2, 4])
    assert found.best == best
    assert found.mean == pytest.approx(scores[best].mean())
    assert found.error == pytest.approx(stats.sem(scores[best]))


def test_networks_are_judged_at_their_lowest_training_error(monkeypatch):
    lanes = studies.grid([8], [0.1, 0.2, 0.4], seeds=1)
    rows, held, test = ({"x": np.zeros(n)} for n in (1000, 500, 250))
    finals = {
        "large": {
            "train error": [0.3, 0.25, 0.2],
            "validation error": [0.5, 0.4, 0.3],
            "test error": [0.6, 0.45, 0.4],
        },
        "small": {"train error": [0.1, 0.05, 0.07]},
    }
    asked = []

    def batch_size(task, data, lanes, *, splits, **options):
        asked.append((data, splits, options))
        return made_up(lanes, finals[task], exits=["budget", "budget", "not finite"])

    monkeypatch.setattr(chapters, "batch_size", batch_size)
    found = studies.diagnose_networks(
        "large", {"one layer": "small"}, rows, lanes,
        splits={"validation": held, "test": test}, acceptable=0.1, epochs=4,
    )  # fmt: skip
    assert asked == [
        (rows, {"train": rows, "validation": held, "test": test}, {"epochs": 4}),
        (rows, {"train": rows}, {"epochs": 4}),
    ]
    assert found.best == 1  # the third diverged
    assert found.scores == {"train": (0.25, 1000), "validation": (0.4, 500), "test": (0.45, 250)}
    assert found.smaller == {"one layer": (0.05, 1000)}
    assert found.diagnosis.fault == "optimisation"
    assert found.diagnosis.because[1] == "a smaller network trains to 0.05"


def many_measurements(random, lanes, points=12):
    """Norms of gradients as a study adds them up, made up."""
    count = len(lanes) * points
    return {
        "lane": np.tile(np.arange(len(lanes)), points),
        "updates": np.repeat(10 * np.arange(1, points + 1), len(lanes)),
        "running": np.repeat(np.linspace(2, 1, points), len(lanes)) + 0.01 * random.random(count),
        "small": 5 + random.random(count),
        "large": 2 + 0.1 * random.random(count),
        "batches": random.integers(3, 9, count).astype(float),
    }


def fieller(trace, gradient, covariance):
    """Where (trace − r·gradient)² = z²·var(trace − r·gradient)."""
    z, ((tt, tg), (_, gg)) = stats.norm.ppf(0.975), covariance
    return np.sort(
        np.roots(
            [
                gradient**2 - z**2 * gg,
                2 * (z**2 * tg - trace * gradient),
                trace**2 - z**2 * tt,
            ]
        ).real
    )


@pytest.mark.parametrize("of", ["dataset", "population"])
def test_noise_scales_along_training_by_their_formula(of):
    lanes = studies.grid([32], [0.1], seeds=2)
    records = many_measurements(np.random.default_rng(0), lanes)
    records["small"][3] = np.nan  # a lane that diverged
    study = made_up(lanes, {}, records=records)
    found = studies.noise_scale_of(study, [0, 1], of=of, parts=2)
    assert len(found) == 2
    good = np.isfinite(records["small"])
    done = np.cumsum(np.where(good, records["batches"], 0))
    for part, (loss, scale) in enumerate(found):
        own = good & ((done <= done[-1] / 2) == (part == 0))
        w = records["batches"][own] / records["batches"][own].sum()
        small, large = records["small"][own], records["large"][own]
        n = own.sum()
        both = np.stack([small - w @ small, large - w @ large])
        moments = n / (n - 1) * np.einsum("in,jn,n->ij", both, both, w**2)
        trace = (w @ small - w @ large) / (1 / 4 - 1 / 32)
        gradient = (32 * (w @ large) - 4 * (w @ small)) / (32 - 4)
        linear = np.array([[1, -1], [-4 / 28, 32 / 28]]) / np.array([[7 / 32], [1]])
        if of == "dataset":
            gradient += trace / 1000
            linear[1] += linear[0] / 1000
        assert scale.of == of
        assert loss == pytest.approx(w @ records["running"][own])
        assert scale.trace == pytest.approx(trace)
        assert scale.gradient == pytest.approx(gradient)
        assert scale.simple == pytest.approx(trace / gradient)
        ends = fieller(trace, gradient, linear @ moments @ linear.T)
        assert scale.interval == pytest.approx(tuple(ends))


def test_noise_scales_of_lanes_that_have_none():
    lanes = studies.grid([32], [0.1], seeds=2) + studies.grid([4], [0.1], seeds=1)
    records = many_measurements(np.random.default_rng(0), lanes)
    study = made_up(lanes, {}, records=records)
    with pytest.raises(ValueError, match="lanes of one batch size"):
        studies.noise_scale_of(study, [0, 2])
    with pytest.raises(ValueError, match="batches of more than one microbatch, got B = m = 4"):
        studies.noise_scale_of(study, [2])
    # three measurements are the least for a part
    few = {name: values[:9] for name, values in records.items()} | {"batches": np.full(9, 5.0)}
    study = made_up(lanes, {}, records=few)
    counts = [len(studies.noise_scale_of(study, [0, 1], parts=parts)) for parts in (1, 2, 3)]
    assert counts == [1, 2, 0]


def test_findings_are_of_the_best_lanes():
    """Two optimisers, two momenta, rates and seeds; one batch size is one microbatch."""
    lanes = studies.grid(
        [4, 32], [0.1, 0.2, 0.4], optimizers=["sgd", "momentum"], momenta=[0.5, 0.9], seeds=2
    )
    best = {4: ("momentum", 0.5, 0.2), 32: ("sgd", 0.0, 0.4)}
    updates = np.array(
        [
            40 if (str(o), m, r) == best[b] else 100
            for b, o, m, r in zip(
                lanes.batch_size.tolist(), lanes.optimizer, lanes.momentum, lanes.learning_rate,
                strict=True,
            )
        ]
    )  # fmt: skip
    records = many_measurements(np.random.default_rng(0), lanes)
    study = made_up(lanes, {}, exits=["target"] * len(lanes), updates=updates, records=records)
    found = studies.findings(study)
    groups = {("momentum", 0.5), ("momentum", 0.9), ("sgd", 0.0)}
    assert set(found.hyperbola) == set(found.overhead) == groups
    assert len(found.table.rows) == 6
    chosen = studies.best_lanes(study, found.table)
    assert [int(updates[i]) for i in chosen] == [40] * 4
    own = [best[int(lanes.batch_size[i])] for i in chosen]
    assert [
        (str(lanes.optimizer[i]), lanes.momentum[i], lanes.learning_rate[i]) for i in chosen
    ] == own
    assert list(found.noise) == [32]  # at B = 4 a batch is one microbatch
    assert found.noise[32] == studies.noise_scale_of(study, chosen[lanes.batch_size[chosen] == 32])
    # what else is known stands beside
    given = {"throughput": ["an update"], "descents": {"ravine": None}, "published": "a curve"}
    beside = studies.findings(study, **given)
    assert {name: getattr(beside, name) for name in given} == given
    assert (found.throughput, found.descents, found.published) == ((), {}, None)
    # a batch size that no lane trained at to the target has no best lanes
    missed = np.where(lanes.batch_size == 32, "budget", "target")
    lost = made_up(lanes, {}, exits=missed.tolist(), updates=updates, records=records)
    assert set(lanes.batch_size[studies.best_lanes(lost, studies.findings(lost).table)]) == {4}
