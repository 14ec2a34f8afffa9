"""Every experiment runs quickly and holds; names, pages, records and tables agree."""

import html
import re
import shutil

import numpy as np
import pytest
from matplotlib import pyplot

from jaxml import course
from jaxml.cli.main import main
from jaxml.core.finding import Finding, Section
from jaxml.course import (
    chapter_01,
    chapter_02,
    chapter_03,
    chapter_04,
    chapter_05,
    chapter_06,
    chapter_08,
    pages,
    pictures,
    records,
)

FAST = {
    "course-saddle", "fused-logits", "hard-sigmoid", "leaderboard", "bad-samples",
    "mean-and-median", "mse-softmax", "rate-decay", "rmsprop-forgets",
    "saddle-to-saddle", "softmax-sigmoid", "step-and-slope", "updates-per-epoch",
}  # fmt: skip
"""Those of less than two seconds."""


CHAPTERS = (
    chapter_01,
    chapter_02,
    chapter_03,
    chapter_04,
    chapter_05,
    chapter_06,
    chapter_08,
)


def marked(experiment):
    slow = () if experiment.name in FAST else (pytest.mark.slow,)
    return pytest.param(experiment, id=experiment.name, marks=slow)


@pytest.mark.parametrize("experiment", [marked(e) for e in course.experiments()])
def test_it_holds_quickly(experiment):
    if experiment.name == "edge-threshold" and shutil.which("npm") is None:
        pytest.skip("its data need npm")
    if experiment.name == "speech-recognition" and shutil.which("espeak-ng") is None:
        pytest.skip("a part of its data is made by espeak-ng")
    found = course.perform(experiment)
    assert found.holds, found.verdict
    assert found.name == experiment.name
    assert found.provenance["command"] == f"jaxml course {experiment.name}"
    assert len(found.figures) > 0
    assert all(
        len(figure.alt.split()) >= 5 and figure.alt.endswith(".") for figure in found.figures
    )
    assert len(found.numbers) > 0
    assert experiment.claim in found.text[0]
    assert "nan" not in found.verdict
    for i in range(len(found.figures)):
        found.plot(figure=i)
        pyplot.close()


def test_names_are_unique_and_chapters_in_order():
    names = [experiment.name for experiment in course.experiments()]
    assert len(names) == len(set(names)) >= 30
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert not any(name.isdecimal() for name in names)  # which would be a chapter
    assert [chapter.number for chapter in course.CHAPTERS] == list(range(1, 16))
    for chapter in course.CHAPTERS:
        assert all(experiment.chapter == chapter.number for experiment in chapter.experiments)
        assert chapter.experiments or chapter.missing


def test_every_chapter_s_experiments_are_in_the_index():
    listed = [e for c in CHAPTERS for e in c.EXPERIMENTS]
    assert tuple(listed) == course.experiments()


def fake(name, holds=True):
    figure = pictures.curves({"y": [1, 2, 3]}, "A line <rises>.")
    return Finding(
        name=name, question="Does it rise?", verdict="It does.", expected="it rises", holds=holds,
        sections=[Section("Line", figures=[figure])], numbers={"end": np.float32(3)},
    )  # fmt: skip


def experiment_of(run, name="line"):
    return course.Experiment(name, 1, "lines rise", "Euclid", run, 1, "Turn it.")


def test_perform_says_how_it_was_run():
    found = course.perform(experiment_of(lambda effort: fake("line")), "full")
    assert found.provenance["command"] == "jaxml course line --full"
    assert {"seed", "versions", "device", "date", "seconds"} < set(found.provenance)
    assert found.text == ("The claim: lines rise (Euclid).",)
    assert found.sections[-1].text == "Turn it. The experiment again: jaxml course line --full"


