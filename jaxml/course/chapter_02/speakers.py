"""Validation on the wrong rows: vowels of voices that the training has heard, and of others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from jaxml import data, nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import keys
from jaxml.core.types import Algorithm
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import augmentation, losses, optimizers, sampling, schedules

Rows = dict[str, np.ndarray]


def speakers(effort: Effort = "quick") -> Finding:
    """How much noise to train with, chosen by cross-validation over rows and over speakers."""
    vowels = data.load("vowel")
    mean, deviation = vowels.train["x"].mean(0), vowels.train["x"].std(0)
    train, test = (
        {"x": (split["x"] - mean) / deviation, "y": split["y"]}
        for split in (vowels.splits["train"], vowels.splits["test"])
    )
    quick = effort == "quick"
    levels, seeds, steps = ([0.0, 0.5], 2, 400) if quick else ([0.0, 0.25, 0.5, 1.0], 8, 3000)
    folds = {
        "over rows": [*KFold(8, shuffle=True, random_state=0).split(train["x"])],
        "over speakers": [*GroupKFold(8).split(train["x"], groups=vowels.train["speaker"])],
    }
    validated = {
        name: [_cross_validated(train, parts, level, seeds, steps) for level in levels]
        for name, parts in folds.items()
    }
    tested = [_errors(train, test, level, seeds, steps) for level in levels]
    means = [float(np.mean(each)) for each, _ in tested]
    chosen = {name: int(np.argmin(errors)) for name, errors in validated.items()}
    picked = chosen["over speakers"]
    each, together = tested[picked]
    apart = {name: float(np.mean(np.subtract(means, errors))) for name, errors in validated.items()}
    figure = pictures.curves(
        {
            **{f"validation {name}": (levels, errors) for name, errors in validated.items()},
            "test, other speakers": (levels, means),
        },
        "Error against the noise in training: validation over rows lies far below validation over "
        "speakers, which is near the test.",
        style="o-", xlabel="standard deviation of the noise", ylabel="error", ylim=(0, 0.62),
    )  # fmt: skip
    table = Table(
        ("noise", *(f"validation {name}" for name in folds), "test", "test, all together"),
        [
            (f"{level:g}", *(f"{errors[i]:.3f}" for errors in validated.values()),
             f"{means[i]:.3f} ± {np.std(tested[i][0], ddof=1):.3f}", f"{tested[i][1]:.3f}")
            for i, level in enumerate(levels)
        ],
    )  # fmt: skip
    holds = abs(apart["over speakers"]) < 0.5 * apart["over rows"]
    return Finding(
        name="speakers",
        question="On which rows must one validate, where the test has other speakers?",
        verdict=f"Validated over rows the networks seem to err on "
        f"{np.mean(validated['over rows']):.0%} of the vowels, over speakers on "
        f"{np.mean(validated['over speakers']):.0%}; on new speakers they err on "
        f"{np.mean(means):.0%}. With the noise that the validation over speakers chooses, "
        f"{levels[picked]:g}, it is {means[picked]:.3f} ± {np.std(each, ddof=1):.3f} over {seeds} "
        f"seeds, and {together:.3f} with all of them together.",
        sections=[Section("Two ways to validate", figures=[figure], table=table)],
        numbers={
            "noise": levels, "validation": validated, "test": means, "chosen": levels[picked],
            "test_seeds": each, "ensemble": together,
        },
        expected="validation over speakers is nearer to the test than half of the distance of that "
        "over rows" + ("" if quick else "; the error of the chosen is at most .43"),
        holds=bool(holds and (quick or means[picked] <= 0.43)),
    )  # fmt: skip


def _cross_validated(
    rows: Rows, parts: Iterable[tuple[Any, Any]], noise: float, seeds: int, steps: int
) -> float:
    """The mean error over the folds."""
    found = []
    for there, left_out in parts:
        fold, rest = ({k: v[chosen] for k, v in rows.items()} for chosen in (there, left_out))
        found.append(np.mean(_errors(fold, rest, noise, seeds, steps)[0]))
    return float(np.mean(found))


def _errors(
    rows: Rows, others: Rows, noise: float, seeds: int, steps: int
) -> tuple[list[float], float]:
    """On other rows, of each seed's network, and of the mean of their probabilities."""
    sample = sampling.epochs(32)
    if noise > 0:
        sample = augmentation.augmented(sample, augmentation.noise(noise))
    algorithm = _algorithm(steps)
    state = training.fit_many(algorithm, rows, sample, keys=keys(seeds), steps=steps).state
    logits = jax.vmap(lambda params: MODEL.apply(params, {}, others["x"])[0])(state.params)
    wrong = np.asarray(logits.argmax(-1)) != others["y"]
    together = np.asarray(jax.nn.softmax(logits).mean(0).argmax(-1)) != others["y"]
    return [float(e) for e in wrong.mean(1)], float(together.mean())


MODEL = nn.mlp([10, 88, 11])


def _algorithm(steps: int) -> Algorithm:
    rate = schedules.cosine(1e-2, steps)
    return training.supervised(MODEL, losses.softmax_cross_entropy, optimizers.adam(rate))
