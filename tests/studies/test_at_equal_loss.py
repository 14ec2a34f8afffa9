"""Sharpness where the training loss is the same, throughput, branching, and what is found."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import data, nn, report, studies
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
