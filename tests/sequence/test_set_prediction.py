"""Sets of classes and boxes against SciPy, counted pixels and all assignments there are."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import linear_sum_assignment

from jaxml import landscape, nn, sequence, training
from jaxml.core.types import Model
from jaxml.training import sampling

RANDOM = np.random.default_rng(0)
Q, M, CLASSES = 4, 3, 5


def boxes(*shape):
    centre, sides = RANDOM.uniform(0.2, 0.8, (*shape, 2)), RANDOM.uniform(0.05, 0.5, (*shape, 2))
    return np.concatenate([centre, sides], -1).astype(np.float32)


OUTPUTS: dict[str, Any] = {
    "classes": RANDOM.normal(size=(30, Q, CLASSES + 1)).astype(np.float32),
    "boxes": boxes(30, Q),
}
LENGTH = RANDOM.integers(0, M + 1, 30)
BATCH: dict[str, Any] = {
    "y": RANDOM.integers(0, CLASSES, (30, M)), "boxes": boxes(30, M), "y_length": LENGTH,
}  # fmt: skip
set_loss = jax.jit(sequence.set_loss, static_argnames=("no_object", "match"))


def in_order(costs):
    return jnp.arange(costs.shape[1])


@pytest.mark.parametrize("shape", [(6, 3), (4, 4)])
def test_matching_is_scipys(shape):
    """Real costs, and whole ones, of which several assignments are the least."""
    for costs in (RANDOM.normal(size=(200, *shape)), RANDOM.integers(0, 3, (200, *shape))):
        found = np.asarray(jax.jit(jax.vmap(sequence.hungarian))(costs))
        for one, rows in zip(costs, found, strict=True):
            assert len({*rows.tolist()}) == shape[1]
            least = one[linear_sum_assignment(one)].sum()
            assert one[rows, np.arange(shape[1])].sum() == pytest.approx(least, abs=1e-5)


def test_costs_that_are_no_numbers_end_too():
    costs = np.full((4, 3), np.nan)
    costs[0, 0] = np.inf
    assert sorted(sequence.hungarian(costs).tolist())[:2] != [0, 0]


def pixels(box):
    """The pixels of a box with whole corners, on 12 by 12."""
    (x, y), (w, h) = box[:2], box[2:]
    seen = np.zeros((12, 12), bool)
    seen[int(y - h / 2) : int(y + h / 2), int(x - w / 2) : int(x + w / 2)] = True
    return seen


def test_overlaps_are_counted_pixels():
    low = RANDOM.integers(0, 10, (2, 300, 2))
    high = np.minimum(low + RANDOM.integers(1, 9, (2, 300, 2)), 12)
    pairs = np.concatenate([(low + high) / 2, high - low], -1)
    found = [np.asarray(of(*pairs))
             for of in (sequence.intersection_over_union, sequence.generalized_iou)]  # fmt: skip
    apart = 0
    for i, (one, other) in enumerate(zip(*pairs, strict=True)):
        a, b = pixels(one), pixels(other)
        either = (a | b).sum()
        share = (a & b).sum() / either
        rows, columns = np.flatnonzero((a | b).any(1)), np.flatnonzero((a | b).any(0))
        around = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert found[0][i] == pytest.approx(share, abs=1e-6)
        assert found[1][i] == pytest.approx(share - (around - either) / around, abs=1e-6)
        apart += share == 0
    assert 30 < apart < 270


def known_loss(i, no_object=0.1):
    """By all assignments of the objects of image i."""
    logits, mine = (np.asarray(OUTPUTS[name][i], np.float64) for name in ("classes", "boxes"))
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    y, theirs = BATCH["y"][i][: LENGTH[i]], BATCH["boxes"][i][: LENGTH[i]].astype(np.float64)

    def apart(q, m):
        corners = [
            (of[:2] - of[2:] / 2, of[:2] + of[2:] / 2) for of in (mine[q], theirs[m])
        ]  # fmt: skip
        (low, high), (low_2, high_2) = corners
        shared = np.prod(np.maximum(np.minimum(high, high_2) - np.maximum(low, low_2), 0))
        either = np.prod(high - low) + np.prod(high_2 - low_2) - shared
        around = np.prod(np.maximum(high, high_2) - np.minimum(low, low_2))
        generalized = shared / either - (around - either) / around
        return 5 * abs(mine[q] - theirs[m]).sum() + 2 * (1 - generalized)

    def cost(chosen):
        return sum(apart(q, m) - np.exp(logs[q, y[m]]) for m, q in enumerate(chosen))

    chosen = min(itertools.permutations(range(Q), len(y)), key=cost)
    total = -no_object * sum(logs[q, -1] for q in range(Q) if q not in chosen)
    return total + sum(apart(q, m) - logs[q, y[m]] for m, q in enumerate(chosen))


@pytest.mark.slow
def test_the_loss_is_that_of_the_best_assignment():
    assert {*LENGTH.tolist()} == {0, 1, 2, 3}
    for no_object in (0.1, 1.0):
        found = set_loss(OUTPUTS, BATCH, no_object=no_object)
        known = [known_loss(i, no_object) for i in range(30)]
        np.testing.assert_allclose(found, known, rtol=1e-5)


@pytest.mark.slow
def test_layers_between_count_alike():
    """Each with matches of its own."""
    other = {name: values[:, [2, 0, 3, 1]] for name, values in OUTPUTS.items()}
    shift = np.random.default_rng(5).normal(size=(30, Q, CLASSES + 1))
    other = {**other, "classes": other["classes"] + shift}
    both = set_loss({**OUTPUTS, "between": [other, OUTPUTS]}, BATCH)
    known = 2 * set_loss(OUTPUTS, BATCH) + set_loss(other, BATCH)
    np.testing.assert_allclose(both, known, rtol=1e-5)


def test_no_order_counts():
    """Of the objects or of the predictions; a loss in a fixed order depends on both."""
    order = np.stack([
        np.append(RANDOM.permutation(n), np.arange(n, M)) for n in LENGTH
    ])[..., None]  # fmt: skip
    other = {
        "y": np.take_along_axis(BATCH["y"], order[..., 0], 1),
        "boxes": np.take_along_axis(BATCH["boxes"], order, 1),
        "y_length": LENGTH,
    }
    assert (other["y"] != BATCH["y"]).any()
    turned = {name: values[:, ::-1] for name, values in OUTPUTS.items()}
    first = set_loss(OUTPUTS, BATCH)
    np.testing.assert_allclose(set_loss(OUTPUTS, other), first, rtol=1e-5)
    np.testing.assert_allclose(set_loss(turned, BATCH), first, rtol=1e-5)
    fixed = set_loss(OUTPUTS, BATCH, match=in_order)
    assert (fixed > first - 1e-4).mean() > 0.9  # the best match is by probabilities, not by logs
    some = LENGTH > 0
    assert (abs(set_loss(turned, BATCH, match=in_order) - fixed)[some] > 1e-3).all()


@pytest.mark.slow
def test_what_is_not_there_does_not_count():
    hidden = np.arange(M) >= LENGTH[:, None]
    other = {**BATCH, "y": np.where(hidden, 0, BATCH["y"]),
             "boxes": np.where(hidden[..., None], 0, BATCH["boxes"])}  # fmt: skip
    np.testing.assert_array_equal(set_loss(OUTPUTS, other), set_loss(OUTPUTS, BATCH))
    nothing = {**OUTPUTS, "boxes": np.zeros_like(OUTPUTS["boxes"])}
    gradient = jax.grad(lambda o: set_loss(o, other).sum())(nothing)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def init(key, x=None):
    """A network that says the same of every image."""
    drawn = jax.random.normal(key, (Q, CLASSES + 5))
    return {"classes": drawn[:, 4:], "boxes": drawn[:, :4]}, {}


def apply(params, model_state, x, *, train=False, key: Any = None):
    sized = {**params, "boxes": jax.nn.sigmoid(params["boxes"])}
    return jax.tree.map(lambda leaf: leaf + 0 * x[:, :, None], sized), {}


SAME = Model(init, apply)
FULL = int(LENGTH.argmax())
ONE = {"x": np.zeros((8, 1)), **{n: np.repeat(v[FULL, None], 8, 0) for n, v in BATCH.items()}}


@pytest.mark.slow
def test_many_learn_one_set_and_landscape_looks_at_it(x64):
    rate = optax.cosine_decay_schedule(0.1, 300)
    algorithm = sequence.set_prediction(SAME, optax.adam(rate))
    run = training.fit_many(
        algorithm, ONE, sampling.full(), keys=jax.random.split(jax.random.key(0), 2), steps=300,
        chunk=300,
    )  # fmt: skip
    assert (run.history["loss"][:, -1] < 0.2).all()
    params = jax.tree.map(lambda leaf: leaf[0], run.state.params)
    found, _ = apply(params, {}, ONE["x"])
    assert sequence.metrics.share_found(found, ONE) == 1

    state = jax.tree.map(lambda leaf: leaf[0], run.state)
    loss = training.full_loss(algorithm, state, ONE)
    at, shaped = ravel_pytree(init(jax.random.key(1))[0])
    way = jax.random.normal(jax.random.key(2), at.shape)
    gradient = jax.jit(jax.grad(lambda flat: loss(shaped(flat))))
    known = (gradient(at + 1e-6 * way) - gradient(at - 1e-6 * way)) / 2e-6
    found = landscape.hessian(loss, shaped(at)) @ way
    assert abs(known).max() > 0.1
    np.testing.assert_allclose(found, known, atol=1e-6)


def test_objects_found_and_their_precision():
    """Three images by hand."""
    box, off = [0.5, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]
    sure = {0: [4, 0, 0.0], 1: [3, 0, 0.0], 2: [0, 2, 0.0], 3: [0, 0, 3.0], 4: [1, 0, 0.0]}
    outputs = {
        "classes": np.array([[sure[0], sure[1]], [sure[2], sure[3]], [sure[4], sure[3]]]),
        "boxes": np.array([[box, box], [box, box], [off, box]]),
    }
    batch = {
        "y": np.array([[0], [0], [0]]), "boxes": np.array([[box]] * 3), "y_length": np.ones(3, int)
    }  # fmt: skip
    # of class 0, from the surest on: right, again, does not fit, and twice right, though what is
    # likelier there is no object
    assert sequence.metrics.share_found(outputs, batch) == pytest.approx(1 / 3)
    known = (1 + 3 / 5 + 3 / 5) / 3
    assert sequence.metrics.average_precision(outputs, batch) == pytest.approx(known)


def test_average_precision_is_the_area_of_the_best_precisions():
    """One class and one prediction an image: by scikit-learn's precision and recall."""
    from sklearn.metrics import precision_recall_curve  # noqa: PLC0415 - slow to import

    logits = RANDOM.normal(size=(200, 1, 2))
    fits = RANDOM.random(200) < 0.6
    mine = np.where(fits[:, None, None], [[0.5, 0.5, 0.2, 0.2]], [[0.1, 0.1, 0.1, 0.1]])
    batch = {"y": np.zeros((200, 1), int), "boxes": np.full((200, 1, 4), [0.5, 0.5, 0.2, 0.2]),
             "y_length": np.ones(200, int)}  # fmt: skip
    found = sequence.metrics.average_precision({"classes": logits, "boxes": mine}, batch)
    sure = np.asarray(jax.nn.softmax(logits))[:, 0, 0]
    precision, recall, _ = precision_recall_curve(fits, sure)
    best = np.maximum.accumulate(precision[:-1])  # recall falls along it
    area = (best * -np.diff(recall)).sum() * fits.mean()  # all 200 are objects
    assert found == pytest.approx(area, rel=1e-6)


