"""What is unlike the data: scores of it, and how well a score tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import Objective, weighted_mean
from jaxml.core.types import Algorithm, Batch, Model, TrainState
from jaxml.training.supervised_learning import inputs_of, number_of
from jaxml.training.updates import start, update


class Detection(NamedTuple):
    """How well scores tell anomalies from what is normal. Shares from 0 to 1.

    Attributes:
        auroc: the area under the ROC curve: how often an anomaly has the larger score of the two,
            ties counting one half.
        average_precision: the mean precision over the recalls; of scores that tell nothing it is
            the share of anomalies.
        false_positive_rate: along the ROC curve, `(points,)`.
        true_positive_rate: likewise.
        precision: along the curve of precision and recall.
        recall: likewise, falling.
    """

    auroc: float
    average_precision: float
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def detection(scores: Any, anomalous: Any) -> Detection:
    """How well scores tell anomalies, by scikit-learn.

    Args:
        scores: `(n,)`, larger for what is less normal.
        anomalous: `(n,)`, 1 or true for an anomaly, else 0.

    Raises:
        ValueError: if they are not as described, or all of one kind: there is no curve then.

    >>> detection([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).auroc
    0.75
    """
    from sklearn import metrics  # noqa: PLC0415 - slow to import, used here alone

    scores, anomalous = np.asarray(scores, float), np.asarray(anomalous)
    alike = scores.ndim == 1 and scores.shape == anomalous.shape
    require(alike, "scores and labels (n,)", f"shapes {scores.shape} and {anomalous.shape}")
    require(bool(np.isfinite(scores).all()), "finite scores", "others")
    kinds = np.unique(anomalous)
    require(np.isin(kinds, (0, 1)).all(), "labels 0 and 1", kinds[:5].tolist())
    count = int(anomalous.sum())
    require(
        0 < count < len(scores),
        "labels of both kinds, normal and anomalous",
        f"{len(scores) - count} and {count}",
    )
    false, true, _ = metrics.roc_curve(anomalous, scores)
    precision, recall, _ = metrics.precision_recall_curve(anomalous, scores)
    return Detection(
        float(metrics.roc_auc_score(anomalous, scores)),
        float(metrics.average_precision_score(anomalous, scores)),
        false,
        true,
        precision,
        recall,
    )


def principal_error(normal: Any, components: int) -> Callable[[Any], np.ndarray]:
    """How far from the principal components of normal data others are.

    Args:
        normal: data `(n, ...)`, all of it normal.
        components: how many are kept; fewer than the rows and the numbers of one.

    Returns:
        `x -> (m,)`, the squared distance of each row of x from the affine space of the components.

    Raises:
        ValueError: if an argument is not as described, or x is of another size.

    Reference:
        Jackson and Mudholkar (1979), "Control procedures for residuals associated with principal
        component analysis", Technometrics 21:341-349.

    >>> score = principal_error([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], 1)
    >>> score([[5.0, 5.0], [0.0, 2.0]]).round(6).tolist()
    [0.0, 2.0]
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import

    rows = _flat(normal)
    kept = require_positive_int("components", components)
    fewer = min(rows.shape)
    require(kept < fewer, f"fewer components than {fewer}", kept)
    pca: Any = PCA(kept, svd_solver="full" if fewer < 500 else "covariance_eigh").fit(rows)

    def score(x: Any) -> np.ndarray:
        x = _flat(x)
        size = rows.shape[1]
        require(x.shape[1] == size, f"rows of {size} numbers", x.shape[1])
        return ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum(1)

    return score


@flax.struct.dataclass
class SVDDState:
    """What the training of a Deep SVDD carries from step to step.

    Attributes:
        step: how many updates.
        params: the network's.
        model_state: likewise.
        opt_state: the optimiser's.
        center: c, `(outputs,)`; zeros before the first step; a free one is the last batch's.
    """

    step: Any
    params: Any
    model_state: Any
    opt_state: Any
    center: Any


def deep_svdd(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    outputs: int,
    free_center: bool = False,
    inputs: Callable[[Batch], Any] | None = None,
    l2: Any = 0.0,
) -> Algorithm:
    """Learn to map normal data near one point c.

    c is the mean of the outputs on the first batch, before any update, and stays; where that is
    within 0.1 of 0 it is 0.1 or −0.1. The network should have no biases: with one at its end it
    can put out c whatever it is given.

    Args:
        model: data -> `(batch, outputs)`.
        optimizer: of its parameters.
        outputs: how many numbers it puts out.
        free_center: whether c moves with the outputs, as the mean of each batch's; the network can
            then map everything to one point, and does.
        inputs: what it is given of a batch; `batch["x"]` by default.
        l2: λ in (λ/2)‖θ‖².

    Returns:
        An algorithm on batches of normal data. Its state is an `SVDDState`; its metrics are `loss`,
        `gradient_norm` and `distance`, the mean squared distance from c.

    Raises:
        ValueError: if an argument is not as described; by the first step, if the network's outputs
            are others.

    Reference:
        Ruff et al. (2018), "Deep one-class classification", equation 4, propositions 1 to 3 for the
        collapse; c of the first batch, where they take all data.

    >>> from jaxml import nn
    >>> model = nn.mlp([4, 8, 2], bias=False)
    >>> algorithm = deep_svdd(model, optax.adam(1e-3), outputs=2)
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, metrics = algorithm.step(state, {"x": jnp.ones((8, 4))}, jax.random.key(1))
    >>> svdd_scores(model, state, jnp.ones((3, 4))).shape
    (3,)
    """
    require(isinstance(model, Model), "model as a Model", type(model).__name__)
    require(hasattr(optimizer, "update"), "an optax optimizer", repr(optimizer))
    width = require_positive_int("outputs", outputs)
    of_batch = inputs_of(inputs)

    def predict(params, state, batch, **mode):
        return model.apply(params, state.model_state, of_batch(batch), **mode)[0] - state.center

    objective = Objective(predict, _squares, number_of("l2", l2))

    def in_training(params, state, batch, key):
        found, model_state = model.apply(
            params, state.model_state, of_batch(batch), train=True, key=key
        )
        fits = found.ndim == 2 and found.shape[1] == width
        require(fits, f"a network of {width} outputs", f"shape {found.shape}")
        first = jax.lax.stop_gradient(found.mean(0))
        first = jnp.where(abs(first) < 0.1, jnp.copysign(0.1, first), first)
        center = jnp.where(state.step == 0, first, state.center)
        center = found.mean(0) if free_center else center
        distance = weighted_mean(_squares(found - center, batch), batch)
        return objective.penalized(distance, params), (distance, model_state, center)

    def init(key):
        state = start(model, optimizer, key)
        center = jnp.zeros(width, jnp.result_type(*jax.tree.leaves(state.params)))
        return SVDDState(state.step, state.params, state.model_state, state.opt_state, center)

    def step(state: SVDDState, batch: Batch, key: jax.Array):
        of = jax.value_and_grad(in_training, has_aux=True)(state.params, state, batch, key)
        (loss, (distance, model_state, center)), gradient = of
        network = TrainState(state.step, state.params, state.model_state, state.opt_state)
        moved = update(optimizer, network, gradient, model_state=model_state)
        norm = optax.tree.norm(gradient)
        record = {"loss": loss, "gradient_norm": norm, "distance": distance}
        new = SVDDState(moved.step, moved.params, moved.model_state, moved.opt_state, center)
        return new, record

    return Algorithm(init, step, objective)


def svdd_scores(model: Model, state: SVDDState, x: Any) -> jax.Array:
    """The squared distance of each output from c, `(batch,)`, the network in evaluation mode.

    Args:
        model: as in `deep_svdd`.
        state: of its training.
        x: what the network is given.
    """
    found, _ = model.apply(state.params, state.model_state, jnp.asarray(x))
    return _squares(found - state.center, None)


def _squares(differences: jax.Array, _: Any) -> jax.Array:
    return (differences**2).sum(1)


def _flat(x: Any) -> np.ndarray:
    x = np.asarray(x, float)
    require(x.ndim >= 2 and x.size > 0, "data (n, ...)", f"shape {x.shape}")
    require(bool(np.isfinite(x).all()), "finite data", "others")
    return x.reshape(len(x), -1)
