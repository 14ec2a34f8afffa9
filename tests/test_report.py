"""Records, figures and pages."""

import html.parser
import json

import numpy as np
import pytest

from jaxml import landscape, report
from jaxml.report import figures, tables


@pytest.fixture(scope="module")
def point():
    return landscape.analyze(lambda w: (1 - w[0] * w[1]) ** 2, np.zeros(2), float64=True)


class Page(html.parser.HTMLParser):
    """What a page shows and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "img":
            self.sources.append(attributes["src"])
            assert attributes["alt"] is not None
        self.links += [
            attributes[name] for name in ("href", "srcset", "action") if name in attributes
        ]
        assert tag not in ("script", "link", "iframe", "object")

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("fixture", "images", "words"),
    [
        ("point", 1, ["saddle (certified)", "index", "1 of 2", "float64"]),
        ("explored", 2, ["escape leads to", "degenerate, loss"]),
        ("walked", 5, ["The staircase", "predicted", "3 of 3", "certified minima"]),
    ],
)
def test_page_is_self_contained(fixture, images, words, request, tmp_path):
    result = request.getfixturevalue(fixture)
    text = report.write(result, tmp_path / "report.html").read_text()
    page = Page(text)
    assert len(page.sources) == images
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.sources)
    assert not page.links
    assert "http" not in text.replace("<!doctype html>", "")
    for word in words:
        assert word in page.text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("fixture", ["point", "explored", "walked"])
def test_record_is_json_and_complete(fixture, request):
    written = json.dumps(report.record(request.getfixturevalue(fixture)), allow_nan=False)
    body = json.loads(written)
    assert body["versions"]["jax"]
    assert body["device"]["platform"]
    for entry in body["points"]:
        assert {"kind", "loss", "gradient_norm", "index", "counts", "tolerance"} <= set(entry)
        assert sum(entry["counts"].values()) == entry["size"] == len(entry["eigenvalues"])
    if fixture == "walked":
        assert body["arguments"]["seeds"] == 3
        roles = [entry["role"] for entry in body["points"]]
        assert roles.count("minimum") == 6
        assert roles.count("dead unit") == 3


def test_figures_show_the_data(walked, point):
    (ax,) = figures.staircase(walked).axes
    heights = {tuple(np.atleast_1d(line.get_ydata())) for line in ax.lines}
    for level in walked.levels:
        assert all((m.loss,) in heights for m in level.minima)
    lines = figures.prediction(walked).axes[0].lines
    (dots,) = [line for line in lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots.get_xdata(), dots.get_ydata(), rtol=1e-9)
    assert figures.spectrum(point).axes[0].get_yscale() == "symlog"


def test_edge_of_stability_shows_both_curves():
    history = {"step": [10, 20], "sharpness": [3.0, 4.1], "threshold": [4.0, 4.0]}
    (ax,) = figures.edge_of_stability(history).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[3.0, 4.1], [4.0, 4.0]]
    assert ax.get_ylim()[0] == 0


def test_tables(walked):
    row = tables.staircase_row(walked.levels[0])
    assert len(row) == len(tables.STAIRCASE_COLUMNS)
    assert row[1] == row[3] == "3 of 3"
    assert row[4] == row[5]
    endings = tables.ending_rows(walked.found)
    assert sum(int(line[1]) for line in endings) == 4


def test_rewriting_a_page_leaves_no_other_file(point, tmp_path):
    for _ in range(2):
        report.write(point, tmp_path / "report.html")
    assert len(list(tmp_path.iterdir())) == 1
