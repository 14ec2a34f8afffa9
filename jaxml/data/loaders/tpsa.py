"""Polar surface areas of molecules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.molecules import ATOM_COLUMNS, BONDS, compact, expanded, read_smiles
from jaxml.data.sources import Arrays, File, address, debian_packages
from jaxml.data.splits import generator
from jaxml.data.splits import split as split_rows

_FILES = (
    File(
        "first_5k.tpsa.csv",
        "7c3dbaa546a317bcf8239e979d829b230b4d02b02cfe92ecffe5de2c8b222b7f",
    ),
)


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from lines of a SMILES, a comma and an area; `#` begins a comment.

    Raises:
        ValueError: as `read_smiles`.
    """
    lines = [line for line in contents[0].decode().splitlines() if not line.startswith("#")]
    smiles, areas = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
    molecules = [read_smiles(one) for one in smiles]
    from rdkit import Chem  # noqa: PLC0415 - of an extra, which read_smiles asks for

    known: dict[str, int] = {}
    # one number for all that are the same graph, however written and whatever their handedness
    canonical = (Chem.MolToSmiles(molecule, isomericSmiles=False) for molecule in molecules)
    number = [known.setdefault(one, len(known)) for one in canonical]
    return {
        **compact(molecules),
        "y": np.array(areas, np.float32),
        "molecule": np.array(number, np.int32),
    }


TPSA = Fetched(
    meta={
        "name": "tpsa",
        "task": "regression",
        "description": "molecules as graphs, and their topological polar surface area",
        "source": "the first 5,000 of the National Cancer Institute's open database; RDKit",
        "licence": "BSD-3-Clause, as RDKit",
        "citation": "Ertl, P., Rohde, B. & Selzer, P. (2000). Fast calculation of molecular polar "
        "surface area as a sum of fragment-based contributions. Journal of Medicinal Chemistry "
        "43(20), 3714-3717. doi:10.1021/jm000942e",
    },
    counts={"train": 3999, "validation": 497, "test": 503},
    sha256="022543db998c8f9b2935183f6dbef878ace6f878198d74b11a5e7eca7bc846be",
    sources=(
        address(
            "https://raw.githubusercontent.com/rdkit/rdkit/Release_2022_09_3/Data/NCI/",
            _FILES,
            read,
            size=199_096,
        ),
        debian_packages(["rdkit-data"], "/usr/share/RDKit/Data/NCI", _FILES, read, size=13_100_308),
    ),
)


def tpsa(*, validation: float = 0.1, test: float = 0.1, seed: int = 0) -> Dataset:
    """4,999 molecules and the area of their polar parts; fetched when first needed.

    The area is a sum over nitrogen and oxygen atoms, each by its bonds, hydrogens and charge.
    Split at random by molecule, so that one that comes again, however it is written and also as its
    mirror image, is in one split. The package rdkit (`jaxml[chemistry]`), which reads molecules, is
    needed to fetch it, not to load it.

    Args:
        validation: fraction of the molecules, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` float32 `(N, 122, 13)`, `adjacency` uint8 `(N, 122, 122)` and `x_length` int32 `(N,)`,
        as `molecular_graphs`; `y` float32 `(N,)`, in square ångström. `meta["atom_columns"]` and
        `meta["bonds"]` name the columns of `x` and the numbers of `adjacency`.

    Raises:
        ValueError: if an option is out of range, or the set cannot be fetched or cached.

    Reference:
        Ertl, Rohde & Selzer (2000), Journal of Medicinal Chemistry 43:3714-3717.
    """
    rng = generator(seed)
    arrays, _ = fetch(TPSA)
    rows = {**expanded(arrays), "y": arrays["y"]}
    numbers = {"x": np.arange(arrays["molecule"].max() + 1)}
    parts = split_rows(numbers, validation=validation, test=test, rng=rng)

    def taken(part: Split | None) -> Split | None:
        if part is None:
            return None
        chosen = np.isin(arrays["molecule"], part["x"])
        return {name: values[chosen] for name, values in rows.items()}

    train, held_out, last = map(taken, parts)
    assert train is not None  # split leaves one row at least
    meta = {**TPSA.meta, "atom_columns": ATOM_COLUMNS, "bonds": BONDS}
    return Dataset(train, held_out, last, meta=meta)
