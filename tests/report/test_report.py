"""Pages and records of points, staircases and what lies around them."""

import html.parser
import json

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxml import landscape, report
from jaxml.core.finding import finding
from jaxml.landscape.critical.views import ending_table
from jaxml.landscape.geometry.views import surface_figures, trajectory_figures
from jaxml.studies.topics import staircase_view


@pytest.fixture(scope="module")
def point():
    return landscape.analyze(lambda w: (1 - w[0] * w[1]) ** 2, np.zeros(2), float64=True)


def drawn(figure):
    """The axes of a picture, after it was rendered."""
    canvas = Figure(layout="constrained")
    ax = canvas.add_subplot()
    figure.draw(ax)
    canvas.canvas.draw()
    return ax


class Page(html.parser.HTMLParser):
    """What a page shows and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.alts, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "svg":
            self.alts.append(attributes["aria-label"])
        self.links += [
            attributes[name] for name in ("href", "src", "srcset", "action") if name in attributes
        ]
        assert tag not in ("script", "link", "iframe", "object")

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fixture", "images", "words"),
    [
        ("point", 1, ["saddle (certified)", "index", "1 of 2", "float64"]),
        ("explored", 2, ["escape leads to", "degenerate, loss"]),
        ("walked", 6, ["The staircase", "predicted", "3 of 3", "certified minima"]),
    ],
)
def test_page_is_self_contained(fixture, images, words, request, tmp_path):
    result = request.getfixturevalue(fixture)
    text = report.write(result, tmp_path / "report.html").read_text()
    page = Page(text)
    assert len(page.alts) == images
    assert all(alt.endswith(".") and any(c.isdigit() for c in alt) for alt in page.alts)
    assert all(link.startswith("#") for link in page.links)
    assert "http" not in text
    for word in [*words, "python 3.", finding(result).verdict]:
        assert word in page.text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.fixture(params=["point", "explored", "walked"])
def result(request):
    return request.getfixturevalue(request.param)


def test_record_is_json_and_complete(result, walked):
    written = json.dumps(report.record(result), allow_nan=False)
    body = json.loads(written)
    assert body["versions"]["jax"]
    assert body["device"]["platform"]
    for entry in body.get("points", [body]):
        assert {"kind", "loss", "gradient_norm", "index", "counts", "tolerance"} <= set(entry)
        assert sum(entry["counts"].values()) == entry["size"] == len(entry["eigenvalues"])
    if result is walked:
        assert body["arguments"]["seeds"] == 3
        roles = [entry["role"] for entry in body["points"]]
        assert roles.count("minimum") == 6
        assert roles.count("dead unit") == 3


def test_figures_show_the_data(walked, point):
    stairs, predicted, *_ = finding(walked).figures
    ax = drawn(stairs)
    for label, losses in {
        "minimum, polished": [m.loss for level in walked.levels for m in level.minima],
        "with a dead unit": [s.measured.loss for s in walked.levels[0].saddles],
    }.items():
        look = next(line for line in ax.lines if line.get_label() == label)
        alike = [line for line in ax.lines if line.get_marker() == look.get_marker()]
        assert [y for line in alike for y in line.get_ydata()] == losses
        low, high = ax.get_xlim()
        assert all(low < x < high for line in alike for x in line.get_xdata())
    (dots,) = [line for line in drawn(predicted).lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots.get_xdata(), dots.get_ydata(), rtol=1e-9)
    ax = drawn(finding(point).figures[0])
    assert ax.get_yscale() == "symlog"
    low, high = ax.get_ylim()
    assert low < point.eigenvalues[0] / 1.5
    assert high > point.eigenvalues[-1] * 1.5


def test_gradient_flat_ends_are_drawn(walked):
    flat = [float(f.search.loss) for f in walked.found if f.ending == "gradient-flat"]
    assert flat
    ax = drawn(finding(walked).figures[-1])
    (ticks,) = [line for line in ax.lines if line.get_label() == f"gradient-flat end ({len(flat)})"]
    assert sorted(ticks.get_xdata()) == sorted(flat)


def test_trajectory_figure_shows_true_losses_on_the_plane():
    loss = lambda w: (w**2).sum() + 1  # noqa: E731
    path = np.random.default_rng(0).normal(size=(6, 4)).cumsum(axis=0)
    seen = landscape.trajectory(loss, path)
    coordinates = seen.frame(7)
    plane = landscape.surface(loss, seen.params, seen.directions, coordinates=coordinates)
    left, right = map(drawn, trajectory_figures(seen, plane))
    (dots,) = [
        c for c in left.collections if c.get_array() is not None and len(c.get_offsets()) > 1
    ]
    np.testing.assert_array_equal(dots.get_array(), seen.losses)
    np.testing.assert_array_equal(dots.get_offsets(), seen.path)
    true, projected = right.lines
    np.testing.assert_array_equal(true.get_ydata(), seen.losses)
    np.testing.assert_array_equal(projected.get_ydata(), seen.projected_losses)
    assert (
        left.get_xlabel()
        == f"component 1: {100 * seen.explained_variance_ratio[0]:.1f} % of the variance"
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_surface_figure(count):
    """Also of a grid that is not whole, and of losses that are no numbers."""
    path = np.zeros((2, count))
    for limit in (60, 200, 1000):
        seen = landscape.surface(
            lambda w: jnp.log(w).sum(), np.ones(3), np.eye(3)[:count],
            coordinates=np.linspace(-2, 1, 9), on_progress=lambda done, total, n=limit: done >= n,
        )  # fmt: skip
        shown = surface_figures(seen, path)
        assert len(shown) == {1: 1, 2: 1, 3: 3}[count]
        # each plane with its scale of colours
        assert [len(drawn(figure).figure.axes) for figure in shown] == [1 + (count > 1)] * len(
            shown
        )


def test_first_direction_is_to_the_right():
    seen = landscape.surface(lambda w: w[0] + 0 * w[1], np.zeros(2), np.eye(2))
    ax = drawn(surface_figures(seen)[0])
    lowest = ax.collections[0].get_paths()[0].vertices  # of the lowest band
    assert lowest[:, 0].max() < 0
    assert np.ptp(lowest[:, 1]) == 2


def test_connection_figure():
    valley = lambda w: (w[1] - w[0] ** 2) ** 2 + 1e-3  # noqa: E731
    found = landscape.connect(valley, np.array([-1.0, 1.0]), np.array([1.0, 1.0]), steps=300)
    ax = drawn(finding(found).figures[0])
    line, curve = ax.lines[:2]
    np.testing.assert_array_equal(line.get_ydata(), found.line)
    np.testing.assert_array_equal(curve.get_ydata(), found.curve)
    assert line.get_label() == "straight line: barrier 1"
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(("steps", "probes"), [(5, 10), (5, 3), (1, 1)])
def test_the_figure_of_a_density(steps, probes):
    spectrum = np.linspace(-1, 3, 41)
    operator = landscape.hessian(lambda w: (spectrum * w**2).sum() / 2, np.zeros(41))
    result = landscape.spectral_density(operator, steps=steps, probes=probes)
    assert result.exact == (steps * probes > 41)
    linear, signed = map(drawn, finding(result).figures)
    curve = result.linear()
    line = linear.lines[0]
    np.testing.assert_array_equal(line.get_ydata(), curve.density)
    low, high = linear.get_ylim()
    one = linear.lines[1].get_ydata()[0]
    assert low < one < curve.density.max() < high
    band = linear.collections[0].get_paths()[0].get_extents()
    spread = np.nan_to_num(2 * curve.standard_error)
    assert band.y1 == pytest.approx((curve.density + spread).max())
    assert signed.get_xscale() == "symlog"
    negative, positive = (line.get_xdata() for line in signed.lines[:2])
    assert negative.max() < 0 < positive.min()
    assert any("within" in text.get_text() for text in signed.get_legend().get_texts())


def test_tables(walked):
    row = staircase_view.row(walked.levels[0])
    assert len(row) == len(staircase_view.COLUMNS)
    assert row[1] == row[3] == "3 of 3"
    assert row[4] == row[5]
    endings = ending_table(walked.found).rows
    assert sum(int(line[1]) for line in endings) == 4


def test_rewriting_a_page_leaves_no_other_file(point, tmp_path):
    for _ in range(2):
        report.write(point, tmp_path / "report.html")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_staircase_says_who_reached_the_minimum(walked):
    shown = finding(walked)
    assert shown.verdict.startswith("6 of 6 minima certified; 3 of 3 saddles made by a dead unit")
    lower = sum(
        a.loss < b.loss
        for b, a in zip(walked.levels[0].minima, walked.levels[1].minima, strict=True)
    )
    assert shown.verdict.endswith(f"{lower} of 3 lead to a lower minimum")
    assert "trust-region Newton goes on in float64 to a critical point: 6 of 6 are" in shown.text[0]
    assert shown.tiles["certified minima"] == "6 of 6"
    assert shown.tiles["certified saddles"] == "3 of 3"
    text = " ".join(section.text for section in shown.sections)
    flat = sum(f.ending == "gradient-flat" for f in walked.found)
    assert f"{flat} of 4 ended where" in text
    assert "Rank correlation of the loss and the share of negative eigenvalues" in text
