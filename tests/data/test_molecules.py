"""Molecules as graphs, worked out by hand; the polar surface areas of those without nitrogen."""

import itertools
import sys

import numpy as np
import pytest

from jaxml import data
from jaxml.data.loaders import tpsa
from jaxml.data.molecules import ATOM_COLUMNS, BONDS, SYMBOLS


@pytest.fixture(autouse=True)
def _rdkit():
    pytest.importorskip("rdkit")


def told(row):
    """What is not 0 of an atom, by its name."""
    return {name: float(v) for name, v in zip(ATOM_COLUMNS, row, strict=True) if v}


def bonds(adjacency):
    return {(int(i), int(j)): BONDS[adjacency[i, j]] for i, j in np.argwhere(np.triu(adjacency))}


def test_a_molecule_by_hand():
    graphs = data.molecular_graphs(["C[N+](=O)[O-]", "N#CO"])
    assert {name: (v.shape, str(v.dtype)) for name, v in graphs.items()} == {
        "x": ((2, 4, 13), "float32"),
        "adjacency": ((2, 4, 4), "uint8"),
        "x_length": ((2,), "int32"),
    }
    assert [told(row) for row in graphs["x"][0]] == [
        {"C": 1, "hydrogens": 3},
        {"N": 1, "charge": 1},
        {"O": 1},
        {"O": 1, "charge": -1},
    ]
    assert bonds(graphs["adjacency"][0]) == {
        (0, 1): "single",
        (1, 2): "double",
        (1, 3): "single",
    }
    assert bonds(graphs["adjacency"][1]) == {(0, 1): "triple", (1, 2): "single"}
    assert graphs["x_length"].tolist() == [4, 3]
    assert not graphs["x"][1, 3:].any()
    np.testing.assert_array_equal(graphs["adjacency"], np.swapaxes(graphs["adjacency"], 1, 2))


def test_rings_are_aromatic_however_they_are_written():
    kekule, aromatic = (
        data.molecular_graphs([s], size=8) for s in ("C1=CC=CC=C1[Hg]", "c1ccccc1[Hg]")
    )
    for name, values in kekule.items():
        np.testing.assert_array_equal(values, aromatic[name])
    assert sorted(bonds(kekule["adjacency"][0]).values()) == ["aromatic"] * 6 + ["single"]
    assert told(kekule["x"][0, 5]) == {"C": 1, "aromatic": 1}
    assert told(kekule["x"][0, 6]) == {"other": 1}
    assert kekule["x"].shape == (1, 8, 13)


def test_too_many_neighbours_are_let_pass():
    graphs = data.molecular_graphs(["F[P](F)(F)(F)(F)F"])
    assert graphs["x_length"].tolist() == [7]
    assert graphs["adjacency"].sum() == 12


@pytest.mark.parametrize(
    ("smiles", "options", "message"),
    [
        (["CC", "C1CC"], {}, "a SMILES, got 'C1CC'"),
        (["nonsense"], {}, "a SMILES, got 'nonsense'"),
        ([""], {}, "a SMILES, got ''"),
        (["c1cccc1"], {}, "a SMILES of a molecule, got 'c1cccc1'"),
        ([], {}, r"a list of SMILES, got \[\]"),
        ("CCO", {}, "a list of SMILES, got 'CCO'"),
        (["CCO"], {"size": 2}, "molecules of at most 2 atoms, got 3"),
    ],
)
def test_refused(smiles, options, message):
    with pytest.raises(ValueError, match=message):
        data.molecular_graphs(smiles, **options)


def test_without_rdkit(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    for call in (lambda: data.molecular_graphs(["C"]), lambda: tpsa.read([b"C,0.0"])):
        with pytest.raises(
            ValueError, match=r"rdkit \(pip install 'jaxml\[chemistry\]'\), got none"
        ):
            call()


def test_a_molecule_that_comes_again_has_one_number():
    arrays = tpsa.read([b"# a comment\nC[C@H](F)O,20.23\nC,0.00\nO[C@H](F)C,20.23\n"])
    assert arrays["molecule"].tolist() == [0, 1, 0]
    assert arrays["y"].tolist() == np.float32([20.23, 0, 20.23]).tolist()


def oxygens(x, adjacency):
    """The area of a molecule without nitrogen, of Ertl's table; NaN for what is not in it."""
    areas = {  # bonds, hydrogens, charge
        ("double", 0, 0): 17.07,
        ("single single", 0, 0): 9.23,
        ("single", 1, 0): 20.23,
        ("single", 0, -1): 23.06,
        ("aromatic aromatic", 0, 0): 13.14,
    }
    total = 0.0
    for i in np.flatnonzero(x[:, SYMBOLS.index("O")]):
        others = np.flatnonzero(adjacency[i])
        kinds = " ".join(sorted(BONDS[adjacency[i, j]] for j in others))
        area = areas.get((kinds, int(x[i, -3]), int(x[i, -2])), np.nan)
        ring = len(others) == 2 and adjacency[others[0], others[1]]
        total += 12.53 if ring and area == 9.23 else area
    return total


@pytest.mark.slow
def test_areas_are_those_of_the_table(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXML_DATA", str(tmp_path))
    molecules = data.load("tpsa")
    whole = molecules.everything()
    assert len(whole["y"]) == 4999
    assert (whole["y"].mean(), whole["y"].std()) == (
        pytest.approx(55.0, abs=0.05),
        pytest.approx(42.3, abs=0.05),
    )
    plain = ~whole["x"][..., SYMBOLS.index("N")].any(1)
    found = np.array(
        [oxygens(*pair) for pair in zip(whole["x"][plain], whole["adjacency"][plain], strict=True)]
    )
    known = np.isfinite(found)
    assert known.sum() > 1000
    off = abs(found - whole["y"][plain])[known]
    assert (off > 0.02).sum() == 0, np.sort(off)[-5:]
    # a molecule is in one split; two with different metals may be the same graph
    metal = SYMBOLS.index("other")
    seen = [
        {
            (x.tobytes(), a.tobytes())
            for x, a in zip(s["x"], s["adjacency"], strict=True)
            if not x[:, metal].any()
        }
        for s in molecules.splits.values()
    ]
    assert not any(a & b for a, b in itertools.combinations(seen, 2))
