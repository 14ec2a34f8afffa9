"""Results of studies: their verdicts are what their numbers say, and they can be kept."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from results import check_shown_and_kept

from jaxml import studies
from jaxml.core.finding import finding

NAN = math.nan


def sharpening(level, *, diverged=False):
    """λ_max of a threshold of 2 rises to `level` times it, and stays there."""
    values = np.concatenate([np.linspace(0.1, 2 * level, 5), np.full(5, 2 * level)])
    edge = NAN if diverged else 2.0
    return studies.Sharpening(
        "sgd", 1.0, np.arange(10), values, np.zeros(10), edge, np.ones(40), diverged
    )


def smooth(end):
    ones = np.ones(6)
    return studies.Smoothness(np.arange(6), end * ones, ones, 2 * ones, ones, 3 * ones, None, None)


def frequency(value):
    return studies.Frequency(value, (value / 2, 2 * value), 1.0)


FOLDS = studies.Folds(
    studies.grid([8], [0.1, 0.2], seeds=1), np.array([[0.2, 0.4], [0.1, 0.3]]), 1, 0.2, 0.1
)
MANY = [studies.BestOfMany(1, 0.9, 0.9, 0.9), studies.BestOfMany(100, 0.5, 0.8, 0.7)]


def generalization(shares):
    bad = {25 * 2**k: frequency(share) for k, share in enumerate(shares)}
    return studies.GeneralizationStudy(100, 0.1, bad, 600, 50, MANY, FOLDS, np.array([0.3, 0.25]))


DESCENTS = studies.Descents(
    ["sgd", "adam"], np.array([0.1, 0.2]), np.zeros((2, 4, 2)), np.array([[4.0, 3, 2, 1]] * 2),
    np.ones((2, 4)), np.ones((2, 4)), np.array([math.inf, 3.0]), ["still on its way", "there at 3"],
)  # fmt: skip
FIT = studies.CriticalBatchSize(50.0, (40.0, 60.0), 100.0, (90.0, 110.0), 5000.0, (), 0.95)
LOST = studies.CriticalBatchSize(NAN, (NAN, NAN), NAN, (NAN, NAN), NAN, ("2 batch sizes",))
RESULTS = {
    "critical": (FIT, "B_crit 50 [40, 60] (95%), S_min 100 [90, 110] (95%)"),
    "not identified": (LOST, "B_crit not identified: 2 batch sizes; next: more batch sizes"),
    "noise": (
        studies.NoiseScale("dataset", 2.0, 60.0, 30.0, (20.0, 45.0)),
        "B_simple 30 [20, 45] of the dataset: tr Σ 60, |G|² 2",
    ),
    "unresolved": (
        studies.NoiseScale("population", -1.0, 60.0, NAN, (20.0, math.inf)),
        "B_simple unresolved (at least 20) of the population: tr Σ 60, |G|² -1; next: a larger",
    ),
    "descents": (DESCENTS, "adam at η = 0.2 is first: 3 updates; 1 of 2 come as low"),
    "sharpening": (sharpening(1.05), "sgd, η = 1: λ_max is 1.050 of the stability threshold 2"),
    "diverged": (sharpening(1.0, diverged=True), "sgd, η = 1: diverged after 40 updates"),
    "edge": (
        studies.EdgeStudy(
            {"mse": [sharpening(1.05), sharpening(0.5), sharpening(1.0, diverged=True)]}
        ),
        "1 of 3 trainings end within 10 % of the stability threshold, 1 diverged",
    ),
    "generalisation": (
        generalization([0.5, 0.05, 0.01]),
        "the best of 100 models errs by 50.0% where it was chosen and by 80.0% elsewhere; "
        "50 examples suffice for 5 % of bad samples, the bound asks for 600",
    ),
    "never good": (
        generalization([0.5, 0.2]),
        "the best of 100 models errs by 50.0% where it was chosen and by 80.0% elsewhere; "
        "5 % of bad samples are not reached, the bound asks for 600",
    ),
    "normalisation": (
        studies.NormalizationStudy(
            {
                "plain": [(0.1, smooth(0.5), 2.0), (1.0, smooth(NAN), NAN)],
                "batch norm": [(0.1, smooth(0.6), 2.0), (1.0, smooth(0.2), 3.0)],
            }
        ),
        "plain is finite up to η = 0.1, loss 0.5 at best; "
        "batch norm is finite up to η = 1, loss 0.2 at best",
    ),
    "diagnosis": (
        studies.diagnose(studies.Score(0.3, 1000), studies.Score(0.31, 500), acceptable=0.05),
        "model bias: training error 0.3 is above 0.05",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_shown_and_kept(name, tmp_path):
    check_shown_and_kept(*RESULTS[name], tmp_path)


def test_two_networks_are_compared_at_a_rate_that_both_tolerate():
    study = RESULTS["normalisation"][0]
    ax = Figure().add_subplot()
    study.plot(ax, figure=1)
    assert [line.get_label() for line in ax.lines] == ["plain", "batch norm"]
    assert "at η = 0.1; medians: plain 3, batch norm 3" in finding(study).figures[1].alt
