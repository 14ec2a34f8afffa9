"""Every example runs as its header says, and shows what the header expects."""

import lzma
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from jaxml.data import loaders

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.slow


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(tmp_path):
    out = run([EXAMPLES / "quickstart.py", "out.html"], tmp_path)
    assert "after Adam: not a critical point" in out
    assert "polished: a minimum (certified)" in out
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_own_network(tmp_path):
    target = f"{EXAMPLES / 'own_network.py'}:problem"
    out = run(["-m", "jaxml.cli", "landscape", target, "--out", "here"], tmp_path)
    assert out.startswith("not a critical point: ")
    assert "Searches from it and around it" in out
    saddles = [line for line in out.splitlines() if re.match(r"saddle .* of 51 ", line)]
    assert len(saddles) >= 3
    assert all("minimum, loss 0.20" in line for line in saddles)
    assert (tmp_path / "here/report.html").is_file()
    assert (tmp_path / "here/critical_points.json").is_file()


def test_lag_features(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXML_DATA", str(tmp_path / "cache"))
    lines = run([EXAMPLES / "lag_features.py"], tmp_path).splitlines()
    assert lines[0] == "same day last week: 3.31"
    assert [line.split() for line in lines[1:]] == [
        [lags, "days:", f"{error},", "least", "squares", error]
        for lags, error in (("1", "6.62"), ("7", "3.07"), ("28", "2.48"), ("56", "2.38"))
    ]


def test_forecast(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXML_DATA", str(tmp_path / "cache"))
    lines = run([EXAMPLES / "forecast.py", "forecast.html"], tmp_path).splitlines()
    error, before, inside = re.search(r"by (\S+) thousand .* by (\S+); (\d+)%", lines[0]).groups()
    assert float(error) < 1.6
    assert before == "3.31"
    assert 72 <= int(inside) <= 88
    groups = [line.split() for line in lines if re.match(r"[A-Z]\w+day |\w+(er|ing|umn) ", line)]
    assert len(groups) == 7 + 4
    assert all(float(own) < float(week) for _, own, week, _ in groups)
    assert (tmp_path / "forecast.html").stat().st_size > 10_000


@pytest.mark.skipif(
    shutil.which("gnugo", path="/usr/games:/usr/local/bin:/usr/bin") is None, reason="needs gnugo"
)
def test_go_self_play(tmp_path):
    assert run([EXAMPLES / "go_self_play.py", 2, "games.sgf"], tmp_path) == "2 games in games.sgf\n"
    games = lzma.decompress((resources.files(loaders) / "go_games.sgf.xz").read_bytes())
    assert (tmp_path / "games.sgf").read_bytes().splitlines() == games.splitlines()[:2]


def test_many_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    assert "on 8 devices" in run([EXAMPLES / "many_devices.py"], tmp_path)


def test_leaving_saddles(tmp_path):
    out = run([EXAMPLES / "leaving_saddles.py", "out.png"], tmp_path)
    saddle, stays, hooked, perturbed = map(float, re.findall(r"loss (0\.\d{4})\b", out)[:4])
    assert abs(stays - saddle) < 0.1 * saddle
    assert "the unit's largest weight 0\n" in out
    assert max(hooked, perturbed) < 2 / 3 * saddle
    newton, *adam = (int(n.replace(",", "")) for n in re.findall(r"0.0125 after ([\d,]+)", out))
    assert 0 < 20 * newton < min(adam)
    newton, *adam = map(float, re.findall(r"^    (0\.\d{5}) after", out, re.MULTILINE))
    assert abs(newton / min(adam) - 1) < 0.05
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_surfaces(tmp_path):
    out = run([EXAMPLES / "surfaces.py"], tmp_path)
    assert "% of the path's variance lie along 2 components" in out
    line, curve = re.search(r"barrier (\S+) on the straight line, (\S+) on a curve", out).groups()
    assert float(line) > 0.1
    assert float(curve) < 0.01
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"plane.png", "trajectory.png", "connection.png"}


def test_linear_autoencoder(tmp_path):
    out = run([EXAMPLES / "linear_autoencoder.py", "out.html"], tmp_path)
    assert "176 of 176 critical points agree" in out
    assert "175 saddles and 1 minimum" in out
    assert float(re.search(r"gradients at most (\S+)\.", out)[1]) < 1e-15
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_index_and_loss(tmp_path):
    out = run([EXAMPLES / "index_and_loss.py", "out.html"], tmp_path)
    searches = re.findall(r"(\d+) of 300 +(\d+) of \1 +(\d+) of 176 +(\S+)$", out, re.MULTILINE)
    means = []
    for reached, true, different, mean in searches:
        assert int(reached) >= 290
        assert int(true) >= int(reached) - 1
        assert 50 < int(different) < 110
        means.append(float(mean))
    low, high = means
    assert low < 9
    assert high > 16
    wrong = [int(count) for count in re.findall(r"e-0\d  (\d+)$", out, re.MULTILINE)]
    assert wrong[0] > wrong[1] > 60
    assert wrong[2] < 20
    assert wrong[3] == 0
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_gradient_flat(tmp_path):
    out = run([EXAMPLES / "gradient_flat.py", "out.html"], tmp_path)
    missed, flat = map(int, re.search(r"(\d+) of 200 searches miss .* and (\d+) of", out).groups())
    correlations = [float(value) for value in re.findall(r"(0\.\d{3}) \(", out)]
    assert 120 <= missed <= 155
    assert flat >= 0.98 * missed
    assert np.allclose(correlations, [0.887, 0.905, 0.947], atol=0.03)
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_spectrum_outliers(tmp_path):
    out = run([EXAMPLES / "spectrum_outliers.py", "out.html"], tmp_path)
    rows = re.findall(r"^step ([\d,]+) .* (\S+)  +(\d+) \(ratio", out, re.MULTILINE)
    assert [step for step, _, _ in rows] == ["0", "100", "300", "1,000"]
    ratios = [float(ratio) for _, ratio, _ in rows]
    assert np.allclose(ratios, [1.69, 1.87, 1.61, 1.19], rtol=0.1)
    assert [after for _, _, after in rows[:3]] == ["9", "9", "9"]
    assert rows[3][2] != "9"
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_edge_of_stability(tmp_path):
    lines = run([EXAMPLES / "edge_of_stability.py", "edge.html"], tmp_path).splitlines()
    found = [re.match(r"(.*): λ_max / threshold (\S+)", line) for line in lines]
    ratios = {match[1]: float(match[2]) for match in found if match}
    assert abs(ratios["gradient descent, η = 0.4"] - 1.005) < 0.02
    assert abs(ratios["gradient descent, η = 0.8"] - 1.039) < 0.02
    assert abs(ratios["heavy ball, η = 0.5"] - 0.96) < 0.05
    assert abs(ratios["Adam, η = 0.005"] - 1) < 0.05
    assert "cross-entropy never exceeds 0.2" in lines[-2]
    assert (tmp_path / "edge.html").stat().st_size > 10_000


def test_find_saddles(tmp_path):
    out = run([EXAMPLES / "find_saddles.py"], tmp_path)
    sections = re.split(r"^(?=\S)", out, flags=re.MULTILINE)
    found = {part.split(":")[0]: part.count("index 1, certified") for part in sections}
    counts = {"Müller and Brown": 2, "camel": 7, "six atoms": 3, "seven atoms": 12}
    assert {name: found[name] for name in counts} == counts
    assert found["linear autoencoder"] == 1
    assert "   2.00000  index 1, certified" in out
    assert "between them: not a minimum but a saddle (certified)" in out
    assert "saddle (certified): loss 0.6265" in out
    line, curve = map(float, re.findall(r"line (\S+), on the fitted curve (\S+)", out)[0])
    assert 0.6266 < curve < line


def test_lennard_jones(tmp_path):
    out = run([EXAMPLES / "lennard_jones.py"], tmp_path)
    assert out.count("degenerate, 6 eigenvalues within") == 2
    assert out.count("on the quotient a minimum (certified): λ_min") == 2
    assert out.count("6 modes of symmetries") == 2
    for loss in ("loss -6,", "loss -12.7121,"):
        assert loss in out
    assert "linear trimer: not a minimum but a saddle (certified)" in out
    assert "saddle (certified): loss -2.03112" in out
    assert "index 2 of 9, 5 modes of symmetries" in out
    assert "saddle of index 1 at -12.0790" in out
    assert out.endswith("different minima: -12.712062, -12.302928\n")


def test_no_example_is_left_out():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names <= {name.removeprefix("test_") for name in globals()}
