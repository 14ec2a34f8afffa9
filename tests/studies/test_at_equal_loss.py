"""Sharpness where the training loss is the same, throughput, branching, and what is found."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import data, nn, report, studies
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import _per_edge
from jaxml.training import losses, metrics


@pytest.fixture(scope="module")
def task():
    return studies.task(
        nn.mlp([64, 16, 10]), losses.softmax_cross_entropy, {"error": metrics.error}
    )


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def study(task, digits):
    lanes = studies.grid([8, 32, 128], [0.02, 0.1, 0.5], momenta=[0.0, 0.9], seeds=2)
    return studies.batch_size(
        task,
        digits.train,
        lanes,
        splits={"validation": digits.validation},
        target=studies.Target(0.12),
        epochs=15,
        microbatches=[8],
    )


@pytest.mark.slow
def test_findings_and_their_page(study, task, digits, tmp_path):
    speed = studies.throughput(task, digits.train, [8, 128], turns=2, seconds=0.01)
    assert [row.batch_size for row in speed] == [8, 128]
    assert all(row.update > 0 for row in speed)
    published = studies.PUBLISHED["mnist"]
    found = studies.findings(study, throughput=speed, published=published)
    assert set(found.hyperbola) == {("momentum", 0.0), ("momentum", 0.9)}
    assert set(found.noise) == {32, 128}  # at B = 8 a batch is one microbatch
    lanes = study.lanes.take(studies.best_lanes(study, found.table))
    assert len(lanes) == 3 * 2
    page = report.write(found, tmp_path / "report.html").read_text()
    assert "Updates and examples to the target" in page
    assert "Shallue 2018, a simple CNN" in page
    record = report.record(found)
    assert len(record["steps"]) == 6
    assert record["target"]["value"] == 0.12


@pytest.mark.slow
def test_sharpness_at_one_loss(task, digits):
    lanes = studies.grid([8, 64, 512], [0.03], seeds=2)
    found = studies.at_equal_loss(
        task, digits.train, lanes, splits={"validation": digits.validation}, loss=0.3, epochs=200
    )
    assert found.missed == 0
    assert len(found.minima) == 6
    losses_there = np.array([m.sharpness.loss for m in found.minima])
    measured = np.array([m.measured["train loss"] for m in found.minima])
    np.testing.assert_allclose(losses_there, measured, rtol=1e-4)  # the point that was kept
    assert (losses_there <= 0.3 + 1e-5).all()
    assert (losses_there > 0.2).all()
    first = found.minima[0]
    assert first.edge == pytest.approx(first.sharpness.largest_eigenvalue * 0.03 / 3.8)
    t, train, other = found.line
    assert train[np.argmin(abs(t))] == pytest.approx(losses_there[0], rel=1e-3)
    assert train.shape == other.shape == t.shape
    assert -1 <= found.rank <= 1
    assert 0 < found.p_value <= 1


@pytest.mark.slow
def test_a_quadratic_s_minima_by_hand():
    """½(xw − y)²: the Hessian is XᵀX/N everywhere, and the loss a parabola along every line."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, 2)).astype(np.float32), random.normal(size=16).astype(np.float32)

    def values(w, batch):
        return 0.5 * (batch["x"] @ w - batch["y"]) ** 2

    line = studies.Task(
        init=lambda key: (jnp.array([3.0, -3.0]), None),
        loss=lambda w, state, batch, key: (values(w, batch), state),
        measures=lambda w, state, batch: {"loss": values(w, batch)},
    )
    rows, held = {"x": x, "y": y}, {"x": x[:5] + 1, "y": y[:5]}
    lanes = studies.grid([4, 16], [0.2, 1e-6], optimizers=["sgd"], seeds=2)
    told = []
    found = studies.at_equal_loss(
        line, rows, lanes, splits={"held": held}, loss=1.0, points=9, steps=100,
        microbatches=[4], noise=False, on_lane=lambda *n: told.append(n),
    )  # fmt: skip
    assert (found.loss, found.missed) == (1.0, 4)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(m.batch_size, m.seed) for m in found.minima] == [(4, 0), (4, 1), (16, 0), (16, 1)]
    top = np.linalg.eigvalsh(x.T @ x / 16)[-1]
    for m in found.minima:
        w = found.study.params[m.lane]
        assert m.sharpness.largest_eigenvalue == pytest.approx(top, rel=1e-3)
        assert m.edge == pytest.approx(top * 0.2 / 2, rel=1e-3)
        assert m.updates == found.study.updates[m.lane]
        for name, some in {"train": rows, "held": held}.items():
            assert m.measured[f"{name} loss"] == pytest.approx(
                float(values(w, some).mean()), rel=1e-5
            )
        assert m.measured["train loss"] <= 1
    t, train, other = found.line
    np.testing.assert_allclose(t, np.linspace(-0.5, 1.5, 9))
    start, end = (found.study.params[found.minima[i].lane] for i in (0, 2))
    for losses_there, some in ((train, rows), (other, held)):
        expected = [values(start + at * (end - start), some).mean() for at in t]
        np.testing.assert_allclose(losses_there, expected, rtol=1e-4)
    # without another split there is no line, and a true answer ends it
    one = studies.at_equal_loss(
        line, rows, lanes, splits={}, loss=1.0, steps=100, microbatches=[4], noise=False,
        on_lane=lambda *n: True,
    )  # fmt: skip
    assert (len(one.minima), one.line) == (1, None)
    with pytest.raises(ValueError, match="splits beside `train`"):
        studies.at_equal_loss(line, rows, lanes, splits={"train": held}, loss=1.0, steps=1)


