"""Every example runs as its header says, and shows what the header expects."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.slow


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(tmp_path):
    out = run([EXAMPLES / "quickstart.py", "out.html"], tmp_path)
    assert "after Adam: not critical" in out
    assert "polished: minimum (certified)" in out
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_own_network(tmp_path):
    target = f"{EXAMPLES / 'own_network.py'}:problem"
    out = run(["-m", "jaxml.cli", "landscape", target, "--out", "here"], tmp_path)
    assert out.startswith("not critical: ")
    assert "searches from it and around it" in out
    rows = [line.split() for line in out.splitlines()]
    assert {"minimum", "saddle"} <= {words[0] for words in rows if words}
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


def test_many_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    assert "on 8 devices" in run([EXAMPLES / "many_devices.py"], tmp_path)


def test_leaving_saddles(tmp_path):
    out = run([EXAMPLES / "leaving_saddles.py", "out.png"], tmp_path)
    number = r"loss ([0-9.]+)"
    saddle, stays, hooked, perturbed, newton, *adam = map(float, re.findall(number, out))
    assert abs(stays - saddle) < 0.1 * saddle
    assert "the unit's largest weight 0\n" in out
    assert max(hooked, perturbed) < 2 / 3 * saddle
    assert newton < min(adam)
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_no_example_is_left_out():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"quickstart", "own_network", "lag_features", "leaving_saddles", "many_devices"}
