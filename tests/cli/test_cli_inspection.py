"""`jaxml landscape` of one point: a run, a series, a user's own, stopped and gone on with."""

import json
import os
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxml import landscape
from jaxml.cli import main
from jaxml.cli.commands import inspection
from jaxml.cli.commands.landscape import Landscape
from jaxml.core.flops import flops


def run(command, capsys, code=0):
    got = main(command.split())
    captured = capsys.readouterr()
    assert got == code, captured.err
    return (captured.err if code == 2 else captured.out).splitlines()


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = "--data two_spirals --hidden 8 --steps 40 --checkpoint-every 10 --keep 9"
    run(f"train mlp {options} --out run", capsys)
    return Path("run")


EVERYTHING = (
    "landscape run --top 2 --lowest 1 --index --sharpness --density --layers "
    "--surface trajectory --points 5 --probes 2 --checkpoints all --memory 1GiB --out look"
)


@pytest.mark.slow
def test_a_series_of_a_run_with_every_part(trained, capsys):
    lines = run(EVERYTHING, capsys)
    assert [line.split(":")[0] for line in lines[:4]] == [f"step {10 * k}" for k in (1, 2, 3, 4)]
    record = json.loads(Path("look/inspection.json").read_text())
    assert [at["step"] for at in record["series"]] == [10, 20, 30, 40]
    assert record["surface"]["kind"] == "trajectory"
    assert {"index", "sharpness", "density", "layers", "eigenpairs"} <= set(record)
    page = Path("look/report.html").read_text()
    assert "Along the training" in page
    assert "Is the picture right?" in page


@pytest.mark.slow
def test_stopped_and_gone_on_with(trained, monkeypatch, capsys):
    run(EVERYTHING, capsys)
    whole = json.loads(Path("look/inspection.json").read_text())
    density = landscape.spectral_density

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        return density(*arguments, **options)

    again = EVERYTHING.replace("--out look", "--out again")
    with monkeypatch.context() as patch:
        patch.setattr(landscape.inspection_parts, "spectral_density", interrupted)
        lines = run(again, capsys, 130)
    assert any("again/report.html" in line for line in lines)
    assert "Sharpness" in Path("again/report.html").read_text()
    assert "surface" not in json.loads(Path("again/inspection.json").read_text())
    run("landscape --resume again", capsys)
    ended = json.loads(Path("again/inspection.json").read_text())
    for name in ("surface", "density", "sharpness"):
        assert ended[name] == whole[name]
    np.testing.assert_allclose(
        ended["eigenpairs"]["values"], whole["eigenpairs"]["values"], rtol=1e-4
    )


@pytest.mark.slow
def test_a_point_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "import numpy as np\n"
        "def small():\n    return lambda w: (w**4).sum(), np.ones(5, np.float32)\n"
    )
    assert "±" in "".join(run("landscape own.py:small --top 1 --lowest 1", capsys))
    for command, expected in {
        "own.py:small --top 1 --searches 3": "--searches where critical points are sought",
        "own.py:small --checkpoints all": "--checkpoints of a run",
        "own.py:small --top 1 --rows 9": "--rows of a run, got 9",
        "--rows 9": "--rows only with a target",
        "own.py:small --top 1 --memory much": "memory as 2GiB",
        "own.py:small --surface sideways": "plane",
        "--density": "--density only with a target",
    }.items():
        assert expected in run(f"landscape {command}", capsys, 2)[0]


@pytest.mark.slow
def test_a_point_too_large_for_the_exact_analysis(tmp_path, monkeypatch, capsys):
    """And for a search around it."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "import numpy as np\n"
        "def large():\n    return lambda w: (w**4).sum(), np.ones(4000, np.float32)\n"
    )
    assert "4,000 parameters" in "".join(run("landscape own.py:large", capsys))


@pytest.mark.slow
def test_checkpoints_of_a_run(trained, capsys):
    lines = run("landscape run --checkpoints 20,40 --top 1 --lowest 0", capsys)
    assert [line.split(":")[0] for line in lines[:2]] == ["step 20", "step 40"]
    assert "steps among 10, 20" in run("landscape run --checkpoints 7", capsys, 2)[0]
    assert "three at least" in run("landscape run --surface trajectory", capsys, 2)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2GiB", 2**31), ("500 MB", 500 * 2**20), ("1.5k", 1536), ("1000", 1000), (None, None)],
)
def test_memory(text, expected):
    assert inspection.memory_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "2 apples", "nan"])
def test_no_memory(text):
    with pytest.raises(ValueError, match="memory as 2GiB"):
        inspection.memory_bytes(text)


@pytest.mark.slow
def test_of_sequences_some_rows_are_taken(tmp_path, monkeypatch, capsys):
    """A product over 1,000 takes so much less than one over all; whose loss it is stands there."""
    monkeypatch.chdir(tmp_path)
    options = "--width 8 --layers 1 --heads 2 --steps 2 --checkpoint-every 2"
    run(f"train transformer --data number_words {options} --out run", capsys)
    points = [
        inspection.of_run(Landscape(rows=rows), Path("run"), 0) for rows in (None, 50, 1_000_000)
    ]
    count = len(points[2].loss.batch["x"])
    assert [len(point.loss.batch["x"]) for point in points] == [1000, 50, count]
    assert count > 5000
    work = [flops(jax.grad(point.loss), point.params) for point in points]
    assert work[0] <= 1000 / count * work[2]
    said = f"The loss over 50 of the {count:,} rows to train on, drawn at random"
    assert said in points[1].about["rows"]
    assert "rows" not in points[2].about

    asked = "--rows 50 --top 1 --lowest 0 --tolerance 0.1 --out look"
    assert said in " ".join(run(f"landscape run {asked}", capsys))
    assert said in " ".join(Path("look/report.html").read_text().split())
    assert said in json.loads(Path("look/inspection.json").read_text())["rows"]


def test_rows_are_drawn_whole_and_once():
    length = np.arange(20) % 5 + 1
    inside = np.arange(6) < length[:, None]
    rows = {"x": np.where(inside, np.arange(20)[:, None] + 1, 0), "x_length": length,
            "y": np.where(inside, np.arange(20)[:, None] + 1, 0), "mask": inside}  # fmt: skip
    taken = inspection.drawn(rows, 7, 0)
    which = taken["x"][:, 0] - 1
    assert len({*which.tolist()}) == 7
    for i, row in enumerate(which):
        for name in ("x", "y", "mask"):
            cut = taken[name].shape[1]
            assert cut == length[which].max()
            np.testing.assert_array_equal(taken[name][i], rows[name][row, :cut])
    assert (inspection.drawn(rows, 7, 0)["x"] == taken["x"]).all()
    assert (inspection.drawn(rows, 7, 1)["x"] != taken["x"]).any()
