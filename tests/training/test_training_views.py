"""What a training shows is what its history holds."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxml import Run
from jaxml.core.finding import finding
from jaxml.training import LearningRates


def drawn(figure):
    ax = Figure().add_subplot()
    figure.draw(ax)
    return ax


def test_one_run():
    history = {
        "loss": np.array([4.0, 2.0, 1.0, 0.5]),
        "return": np.array([np.nan, 3, np.nan, np.nan]),
    }
    run = Run(None, history, {"steps": 4})
    assert str(run).splitlines() == ["loss 4 → 0.5; return 3 → 3", "4 steps"]
    frame = run.to_dataframe()
    assert frame["step"].tolist() == [1, 2, 3, 4]
    assert frame["loss"].tolist() == history["loss"].tolist()
    loss, sparse = map(drawn, finding(run).figures)
    np.testing.assert_array_equal(loss.lines[0].get_xydata().T, [[1, 2, 3, 4], [4, 2, 1, 0.5]])
    np.testing.assert_array_equal(sparse.lines[0].get_xydata(), [[2, 3]])


def test_results_are_values():
    """Nobody changes one that another holds."""
    for kind in (Run, LearningRates):
        assert kind.__dataclass_params__.frozen


def test_a_long_curve_is_drawn_by_means():
    values = np.arange(1.0, 1001)
    ax = drawn(finding(Run(None, {"loss": values}, {})).figures[0])
    line = ax.lines[0].get_xydata()
    assert line[0].tolist() == [3, 2]  # the mean of 1, 2, 3, at the last of them
    assert line[-1].tolist() == [1000, 1000]
    assert ax.get_ylabel() == "loss, means over 3 steps"


def test_lanes():
    values = np.array([[4.0, 1.0], [3.0, 2.0], [5.0, 9.0]])
    run = Run(None, {"loss": values}, {})
    assert str(run).splitlines()[0] == "loss at last 1 to 9 over 3 lanes"
    frame = run.to_dataframe()
    assert frame[frame.lane == 1]["loss"].tolist() == [3, 2]
    ax = drawn(finding(run).figures[0])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [4, 2])
    (band,) = ax.collections
    box = band.get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (1, 9)


@pytest.mark.parametrize(
    ("values", "scale"),
    [([2.0, 0.1], "log"), ([1.0, 0.2], "linear"), ([-1.0, 20.0], "linear"), ([0.0, 1.0], "linear")],
)
def test_a_curve_over_more_than_a_decade_is_drawn_on_a_logarithmic_scale(values, scale):
    ax = drawn(finding(Run(None, {"return": np.array(values)}, {})).figures[0])
    assert ax.get_yscale() == scale


@pytest.mark.parametrize("history", [{}, {"loss": np.full(3, np.nan)}])
def test_nothing_recorded(history):
    run = Run(None, history, {})
    assert str(run).splitlines()[0] in ("no metric was recorded", "loss has no value")
    for figure in finding(run).figures:
        drawn(figure)
