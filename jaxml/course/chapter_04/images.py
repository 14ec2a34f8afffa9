"""Attention that sees images."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxml import data, nn
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Model
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.course.lanes import of_each_lane, train_each
from jaxml.training import metrics, sampling

Rows = dict[str, np.ndarray]


def by_attention(effort: Effort = "quick") -> Finding:
    """Digits told by a vision Transformer and by a convolutional network, from few rows to many."""
    quick = effort == "quick"
    # rows -> steps and seeds
    budgets = (
        {500: (150, 1)}
        if quick
        else {500: (1000, 4), 2000: (1500, 2), 10_000: (2000, 2), 50_000: (3000, 2)}
    )
    rates = [1e-2] if quick else [3e-3, 1e-2]
    models = {
        "convolutional": nn.cnn((28, 28, 1), 10, channels=(8, 16), hidden=(32,)),
        "Transformer": nn.vit((28, 28, 1), 10, patch=7, width=32, layers=2),
    }
    sizes = {name: _parameters(model) for name, model in models.items()}
    digits = data.load("mnist")
    judged = 1000 if quick else 10_000
    train, held, test = (
        _first(digits.splits[name], count)
        for name, count in (("train", max(budgets)), ("validation", judged), ("test", judged))
    )
    found = {
        name: [
            _tested(model, _first(train, n), held, test, rates, steps, seeds)
            for n, (steps, seeds) in budgets.items()
        ]
        for name, model in models.items()
    }
    errors = {name: [float(np.mean(each["test"])) for each in of] for name, of in found.items()}
    rows, (convolutional, attention) = list(budgets), errors.values()
    gaps = (np.array(attention) - convolutional).tolist()
    holds = gaps[0] > 0 and (quick or bool((np.diff(gaps) < 0).all()))
    figure = pictures.curves(
        {name: (rows, values) for name, values in errors.items()},
        "Test error against rows, both logarithmic: the Transformer's lies above the convolutional "
        "network's, and falls towards it.",
        style="o-", xlabel="rows", ylabel="test error", xscale="log", yscale="log",
    )  # fmt: skip
    table = Table(
        ("network", "rows", "steps", "rate", "validation error", "test error, each seed"),
        [
            (name, f"{n:,}", f"{budgets[n][0]:,}", f"{each['rate']:g}",
             f"{each['validation']:.1%}", ", ".join(f"{e:.1%}" for e in each["test"]))
            for name, of in found.items()
            for n, each in zip(rows, of, strict=True)
        ],
    )  # fmt: skip
    told = "; ".join(
        f"{n:,} rows {ours:.1%} and {theirs:.1%}"
        for n, ours, theirs in zip(rows, attention, convolutional, strict=True)
    )
    return Finding(
        name="images-by-attention",
        question="How many images does attention need to make up for not being a convolution?",
        verdict="Test error of a vision Transformer and of a convolutional network of about as "
        f"many parameters: with {told}.",
        sections=[
            Section(
                "From few rows to many",
                f"Handwritten digits (MNIST). The Transformer reads 16 patches of 7 by 7 pixels "
                f"and has {sizes['Transformer']:,} parameters, the convolutional network "
                f"{sizes['convolutional']:,}. Both have as many steps of 50 images; the rate is "
                "the one with the lower error in validation, on 10,000 further images.",
                figures=[figure], table=table,
            )
        ],
        numbers={
            "rows": rows, "error": errors, "gap": gaps, "parameters": sizes,
            "seeds": {name: [each["test"] for each in of] for name, of in found.items()},
            "rate": {name: [each["rate"] for each in of] for name, of in found.items()},
        },
        expected="from 500 rows the convolutional network errs less"
        + ("" if quick else "; the more rows, the smaller the difference"),
        holds=bool(holds),
    )  # fmt: skip


def _parameters(model: Model) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, key(0))[0]))


def _first(rows: Rows, count: int) -> Rows:
    return {name: values[:count] for name, values in rows.items()}


def _tested(
    model: Model, train: Rows, held: Rows, test: Rows, rates: list[float], steps: int, seeds: int
) -> dict[str, Any]:
    """At the rate that validates best: each seed's error on the test."""
    states = train_each(model, train, sampling.epochs(50), rates=rates, seeds=seeds, steps=steps)
    validated, tested = (
        of_each_lane(model, states, rows, {"error": metrics.error}).reshape(len(rates), seeds)
        for rows in (held, test)
    )
    best = int(validated.mean(1).argmin())
    return {
        "rate": rates[best],
        "validation": float(validated[best].mean()),
        "test": tested[best].tolist(),
    }
