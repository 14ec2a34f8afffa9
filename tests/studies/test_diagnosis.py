"""The course's tree on made-up scores, and the test of two proportions behind it."""

import itertools
import math

import pytest
from scipy import stats

from jaxml.studies import Score, diagnose

GOOD = Score(0.01, 1000)


@pytest.mark.parametrize(
    ("scores", "fault", "because"),
    [
        ({"train": GOOD, "validation": GOOD}, "nothing wrong", ("0.01 is small", "not larger")),
        ({"train": Score(0.3, 1000), "validation": GOOD}, "model bias", ("above 0.05", "no small")),
        ({"train": GOOD, "validation": Score(0.2, 500)}, "overfitting", ("small", "0.2 is larger")),
        (
            {"train": GOOD, "validation": GOOD, "test": Score(0.3, 500)},
            "mismatch",
            ("0.01 is small", "0.01 is not larger", "test error 0.3 is larger"),
        ),
        ({"train": GOOD, "validation": GOOD, "test": GOOD}, "nothing wrong", ("small", "not")),
        # larger by much, but not beyond chance: one example of fourteen
        ({"train": GOOD, "validation": Score(0.07, 14)}, "nothing wrong", ()),
        # larger beyond chance, but not by what matters
        ({"train": Score(0.01, 10**6), "validation": Score(0.029, 10**6)}, "nothing wrong", ()),
        ({"train": Score(0.01, 10**6), "validation": Score(0.0301, 10**6)}, "nothing wrong", ()),
        ({"train": Score(0.0, 1000), "validation": Score(0.049, 1000)}, "nothing wrong", ()),
        ({"train": Score(0.06, 1000), "validation": GOOD}, "nothing wrong", ()),
        ({"train": Score(0.0701, 1000), "validation": GOOD}, "model bias", ()),
    ],
)
def test_made_up_scores(scores, fault, because):
    found = diagnose(**scores, acceptable=0.05)
    assert found.fault == fault
    if because:
        assert len(found.because) == len(because)
        assert all(part in text for part, text in zip(because, found.because, strict=True))
    assert bool(found.remedies) == (fault != "nothing wrong")


@pytest.mark.parametrize(
    ("shallower", "fault", "why"),
    [
        ([], "model bias", "no smaller one was tried"),
        ([Score(0.31, 1000), Score(0.3, 1000)], "model bias", "no smaller network does better"),
        ([Score(0.2, 1000), Score(0.1, 1000), Score(0.3, 1000)], "optimisation", "trains to 0.1"),
    ],
)
def test_a_smaller_network_decides_between_model_and_optimisation(shallower, fault, why):
    found = diagnose(Score(0.3, 1000), GOOD, acceptable=0.05, shallower=shallower)
    assert found.fault == fault
    assert found.because[1].endswith(why)


def chance(wrong_a, of_a, wrong_b, of_b):
    """Two proportions pooled, one wrong and one right example added."""
    p = (wrong_a + wrong_b + 1) / (of_a + of_b + 2)
    z = (wrong_a / of_a - wrong_b / of_b) / math.sqrt(p * (1 - p) * (1 / of_a + 1 / of_b))
    return 1 - stats.norm.cdf(z)


def test_larger_than_chance_explains():
    """Over counts of wrong answers on either side of where the test decides."""
    for (a, of_a), (b, of_b), confidence in itertools.product(
        [(12, 60), (9, 40), (30, 300)], [(2, 50), (5, 200), (1, 12)], [0.9, 0.99]
    ):
        found = diagnose(
            Score(b / of_b, of_b), Score(a / of_a, of_a), acceptable=0.0834, gap=0.01,
            confidence=confidence,
        )  # fmt: skip
        larger = a / of_a > b / of_b + 0.01 and chance(a, of_a, b, of_b) < 1 - confidence
        assert (found.fault == "overfitting") == larger


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"train": Score(1.1, 10)}, "an error in .0, 1. as train, got 1.1"),
        ({"validation": Score(-0.1, 10)}, "an error in .0, 1. as validation"),
        ({"test": Score(0.1, 0)}, "at least one example in test"),
        ({"acceptable": 2.0}, "an error in .0, 1. as acceptable"),
        ({"shallower": [GOOD, Score(2.0, 1)]}, "an error in .0, 1. as shallower 1"),
        ({"confidence": 1.0}, "a confidence in"),
    ],
)
def test_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        diagnose(**({"train": GOOD, "validation": GOOD, "acceptable": 0.1} | bad))