@pytest.mark.parametrize(
    ("outputs", "batch", "message"),
    [({}, {}, "a dict with classes, boxes, got none of classes, boxes"),
     (OUTPUTS, {"y": 0}, "none of boxes, y_length"),
     ({**OUTPUTS, "boxes": boxes(30, 3)}, BATCH, r"classes \(N, q, classes \+ 1\) and boxes"),
     (OUTPUTS, {**BATCH, "boxes": boxes(30, 2)}, r"y \(30, m\) and boxes"),
     (OUTPUTS, {**BATCH, "y": np.zeros((30, 5), int), "boxes": boxes(30, 5)},
      "at most as many objects as the 4 predictions, got 5"),
     ({**OUTPUTS, "between": [{"classes": 0}]}, BATCH, "classes, boxes, got none of boxes"),
     ({**OUTPUTS, "boxes": boxes(30, 4)[..., :3]}, BATCH, r"\(30, 4, 6\) and \(30, 4, 3\)")],
)  # fmt: skip
def test_bad_outputs(outputs, batch, message):
    with pytest.raises(ValueError, match=message):
        sequence.set_loss(outputs, batch)


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: sequence.set_prediction(SAME, optax.sgd(0.1), no_object=-1), "no_object .* got -1"),
     (lambda: sequence.set_prediction(SAME, optax.sgd(0.1), match="first"), "match as a function"),
     (lambda: sequence.set_prediction(nn.linear, optax.sgd(0.1)), "a jaxml Model"),
     (lambda: sequence.hungarian(np.zeros((2, 3))), "n of at least m, got"),
     (lambda: sequence.metrics.share_found(OUTPUTS, BATCH, overlap=0), r"overlap in \(0, 1\]"),
     (lambda: sequence.metrics.average_precision(OUTPUTS, {**BATCH, "y_length": 0 * LENGTH}),
      "at least one object")],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
