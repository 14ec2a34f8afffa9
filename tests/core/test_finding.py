"""Findings: text, HTML, pictures, values; and the results that become them."""

import dataclasses
import html.parser
import json
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from jaxml import report
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.core.result import Result

HOSTILE = '--><script>alert("1")</script>&<b>'


class Pair(NamedTuple):
    x: float
    y: np.ndarray


@dataclasses.dataclass(frozen=True)
class Measured(Result):
    name: str
    pairs: list[Pair]
    params: Any
    other: "Measured | None" = None


@finding.register
def _(result: Measured) -> Finding:
    draw = lambda ax: ax.plot([p.x for p in result.pairs], label=result.name)  # noqa: E731
    return Finding(
        name=f"measured {result.name}",
        question=f"What is {result.name}?",
        verdict=f"{result.name}: {len(result.pairs)} pairs",
        text=[f"text of {result.name}"],
        tiles={f"tile {result.name}": result.name},
        sections=[
            Section(
                f"Section {result.name}",
                f"words of {result.name}",
                [Figure(draw, f"alt of {result.name}")],
                Table(["x", result.name], [[f"{p.x:g}", result.name] for p in result.pairs]),
            ),
            Section("", "no heading"),
        ],
        numbers={"pairs": result.pairs, "nested": [result.other] if result.other else []},
        records=[{"x": p.x} for p in result.pairs],
        provenance={"seed": 7, "command": result.name},
    )


@pytest.fixture
def measured():
    pairs = [Pair(0.1, np.array([1.0, np.nan])), Pair(np.inf, np.zeros(2, np.float32))]
    params = {"kernel": np.random.default_rng(0).normal(size=(3, 2)), "state": (None, "s")}
    return Measured("one", pairs, params, Measured("inner", pairs[:1], params))


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.labels, self.data, self.targets, self.ids = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.labels += [attrs["aria-label"]] if tag == "svg" else []
        self.targets += [attrs["href"]] if "href" in attrs else []
        self.ids += [attrs["id"]] if tag in ("h1", "h2") and "id" in attrs else []

    def handle_data(self, data):
        self.data.append(data)


def test_the_verdict_comes_first(measured, tmp_path):
    assert str(measured).splitlines()[0] == "one: 2 pairs"
    assert str(measured).splitlines()[-3:] == ["x    one", "0.1  one", "inf  one"]
    page = report.write(measured, tmp_path / "page.html").read_text()
    body = page[page.index("<body>") :]
    text = [part.strip() for part in Tags(body).data if part.strip()]
    assert text[:3] == ["Measured one", "What is one?", "one: 2 pairs"]
    assert "one; seed 7; " in text[-1]
    shown = [part.strip() for part in Tags(measured._repr_html_()).data if part.strip()]
    assert shown[1] == "one: 2 pairs"  # after the style


@pytest.mark.parametrize("page", [True, False])
def test_hostile_names_are_text(page, tmp_path):
    result = Measured(HOSTILE, [Pair(1.0, np.ones(1))], {})
    text = result._repr_html_()
    if page:
        text = report.write([result, result], tmp_path / "page.html").read_text()
        assert HOSTILE in "".join(Tags(text).data[-3:])
    seen = Tags(text)
    assert not {"script", "b", "img", "link", "iframe"} & set(seen.tags)
    assert set(seen.labels) == {f"alt of {HOSTILE}"}
    assert "".join(seen.data).count(HOSTILE) >= 7
    assert "<script" not in text


def test_the_contents_lead_to_the_sections(tmp_path):
    sections = [Section(f"part {i}", "") for i in range(4)] + [Section("", "more")]
    result = Finding("a", "b?", "c", sections=sections)
    for results, count in ((result, 1), ([result, result], 2)):
        seen = Tags(report.write(results, tmp_path / "page.html").read_text())
        assert len(set(seen.targets)) == 4 * count
        assert seen.targets == [f"#{name}" for name in seen.ids]


def test_a_picture_takes_the_page_s_colour_of_text(measured):
    text = drawing.svg(finding(measured).figures[0])
    assert text.startswith('<svg role="img" aria-label="alt of one"')
    assert "currentColor" in text
    assert "#000000" not in text
    assert "http" not in text


def test_plot_draws_into_the_axes_given(measured):
    ax = Canvas().add_subplot()
    assert measured.plot(ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.1, np.inf])
    assert measured.plot().lines[0].get_label() == "one"
    with pytest.raises(ValueError, match="one of the 1 pictures of a measured one, got 1"):
        measured.plot(figure=1)


def test_values_are_strict_json(measured):
    text = json.dumps(measured.to_dict(), allow_nan=False)
    assert json.loads(text) == {
        "verdict": "one: 2 pairs",
        "pairs": [{"x": 0.1, "y": [1.0, None]}, {"x": None, "y": [0.0, 0.0]}],
        "nested": [
            {"verdict": "inner: 1 pairs", "pairs": [{"x": 0.1, "y": [1.0, None]}], "nested": []}
        ],
    }
    claim = dataclasses.replace(finding(measured), expected="more", holds=False)
    assert (claim.to_dict()["expected"], claim.to_dict()["holds"]) == ("more", False)
    body = report.record(claim)
    assert (body["seed"], body["command"]) == (7, "one")
    assert body["versions"]["jax"] == jax.__version__


def test_rows_become_a_data_frame(measured):
    assert measured.to_dataframe()["x"].tolist() == [0.1, np.inf]
    with pytest.raises(ValueError, match="expected a result that is a table, got a"):
        Finding("a", "b", "c").to_dataframe()


def test_files_hold_all_of_it_to_the_bit(measured, tmp_path):
    measured.save(tmp_path / "m.npz")
    back = Measured.load(tmp_path / "m.npz")
    assert isinstance(back.other, Measured)
    assert isinstance(back.pairs[0], Pair)
    assert back.params["kernel"].tobytes() == measured.params["kernel"].tobytes()
    assert back.pairs[0].y.tobytes() == measured.pairs[0].y.tobytes()
    assert back.pairs[1].y.dtype == np.float32
    assert back.params["state"] == (None, "s")


def test_parameters_of_one_s_own_classes_are_allowed_by_name(tmp_path):
    class Net(NamedTuple):
        w: np.ndarray

    Measured("m", [], Net(np.ones(2))).save(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="got Net"):
        Measured.load(tmp_path / "m.npz")
    assert Measured.load(tmp_path / "m.npz", types=[Net]).params.w.tolist() == [1.0, 1.0]


def test_long_tables_are_cut_where_they_are_printed():
    lines = str(Table(["n", "m"], [[str(i), "x"] for i in range(100)])).splitlines()
    assert len(lines) == 42
    assert lines[-1] == "… and 60 rows more"


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="expected a result of jaxml, got dict"):
        finding({})
