"""The notebooks of the docs run, and every result in them shows itself."""

import html
import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
NOTEBOOKS = Path(__file__).parent.parent / "docs/notebooks"
pytestmark = pytest.mark.slow

# what the results of each begin with, in their order
SHOWN = {
    "where_did_my_optimiser_stop": [
        r"not a critical point: .*next: find_minimum",
        r"a minimum \(certified\): λ_min = 0\.002194",
        r"not a minimum but a saddle \(certified\): λ_min = -0\.01048 .*index 1 of 18; ",
        r"the loss falls from 0\.0440278 to .* along the direction",
        r"not a minimum but a saddle .* Critical points around it: .*lowest minimum 0\.0431677",
        r"loss 0\.04403 to .*; the lowest at \(0, 0\)",
        r"not a minimum: .* negative eigenvalues",
        r"eigenvalues: largest of those sought",
        r".* of 1,210 eigenvalues within",
        r".* at 95%\) \(60 products\)",
        r"not a critical point: ",
        r"not a critical point: ",
    ],
    "which_batch_size_which_rate": [
        r"take about 0\.\d+, where the loss fell most steeply",
        r"best: momentum, β = 0\.9, B = \d+",
        r"use momentum, B = \d+, η = .*, β = 0\.9: \d+ updates",
        r"B_simple 54\.\d+ ",
    ],
    "a_training_and_the_course": [
        r"accuracy .* → .*; loss .* → ",
        r".*loss at last .* over 8 lanes",
        r"The origin is a saddle: eigenvalues -2 and 2; ",
        r"From w = −4 gradient descent ends at -0\.86 .*, momentum at 4\.00",
        r"a degenerate critical point, ",
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_notebook(name, tmp_path):
    notebook = jupytext.read(NOTEBOOKS / f"{name}.py")
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    outputs = [
        output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    found = [re.search('class="verdict">(.*?)</p>', data.get("text/html", "")) for data in outputs]
    verdicts = [html.unescape(match[1]) for match in found if match]
    for verdict, expected in zip(verdicts, SHOWN[name], strict=True):
        assert re.match(expected, verdict), verdict
    plain = [data.get("text/plain", "") for data in outputs]
    assert verdicts[0] in [text.split("\n")[0] for text in plain]  # without a browser
    if name == "a_training_and_the_course":
        assert any("training 600 of 600" in text for text in plain)
        assert any("image/png" in data for data in outputs)


def test_no_notebook_is_left_out():
    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == {*SHOWN}