def test_what_an_optimizer_tolerates():
    """Edges of stability, λ_max·η: 2, 2(1 + β) and 2(1 + β)/(1 + 2β); none for Adam."""
    lanes = studies.grid([4], [0.3], optimizers=["sgd", "momentum", "nesterov", "adam"], seeds=1)
    edges = [2, 3.8, 3.8 / 2.8]
    shares = [_per_edge(lanes, i) for i in range(4)]
    np.testing.assert_allclose(shares[:3], 0.3 / np.array(edges))
    assert np.isnan(shares[3])


NAN = float("nan")


@pytest.mark.parametrize(
    ("rank", "p_value", "sharpness", "said"),
    [
        (
            0.8,
            0.01,
            [1.0, 2.0, 3.0],
            "λ_max rises with the batch size, rank correlation 0.80 (p = ",
        ),
        (-0.8, 0.01, [3.0, 2.0, 1.0], "λ_max falls with the batch size, rank correlation -0.80"),
        (0.8, 0.05, [1.0, 2.0, 3.0], "chance explains how λ_max goes with the batch size"),
        (0.0, 0.01, [1.0, 2.0, 1.0], "chance explains how λ_max goes with the batch size"),
        (NAN, NAN, [NAN, np.inf, NAN], "λ_max is finite in no lane"),
        (NAN, NAN, [2.0, 2.0, NAN], "λ_max is 2 in all lanes where it is finite"),
        (NAN, NAN, [2.0, 3.0, NAN], "λ_max 2 to 3; 2 batch sizes tell no rank correlation, 3 are"),
    ],
)
def test_how_sharpness_goes_with_the_batch_size(rank, p_value, sharpness, said):
    minima = [
        studies.Minimum(i, 8 * 2**i, 0, 1, types.SimpleNamespace(largest_eigenvalue=s), 1.0, {})
        for i, s in enumerate(sharpness)
    ]
    found = studies.EqualLoss(1.0, minima, 0, rank, p_value, None, None)
    assert found.ranked.startswith(said)


@pytest.mark.slow
def test_branching_finds_where_noise_stops_to_matter():
    """On a quadratic without noise larger batches only take fewer steps: they fall behind."""
    h = jnp.array([1.0, 0.3])

    def values(w, batch):
        return 0.5 * (h * (w - batch["x"]) ** 2).sum(-1)

    problem = studies.Task(
        init=lambda key: (jnp.ones(2), None),
        loss=lambda w, state, batch, key: (values(w, batch), state),
        measures=lambda w, state, batch: {"loss": values(w, batch)},
    )
    rows = {"x": np.random.default_rng(0).normal(size=(512, 2)).astype(np.float32) * 3}
    found, branches = studies.by_branching(
        problem, jnp.ones(2), None, rows,
        batch=4, factors=[1, 2, 4, 8, 16, 32, 64], optimizer="sgd", learning_rate=0.05,
        rule="linear", tolerance=0.02,
    )  # fmt: skip
    assert [b.batch_size for b in branches] == [4, 8, 16, 32, 64, 128, 256]
    assert found.identified
    behind = next(b for b in branches if b.batch_size > found.value)
    least = min(b.loss for b in branches if b.batch_size <= found.value)
    assert not behind.loss <= least + 0.02
    with pytest.raises(ValueError, match="factors that ascend from 1"):
        studies.by_branching(
            problem, jnp.ones(2), None, rows,
            batch=4, factors=[2, 4], optimizer="sgd", learning_rate=0.1,
        )  # fmt: skip