def test_perform_refuses():
    with pytest.raises(ValueError, match=r"effort to be one of quick, full, got 'quik'"):
        course.perform(experiment_of(lambda effort: fake("line")), "quik")
    for other in (fake("another"), fake("line", holds=None)):
        with pytest.raises(ValueError, match="a finding of line that says whether it holds"):
            course.perform(experiment_of(lambda effort, other=other: other))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("saddle-escpe", "(did you mean 'saddle-escape'?)"),
        ("<script>", "got '<script>'"),
        ("../../etc", "got '../../etc'"),
        ("0", "a chapter from 1 to 15, got 0"),
        ("16", "a chapter from 1 to 15, got 16"),
        ("7", "a chapter with experiments, got 7"),
    ],
)
def test_what_is_not_there_is_refused(what, message, capsys, tmp_path):
    assert main(["course", what, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_or_all(capsys):
    assert main(["course", "1", "--all"]) == 2
    assert "a chapter, an experiment or --all" in capsys.readouterr().err


def test_the_list(capsys):
    assert main(["course"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if re.match(r" ?\d+ ", line)]
    assert len(titles) == 15
    for experiment in course.experiments():
        assert sum(line.split()[0] == experiment.name for line in lines) == 1


def test_one_experiment_s_page(capsys, tmp_path):
    assert main(["course", "hard-sigmoid", "--out", str(tmp_path / "deep" / "out")]) == 0
    path = tmp_path / "deep" / "out" / "hard-sigmoid.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    page = path.read_text()
    assert "Now change this" in page
    assert "jaxml course hard-sigmoid" in page
    assert page.count("<svg") == 1


def test_pages_of_a_chapter_and_of_all(tmp_path):
    chapter = course.CHAPTERS[0]
    found = {e.name: fake(e.name, holds=e.name != "divergence") for e in chapter.experiments}
    page = pages.write_chapter(chapter, [*found.values()], tmp_path / "1.html").read_text()
    count = len(chapter.experiments)
    assert f"{count - 1} of {count} experiments hold; not: divergence" in page
    assert chapter.question in page
    assert f"Not yet here: {chapter.missing}." in page
    assert page.count("<svg") == count

    index = pages.write_index(found, tmp_path / "index.html").read_text()
    assert f"{count - 1} of {count} experiments hold" in index
    assert 'href="chapter-01.html"' in index
    assert index.count("<h2>") == 15
    assert index.count("<svg") == count
    assert "A line &lt;rises&gt;." in index
    assert "does not hold: divergence" in index
    for chapter in course.CHAPTERS:
        assert html.escape(chapter.missing) in index


def test_a_record_keeps_what_was_found(tmp_path):
    experiment = experiment_of(lambda effort: fake("line"))
    found = course.perform(experiment)
    records.write_record(experiment, found, tmp_path)
    known = records.read_records(tmp_path)["line"]
    assert known["numbers"] == {"end": 3.0}
    assert known["holds"] is True
    assert known["verdict"] == "It does."
    assert known["figures"] == ["A line <rises>."]
    assert {"versions", "date", "seed", "command", "seconds"} < set(known)
    assert records.last_recorded(known) == f"holds, {known['date']}"
    assert records.last_recorded(None) == "not recorded"
    assert records.read_records(tmp_path / "nowhere") == {}


def test_the_table_counts_what_holds():
    known = {"divergence": {"holds": True}, "ols-contour": {"holds": False}}
    lines = records.summary(known).splitlines()
    assert len(lines) == 2 + 15
    assert lines[2].startswith("| 1 Basics | 1 of 2 |")
    assert lines[6].startswith("| 5 Transformer |  | the speech")


def test_what_is_made_stands_between_the_markers():
    text = f"before\n{records.BEGIN}\nold\n{records.END}\nafter"
    assert records.between(text, "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="expected one <!-- made by"):
        records.between("no markers", "new")


@pytest.mark.parametrize("path", list(records.PAGES), ids=lambda path: path.name)
def test_the_pages_equal_the_records(path):
    text = path.read_text()
    assert records.between(text, records.PAGES[path](records.read_records())) == text


REFUTED = {
    "back-translation", "deep-against-fat", "flow-density", "machine-translation",
    "one-class-digits", "rate-distortion", "ring-of-eight", "speech-recognition", "stress",
    "transformer-curvature", "voices-held-out", "word-rewards",
}  # fmt: skip
"""Those whose full run does not bear out what was expected."""


def test_records_are_of_experiments_and_hold():
    known = records.read_records()
    assert set(known) <= {experiment.name for experiment in course.experiments()}
    assert len(known) >= 30
    assert {name for name, record in known.items() if not record["holds"]} == REFUTED
