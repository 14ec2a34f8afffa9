"""Whoever bounds the memory gets another method, or an error that says what it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import within_memory

BOUND = 2 * 2**30
SIZES = {"32": 2_410, "128,64": 17_226, "512,512": 301_066}


def figures(folder, what, hidden, bound=BOUND):
    """In a process of its own, which nothing has ended."""
    command = [sys.executable, within_memory.__file__, what, hidden, str(bound)]
    ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    got = json.loads((Path(folder) / "figures.json").read_text())
    print(f"{what} {got['size']:,}: {got['peak'] / 2**20:,.0f} MiB beyond idle, {got['ended']:.99}")
    assert got["size"] == SIZES[hidden]
    assert got["peak"] < bound, got
    return got["ended"]


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.parametrize("hidden", SIZES)
def test_the_command_stays_within_its_memory(tmp_path, hidden):
    assert figures(tmp_path, "command", hidden) == "0"
    record = json.loads((tmp_path / "out/inspection.json").read_text())
    if "index" in record:
        assert (record["index"]["method"] == "dense") == (hidden == "32")


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize(("what", "matrices"), [("dense", 2), ("analyze", 6)])
def test_a_matrix_fits_or_is_refused(tmp_path, what, matrices, hidden):
    ended = figures(tmp_path, what, hidden)
    size = SIZES[hidden]
    if matrices * size**2 * 4 <= BOUND:
        assert not ended.startswith("ValueError")
    else:
        needed = matrices * size**2 * 4 / 2**30
        assert ended.startswith("ValueError: expected at most 2.00 GiB of memory for the dense ")
        stated = float(ended.split("which need ")[1].split(" GiB")[0].replace(",", ""))
        assert needed - 0.005 <= stated <= 1.1 * needed  # it is rounded
        assert "`landscape.eigenpairs`" in ended


def test_eigenvalues_are_counted_by_products_where_no_matrix_fits(tmp_path):
    ended = figures(tmp_path, "count", "128,64")
    assert "of 17,226 eigenvalues" in ended
    assert "(stochastic: " in ended
