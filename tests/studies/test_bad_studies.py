"""Studies that make no sense are refused before anything is trained."""

import math

import numpy as np
import pytest

from jaxml import nn, studies
from jaxml.training import losses, metrics

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
DATA = {"x": X, "y": (X[:, 0] > 0).astype(np.int32)}
TASK = studies.task(nn.mlp([3, 4, 2]), losses.softmax_cross_entropy, {"error": metrics.error})
LANES = studies.grid([4, 8], [0.1], seeds=1)


def run(lanes=LANES, data=DATA, **options):
    options = {"splits": {"validation": DATA}, "epochs": 2} | options
    return studies.batch_size(TASK, data, lanes, **options)


CASES = {
    "batch above N": (lambda: run(studies.grid([80], [0.1])), "at most the 40 examples, got 80"),
    "no microbatch divides": (lambda: run(microbatches=[3]), "divides the batch size 4"),
    "seed too large": (
        lambda: studies.grid([4], [0.1], seeds=[2**63]),
        "every seed at least 0 and",
    ),
    "no lanes": (lambda: run(LANES.take([])), "at least one lane, got none"),
    "no update": (lambda: run(epochs=None, steps=0.5), "at least one update"),
    "no steps": (lambda: run(epochs=None, steps=0), "steps above 0"),
    "unknown schedule": (lambda: studies.grid([4], [0.1], schedules=["step"]), "one of constant"),
    "warm-up throughout": (lambda: studies.grid([4], [0.1], warmup=1.0), "every warmup in"),
    "plateau of nothing": (lambda: run(plateau=1.0), "a plateau above 0, and a target"),
    "plateau of zero": (lambda: run(plateau=0.0, target=studies.Target(0.1)), "a plateau above 0"),
    "infinite target": (
        lambda: run(target=studies.Target(-math.inf, "loss")),
        "a finite target",
    ),
    "accuracy above one": (
        lambda: run(target=studies.Target(1.1, "error", above=True)),
        r"in \(0, 1\] for error",
    ),
    "empty grid": (lambda: studies.grid([], [0.1]), "expected batch_sizes, got none"),
    "no rates": (lambda: studies.grid([4], []), "learning rates"),
    "rates twice": (lambda: studies.grid([4], [0.1, 0.1]), "without repetitions"),
    "unknown optimizer": (lambda: studies.grid([4], [0.1], optimizers=["sdg"]), "one of sgd"),
    "negative rate": (lambda: studies.grid([4], [-0.1]), "learning_rate above 0"),
    "momentum of one": (lambda: studies.grid([4], [0.1], momenta=[1.0]), "momentum in"),
    "half a batch": (lambda: studies.grid([4.5], [0.1]), "whole numbers as batch_size"),
    "no budget": (lambda: run(epochs=None), "a budget: epochs or steps"),
    "no epochs": (lambda: run(epochs=0.01), "a budget of at least one update"),
    "error below zero": (lambda: run(target=studies.Target(-0.1)), r"in \[0, 1\) for error"),
    "error of one": (lambda: run(target=studies.Target(1.0)), r"in \[0, 1\) for error"),
    "met at once": (lambda: run(target=studies.Target(1e9, "loss")), "not met before the first"),
    "unknown measure": (lambda: run(target=studies.Target(0.1, "recall")), "among error, loss"),
    "unknown split": (lambda: run(target=studies.Target(0.1, split="test")), "on validation"),
    "NaN in data": (
        lambda: run(data=DATA | {"x": np.where(X > 2, np.nan, X)}),
        "finite values",
    ),
    "NaN in a split": (
        lambda: run(splits={"validation": DATA | {"x": np.full_like(X, np.nan)}}),
        "finite values",
    ),
    "weights": (lambda: run(data=DATA | {"weights": np.ones(40)}), "data with weights"),
    "no splits": (lambda: run(splits={}), "at least one split"),
    "resolution": (lambda: run(resolution=0), "a resolution in"),
    "other arguments": (
        lambda: run(done=run(on_chunk=lambda *_: True), epochs=3),
        "the study's own arguments",
    ),
}


@pytest.mark.slow
def test_the_least_that_is_taken():
    assert run(LANES.take([0]), epochs=None, steps=1).updates.tolist() == [1]
    assert studies.grid([4], [0.1], seeds=[2**63 - 1]).seed[0] == 2**63 - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_is_refused(name):
    what, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        what()
