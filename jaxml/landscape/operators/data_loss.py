"""A user's own loss over data, as a sum over examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from jaxml.core.checks import require, require_choice
from jaxml.core.empirical_risk import EmpiricalRisk, Objective
from jaxml.core.types import Batch, DataLoss, Params
from jaxml.training.supervised_learning import over_data


def data_loss(
    predict: Callable[[Params, Batch], Any],
    values: DataLoss,
    data: Batch | Sequence[Batch],
    *,
    l2: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
    batch_size: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> EmpiricalRisk:
    """The mean or sum of one value an example over data, as `params -> scalar`.

    Of a loss in this form the landscape knows more than of any other: it forms the Hessian of dense
    layers as matrix products, has Gauss–Newton and Fisher matrices, and takes the data in batches.

    Args:
        predict: `(params, batch) -> outputs`, with one leading axis of examples.
        values: `(outputs, batch) -> values`, one an example, such as those of
            `jaxml.training.losses`.
        data: a dict of arrays with one leading axis, or batches, each such a dict: every example
            counts the same, in whichever batch it stands.
        l2: λ in (λ/2)‖θ‖², which is added once.
        reduction: whether the loss is the values' mean or their sum, of n examples n times the
            mean; weighted where the data have `"weights"`. Curvature matrices are of that loss.
        batch_size: rows that pass through `predict` at a time, to bound the memory; all at once by
            default, or the size of the first batch where batches are given.
        mesh: devices, along whose axis `data` the rows lie, see `training.full_loss`.

    Raises:
        ValueError: if `predict` or `values` is no function; for bad data, options or meshes, as
            `training.full_loss`. By the loss, if an example's value depends on others and they
            are to be taken in batches.

    Example:
        >>> from jaxml.training import losses
        >>> batches = [{"x": np.ones((n, 2)), "y": np.ones(n)} for n in (3, 3, 1)]
        >>> loss = data_loss(lambda w, batch: batch["x"] @ w, losses.mse, batches)
        >>> float(loss(np.ones(2, np.float32)))
        1.0
    """
    require(callable(predict), "a function (params, batch) -> outputs", type(predict).__name__)
    require(callable(values), "a function (outputs, batch) -> values", type(values).__name__)
    require_choice("reduction", reduction, ("mean", "sum"))
    require(0 <= l2 < np.inf, "l2 to be finite and at least 0", l2)
    if not isinstance(data, Mapping):
        batches = list(data)
        require(len(batches) > 0, "at least one batch", "none")
        plain = all(isinstance(batch, Mapping) for batch in batches)
        require(plain, "a dict of arrays in memory, or batches of them", type(data).__name__)
        names = {tuple(sorted(batch)) for batch in batches}
        require(len(names) == 1, "batches with the same names", " and ".join(map(str, names)))
        if batch_size is None:
            batch_size = len(next(iter(batches[0].values())))
        data = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    objective = Objective(_WithoutState(predict), values, l2, reduction)
    return over_data(objective, None, data, batch_size=batch_size, mesh=mesh)


@dataclasses.dataclass(frozen=True)
class _WithoutState:
    predict: Callable[[Params, Batch], Any]

    def __call__(self, params: Params, state: Any, batch: Batch) -> Any:  # noqa: ARG002
        return self.predict(params, batch)
