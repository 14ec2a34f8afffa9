"""Molecules as graphs: an atom is a node, a bond an edge of one of four kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Split

SYMBOLS = ("C", "N", "O", "S", "P", "F", "Cl", "Br", "I", "other")
ATOM_COLUMNS = (*SYMBOLS, "hydrogens", "charge", "aromatic")
"""What the columns of `x` say of an atom: which element it is, the rest as numbers."""

BONDS = ("none", "single", "double", "triple", "aromatic")
"""What number i stands for in `adjacency`."""


def molecular_graphs(smiles: Sequence[str], *, size: int | None = None) -> Split:
    """Molecules, each written as a SMILES, as graphs of their atoms other than hydrogen.

    A bond that is neither double, triple nor aromatic counts as single. Atoms with more neighbours
    than chemistry allows are taken as they are written.

    Args:
        smiles: one string for each molecule.
        size: atoms to pad to; those of the largest molecule by default.

    Returns:
        `x` float32 `(N, size, 13)`, what `ATOM_COLUMNS` says of each atom (the hydrogens bound to
        it, its formal charge, 1 if it is aromatic), 0 where there is none; `adjacency` uint8
        `(N, size, size)`, the kind of bond, 0 for none, as `BONDS` numbers them; `x_length` int32
        `(N,)`, atoms.

    Raises:
        ValueError: if there is no molecule, one cannot be read (naming it) or is larger than
            `size`, or the package rdkit is not installed.

    Reference:
        Weininger (1988), Journal of Chemical Information and Computer Sciences 28:31-36; Gilmer et
        al. (2017), arXiv:1704.01212, table 1, for what is told of atoms.
    """
    require(not isinstance(smiles, str) and len(smiles) > 0, "a list of SMILES", repr(smiles))
    return expanded(compact([read_smiles(line) for line in smiles], size))


def read_smiles(smiles: str) -> Any:
    """RDKit's molecule of a SMILES, its rings found and their aromatic bonds named.

    Raises:
        ValueError: if it cannot be read or has no atom, or the package rdkit is not installed.
    """
    try:
        from rdkit import Chem, rdBase  # noqa: PLC0415 - of an extra
    except ImportError as error:
        expected = "expected the package rdkit (pip install 'jaxml[chemistry]')"
        raise ValueError(f"{expected}, got none") from error
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles, sanitize=False)
        require(molecule is not None and molecule.GetNumAtoms(), "a SMILES", repr(smiles))
        assert molecule is not None
        molecule.UpdatePropertyCache(strict=False)
        steps = Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES  # too many neighbours are let pass
        failed = Chem.SanitizeMol(molecule, steps, catchErrors=True)
    require(not failed, "a SMILES of a molecule", f"{smiles!r} ({failed})")
    return molecule


def compact(molecules: Iterable[Any], size: int | None = None) -> dict[str, np.ndarray]:
    """Molecules of RDKit as arrays of small whole numbers, which `expanded` makes `x` of."""
    molecules = list(molecules)
    counts = np.array([molecule.GetNumAtoms() for molecule in molecules])
    size = int(counts.max()) if size is None else size
    require(size >= counts.max(), f"molecules of at most {size} atoms", counts.max())
    atoms = np.zeros((len(molecules), size, 4), np.int8)
    adjacency = np.zeros((len(molecules), size, size), np.uint8)
    other = len(SYMBOLS) - 1
    numbers = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    kinds = {name.upper(): i for i, name in enumerate(BONDS)}
    for row, edges, molecule in zip(atoms, adjacency, molecules, strict=True):
        for atom in molecule.GetAtoms():
            row[atom.GetIdx()] = (
                numbers.get(atom.GetSymbol(), other),
                atom.GetTotalNumHs(),
                atom.GetFormalCharge(),
                atom.GetIsAromatic(),
            )
        for bond in molecule.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            edges[i, j] = edges[j, i] = kinds.get(str(bond.GetBondType()), kinds["SINGLE"])
    return {"atoms": atoms, "adjacency": adjacency, "x_length": counts.astype(np.int32)}


def expanded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`x`, `adjacency` and `x_length` as `molecular_graphs` returns them, from `compact`'s."""
    atoms, lengths = arrays["atoms"], arrays["x_length"]
    elements = np.eye(len(SYMBOLS), dtype=np.float32)[atoms[..., 0]]
    x = np.concatenate([elements, atoms[..., 1:].astype(np.float32)], -1)
    x[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    return {"x": x, "adjacency": arrays["adjacency"], "x_length": lengths}
