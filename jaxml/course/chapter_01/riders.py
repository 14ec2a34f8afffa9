"""The riders of the Chicago 'L': days that a model sees, and layers that it has."""

from __future__ import annotations

import jax
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import keys
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers, sampling

PUBLISHED_LAGS = {1: 6.62, 7: 3.07, 28: 2.48, 56: 2.38}
"""Days -> error of ordinary least squares on the test, in thousand riders."""


def lag_features(effort: Effort = "quick") -> Finding:
    """Riders of the Chicago "L" a day ahead, from the last 1, 7, 28 and 56 days."""
    trained, solved = {}, {}
    for lags in PUBLISHED_LAGS:
        riders = data.load("chicago_ridership", lags=lags, validation=0).splits
        x, y = riders["train"]["x"], riders["train"]["y"]
        mean, scale = x.mean(), x.std()  # the same for every lag: it is one series
        train, test = (
            {key: (values - mean) / scale for key, values in split.items()}
            for split in (riders["train"], riders["test"])
        )
        model = nn.linear(lags, 1)
        algorithm = training.supervised(model, losses.mse, optimizers.momentum(0.03))
        run = training.fit(
            algorithm, train, sampling.full(), key=jax.random.key(0),
            steps=1500 if effort == "quick" else 3000,
        )  # fmt: skip
        found = training.evaluate(model, run.state, test, {"mse": losses.mse})
        trained[lags] = float(np.sqrt(found["mse"]) * scale)
        design, target = (
            np.column_stack([part, np.ones(len(part))]) for part in (x, riders["test"]["x"])
        )
        prediction = target @ np.linalg.lstsq(design.astype(float), y)[0]
        solved[lags] = float(np.sqrt(np.mean((prediction - riders["test"]["y"]) ** 2)))
    week = data.load("chicago_ridership", lags=7).splits["test"]
    persistence = _same_day_last_week(week)
    errors = list(trained.values())
    holds = (np.diff(errors) < 0).all() and all(
        abs(trained[lags] - solved[lags]) < 0.02 for lags in trained
    )
    days = [str(lags) for lags in trained]
    figure = pictures.bars(
        {
            "gradient descent": dict(zip(days, errors, strict=True)),
            "least squares": dict(zip(days, solved.values(), strict=True)),
        },
        "Two bars each for 1, 7, 28 and 56 days: the error falls steeply from 1 to 7 days, then "
        "a little more; gradient descent and least squares have bars of the same height.",
        xlabel="days that the model sees", ylabel="test error, thousand riders",
    )  # fmt: skip
    return Finding(
        name="lag-features",
        question="Does it help the model to see a whole week, or a month?",
        verdict="The error on the last two years is "
        + ", ".join(f"{e:.2f}" for e in errors)
        + f" thousand riders with the last {', '.join(days[:-1])} and {days[-1]} days; the same "
        f"day last week is off by {persistence:.2f}.",
        sections=[Section("Riders one day ahead", figures=[figure])],
        numbers={"days": list(trained), "error": errors, "least_squares": list(solved.values()),
                 "same_day_last_week": persistence},
        expected="the error falls from 1 to 7, 28 and 56 days, as that of the views of the "
        "lecture's videos does; gradient descent reaches least squares to 0.02 thousand",
        holds=bool(holds),
    )  # fmt: skip


