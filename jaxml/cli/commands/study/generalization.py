"""`jaxml study generalization`."""

import dataclasses
from typing import Annotated

import jax
import numpy as np

from jaxml import studies
from jaxml.cli.commands.study.common import (
    BATCH,
    Advance,
    OfNetwork,
    Problem,
    study,
)
from jaxml.cli.options import FLAT, NUMBERS, POSITIVE, Config, log_spaced
from jaxml.core.types import Model
from jaxml.training import metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generalization(OfNetwork):
    """The options."""

    rates: Annotated[tuple[float, ...], NUMBERS] = log_spaced(0.001, 1, 7)
    """η: LOW:HIGH:COUNT, or a list."""
    epochs: Annotated[float, POSITIVE] = 20.0
    """Budget of a network."""


def generalization(
    *, settings: Annotated[Generalization, FLAT] = Generalization(), config: Config = None
) -> None:
    """Is the validation set too small?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    study("generalization", settings, build)


def build(
    settings: Generalization, problem: Problem, advance: Advance
) -> studies.GeneralizationStudy:
    """Thresholds on the mean pixel, untrained networks, and cross-validation."""
    splits, rows = problem.splits, problem.splits["train"]
    x = np.concatenate([split["x"].reshape(len(split["x"]), -1) for split in splits.values()])
    y = np.concatenate([split["y"] for split in splits.values()])
    # as the course's edges: one number an example, two kinds, |H| thresholds
    two = (y == 0) | (y == 1)
    number, kind = x[two].mean(1), y[two] == 1
    cuts = np.quantile(number, np.linspace(0.01, 0.99, 100))
    wrong = (number[None] < cuts[:, None]) != kind[None]
    epsilon = 0.1
    sizes = [25, 50, 100, 200, 400, 800]
    bad = {n: studies.bad_samples(wrong, n, epsilon) for n in sizes}
    advance(0.2, "untrained networks")
    model = problem.network(settings)
    held = {k: np.concatenate([s[k] for n, s in splits.items() if n != "train"]) for k in rows}
    guesses = _untrained(model, held, count=1000)
    best = studies.best_of_many(guesses, 50, [1, 10, 100, 1000], draws=200)
    advance(0.4, "folds")
    lanes = studies.grid([BATCH], list(settings.rates), seeds=1)
    task = problem.task(model, settings.l2)
    folds = studies.cross_validate(task, rows, lanes, epochs=settings.epochs)
    advance(0.9, "test")
    whole = studies.batch_size(
        task, rows, lanes, splits={"test": splits["test"]}, epochs=settings.epochs
    )
    return studies.GeneralizationStudy(
        hypotheses=len(cuts),
        epsilon=epsilon,
        bad=bad,
        needed=studies.examples_needed(len(cuts), epsilon, 0.05),
        validation=50,
        best=best,
        folds=folds,
        test=whole.final("test error"),
    )


def _untrained(model: Model, rows: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Whether each of many untrained networks is wrong, shape (networks, examples)."""

    @jax.jit
    def wrong(keys):
        def one(key):
            params, state = model.init(key)
            return metrics.error(model.apply(params, state, rows["x"])[0], rows)

        return jax.lax.map(one, keys)

    return np.asarray(wrong(jax.random.split(jax.random.key(0), count)))
