"""Why a network is not good enough: the course's tree, with the noise of the errors in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from scipy import stats

from jaxml.core.checks import require
from jaxml.core.result import Result

Fault = Literal["nothing wrong", "model bias", "optimisation", "overfitting", "mismatch"]

_REMEDIES: dict[str, tuple[str, ...]] = {
    "nothing wrong": (),
    "model bias": ("a wider or deeper network", "better features"),
    "optimisation": (
        "another rate or optimiser, a schedule, a longer training",
        "normalisation or residual connections",
        "look at the point where it ended: jaxml landscape",
    ),
    "overfitting": (
        "more data, or augmentation",
        "fewer or shared parameters, fewer features",
        "early stopping, an L2 penalty, dropout",
    ),
    "mismatch": ("data like those of the test for training or adaptation",),
}


class Score(NamedTuple):
    """An error rate.

    Attributes:
        error: the share of examples that are wrong.
        examples: of how many.
    """

    error: float
    examples: int


@dataclasses.dataclass(frozen=True)
class Diagnosis(Result):
    """What is wrong, if anything.

    Attributes:
        fault: its name.
        because: the comparisons that led there, in the order of the tree.
        remedies: what is usually tried.
    """

    fault: Fault
    because: tuple[str, ...]
    remedies: tuple[str, ...]


def diagnose(
    train: Score,
    validation: Score,
    test: Score | None = None,
    *,
    acceptable: float,
    shallower: Sequence[Score] = (),
    gap: float = 0.02,
    confidence: float = 0.99,
) -> Diagnosis:
    """Name what keeps a network from an acceptable error.

    A large training error is a fault of the optimisation if a network that the larger one
    contains, such as a shallower one, has a smaller one, and of the model otherwise. With a small
    training error, an error that grows from training to validation, drawn alike, is overfitting;
    one that grows from validation to test is a mismatch of the two.

    One error is called larger than another if it is by more than `gap` and by more than chance,
    by a one-sided test of two proportions.

    Args:
        train: of the trained network on what it was trained on.
        validation: on examples drawn as those.
        test: on those that count, if they are others.
        acceptable: the error that one would be content with.
        shallower: training errors of smaller networks on the same examples.
        gap: the difference that matters.
        confidence: of the tests.

    Raises:
        ValueError: if an error is not in [0, 1] or a count not above 0.

    Reference:
        Lee, Machine Learning 2021, "Guide"; He et al. 2015 (arXiv:1512.03385), figure 1, for the
        deeper network whose training error is the larger one.

    Example:
        >>> diagnose(Score(0.01, 1000), Score(0.2, 500), acceptable=0.05).fault
        'overfitting'
    """
    named = {"train": train, "validation": validation, "acceptable": Score(acceptable, 1)}
    if test is not None:
        named["test"] = test
    named |= {f"shallower {i}": score for i, score in enumerate(shallower)}
    for name, score in named.items():
        require(0 <= score.error <= 1, f"an error in [0, 1] as {name}", score.error)
        require(score.examples >= 1, f"at least one example in {name}", score.examples)
    require(0 < confidence < 1, "a confidence in (0, 1)", confidence)

    def larger(a: Score, b: Score) -> bool:
        return a.error > b.error + gap and _chance(a, b) < 1 - confidence

    def found(fault: Fault, *because: str) -> Diagnosis:
        return Diagnosis(fault, because, _REMEDIES[fault])

    if train.error > acceptable + gap:
        large = f"training error {train.error:.3g} is above {acceptable:.3g}"
        better = [score for score in shallower if larger(train, score)]
        if better:
            least = min(score.error for score in better)
            return found("optimisation", large, f"a smaller network trains to {least:.3g}")
        against = "no smaller network does better" if shallower else "no smaller one was tried"
        return found("model bias", large, against)
    small = f"training error {train.error:.3g} is small"
    if larger(validation, train) and validation.error > acceptable:
        return found("overfitting", small, f"validation error {validation.error:.3g} is larger")
    alike = f"validation error {validation.error:.3g} is not larger"
    if test is not None and larger(test, validation) and test.error > acceptable:
        return found("mismatch", small, alike, f"test error {test.error:.3g} is larger")
    return found("nothing wrong", small, alike)


def _chance(a: Score, b: Score) -> float:
    """How probable so large a difference is if both had one error rate."""
    wrong = a.error * a.examples + b.error * b.examples
    pooled = (wrong + 1) / (a.examples + b.examples + 2)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / a.examples + 1 / b.examples))
    return float(stats.norm.sf((a.error - b.error) / spread))