def layers(effort: Effort = "quick") -> Finding:
    """The number of layers of a network on the ridership, and a remedy that is the wrong one."""
    riders = data.load("chicago_ridership", lags=56)
    mean, scale = riders.train["x"].mean(), riders.train["x"].std()
    splits = {
        name: {key: (values - mean) / scale for key, values in split.items()}
        for name, split in riders.splits.items()
    }
    quick = effort == "quick"
    depths, seeds, epochs = ([1, 3], 2, 10) if quick else ([1, 2, 3, 4, 6], 5, 40)
    steps = epochs * len(splits["train"]["y"]) // 64
    rate = training.schedules.cosine(1e-3, steps)

    def errors(depth, optimizer):
        """Split -> the error of each seed, and of their mean forecast, in thousand riders."""
        model = nn.mlp([56, *[100] * depth, 1])
        algorithm = training.supervised(model, losses.mse, optimizer)
        run = training.fit_many(
            algorithm, splits["train"], sampling.epochs(64), keys=keys(seeds), steps=steps
        )
        found = {}
        for name, split in splits.items():
            off = jax.vmap(lambda p, s=split: model.apply(p, {}, s["x"])[0] - s["y"])(
                run.state.params
            )
            each = np.sqrt((np.asarray(off) ** 2).mean((1, 2))) * scale
            together = np.sqrt((np.asarray(off).mean(0) ** 2).mean()) * scale
            found[name] = [float(e) for e in each], float(together)
        return found

    found = {depth: errors(depth, optimizers.adam(rate)) for depth in depths}
    singles = {
        name: [float(np.mean(found[depth][name][0])) for depth in depths]
        for name in ("train", "validation", "test")
    }
    chosen = depths[int(np.argmin(singles["validation"]))]
    decays = [1.0] if quick else [0.1, 1.0]
    decayed = {
        decay: errors(chosen, optimizers.adamw(rate, weight_decay=decay))["test"]
        for decay in decays
    }
    single, (_, together) = singles["test"][depths.index(chosen)], found[chosen]["test"]
    persistence = _same_day_last_week(riders.splits["test"])
    gaps = np.subtract(singles["test"], singles["train"])
    fit_better = bool((np.diff(singles["train"]) < 0).all())
    figure = pictures.curves(
        {name: (depths, values) for name, values in singles.items()},
        "Error against the number of hidden layers: that on the training days falls on, those on "
        "the validation and the test level off above it.",
        style="o-", xlabel="hidden layers of 100", ylabel="error, thousand riders",
    )  # fmt: skip
    table = Table(
        ("hidden layers", "train", "validation", "test", "test, each seed", "test, all together"),
        [
            (
                str(depth), *(f"{singles[name][i]:.2f}" for name in singles),
                f"{min(found[depth]['test'][0]):.2f} to {max(found[depth]['test'][0]):.2f}",
                f"{found[depth]['test'][1]:.2f}",
            )
            for i, depth in enumerate(depths)
        ],
    )  # fmt: skip
    remedy = ", ".join(f"{np.mean(each):.2f} with {d:g}" for d, (each, _) in decayed.items())
    worse = all(np.mean(each) > single for each, _ in decayed.values())
    return Finding(
        name="layers",
        question="How many layers?",
        verdict=f"From {depths[0]} to {depths[-1]} layers the error on the training days goes from "
        f"{singles['train'][0]:.2f} to {singles['train'][-1]:.2f}, that on the test from "
        f"{singles['test'][0]:.2f} to {singles['test'][-1]:.2f} thousand riders. The "
        f"{chosen} that the validation chooses have {single:.2f}, {seeds} networks together "
        f"{together:.2f}; the same day last week is off by {persistence:.2f}. Weight decay is "
        f"{'no' if worse else 'a'} remedy here: {remedy}.",
        sections=[Section("Depth as a hyper-parameter", figures=[figure], table=table)],
        numbers={
            "layers": depths, **singles, "chosen": chosen, "single": single, "ensemble": together,
            "same_day_last_week": persistence, "seeds_test": [found[d]["test"][0] for d in depths],
            "weight_decay": {str(d): float(np.mean(each)) for d, (each, _) in decayed.items()},
        },
        expected="with more layers the training error falls and its distance from the test error "
        "grows; the depth chosen on the validation has at most 1.75 thousand riders on the test "
        "and an ensemble 1.60" if not quick else "with more layers the training error falls and "
        "its distance from the test error grows",
        holds=fit_better and bool(gaps[-1] > gaps[0])
        and (quick or (single <= 1.75 and together <= 1.6)),
    )  # fmt: skip


def _same_day_last_week(split: data.Split) -> float:
    """The error of taking the riders of seven days before, in thousand."""
    return float(np.sqrt(np.mean((split["x"][:, -7:-6] - split["y"]) ** 2)))
