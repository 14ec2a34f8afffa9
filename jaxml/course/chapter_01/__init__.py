"""Chapter 1, basics: regression, gradient descent, piecewise linear functions, back-propagation."""

from __future__ import annotations

from jaxml.course.chapter_01 import networks, regression, riders
from jaxml.course.experiment import Experiment

LECTURE_1 = "Hung-yi Lee, Machine Learning 2021, lecture 1"

EXPERIMENTS = (
    Experiment(
        "ols-contour", 1, "the error surface has its minimum where least squares has its solution",
        LECTURE_1, regression.ols_contour, 0.2,
        "Begin elsewhere, or make the rate ten times as large: which way does the path take then?",
    ),
    Experiment(
        "step-and-slope", 1, "a step is the slope times the learning rate, with its sign reversed",
        LECTURE_1, regression.step_and_slope, 0.1,
        "Take a rate of 2: the steps still go down the slope, and where do they end?",
    ),
    Experiment(
        "divergence", 1, "gradient descent diverges where the rate exceeds 2/λ_max",
        f"{LECTURE_1}; Nesterov 2004, section 2.1.5", regression.divergence, 0.1,
        "Multiply an input by 3: λ_max grows with its square, and the largest rate shrinks.",
    ),
    Experiment(
        "mean-and-median", 1, "the squared error leads to the mean, the absolute to the median",
        LECTURE_1, regression.mean_and_median, 0.1,
        "Replace 43 by 430, and the absolute error by losses.huber.",
    ),
    Experiment(
        "lag-features", 1, "models that see whole periods predict better",
        LECTURE_1, riders.lag_features, 0.2,
        "Try 2, 6, 8 and 14 days: which step is the large one?",
    ),
    Experiment(
        "layers", 1, "with more layers the training error falls on, the test error does not",
        LECTURE_1, riders.layers, 1.5,
        "Give the networks 28 days, or 8 layers: which depth is best, and does the training go on?",
    ),
    Experiment(
        "hard-sigmoid", 1, "two ReLU make a hard sigmoid", LECTURE_1, networks.hard_sigmoid, 0.1,
        "Move the two kinks together: what does the sum look like in the limit?",
    ),
    Experiment(
        "piecewise-linear", 1, "a sum of ReLU is any piecewise linear curve",
        f"{LECTURE_1}; Cybenko 1989 for sigmoids", networks.piecewise_linear, 1.0,
        "Train from weights near the built ones: does Adam stay there?",
    ),
    Experiment(
        "updates-per-epoch", 1, "10,000 examples in batches of 10 are 1,000 updates an epoch",
        LECTURE_1, networks.updates_per_epoch, 0.1,
        "Draw with replacement (sampling.with_replacement): how many examples has an epoch missed?",
    ),
    Experiment(
        "backpropagation", 1, "back-propagation is the chain rule, taken from the last layer on",
        f"{LECTURE_1}; Rumelhart, Hinton and Williams 1986", networks.backpropagation, 0.1,
        "Stack ten sigmoid layers: how does the gradient's norm go with depth?",
    ),
)  # fmt: skip
