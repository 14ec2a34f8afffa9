"""What the spectrum of a game shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, RED, ink
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.spectra.game_spectrum import GameSpectrum


@finding.register
def _(point: GameSpectrum) -> Finding:
    complex_ones = int(point.turning.sum())
    right = int(point.growing.sum())
    known = f"{point.size:,}" if point.exact else f"the {len(point.eigenvalues)} that were sought"
    largest = np.real(point.eigenvalues[0]) if len(point.eigenvalues) else np.nan
    tiles = {
        "kind": point.kind,
        "players": f"{len(point.players)}",
        "parameters": f"{point.size:,}",
        "largest real part": f"{largest:.4g}",
        "complex": f"{complex_ones} of {known}",
        "‖v‖": f"{point.field_norm:.2g}",
    }
    if point.stable_step is not None:
        tiles["largest stable step"] = f"{point.stable_step:.4g}"
    text = [
        f"{right} of {known} eigenvalues have a positive real part, {complex_ones} are complex; "
        f"the field that the players follow has the norm {point.field_norm:.2g} here "
        "(0 at an equilibrium)."
    ]
    if point.symmetric is not None:
        text.append(
            f"What turns is {point.antisymmetric:.3g} (Frobenius norm of the antisymmetric part), "
            f"what attracts or repels {point.symmetric:.3g}."
        )
    names = ("kind", "eigenvalues", "bounds", "exact", "field_norm", "norm", "symmetric",
             "antisymmetric", "stable_step", "size")  # fmt: skip
    return Finding(
        name="a point of a game",
        question="Do the players settle here, circle it, or leave?",
        verdict=_motion(point, float(largest)),
        text=text,
        tiles=tiles,
        sections=[
            Section("Eigenvalues of the game's Jacobian", figures=[_plane(point)]),
            Section(
                "Each player's own Hessian",
                table=Table(
                    ("player", "lowest eigenvalue", "largest", "negative"),
                    [
                        (f"{i}", f"{own[0]:.4g}", f"{own[-1]:.4g}",
                         f"{(own < 0).sum():,} of {len(own):,}" if point.exact else "")
                        for i, own in enumerate(point.players, 1)
                    ],
                ),
            ),
        ],
        numbers={name: getattr(point, name) for name in names if name != "eigenvalues"}
        | {"real": np.real(point.eigenvalues), "imaginary": np.imag(point.eigenvalues)}
        | {f"player_{i}": own for i, own in enumerate(point.players, 1)},
        records={
            "real": np.real(point.eigenvalues),
            "imaginary": np.imag(point.eigenvalues),
            "bound": point.bounds,
        },
    )  # fmt: skip


def _motion(point: GameSpectrum, largest: float) -> str:
    if point.kind == "repelling":
        return f"repelling: small displacements grow, the fastest at the rate {largest:.4g}"
    if point.kind == "attracting":
        step = ""
        if point.stable_step is not None:
            step = "; simultaneous gradient descent contracts with steps below "
            step += f"{point.stable_step:.4g}"
        return (
            f"attracting: small displacements shrink, the slowest at the rate {-largest:.4g}{step}"
        )
    if point.kind == "rotating":
        return "rotating: small displacements circle the point and neither shrink nor grow"
    return "undecided: real parts of eigenvalues cannot be distinguished from zero"


def _plane(point: GameSpectrum) -> Figure:
    values = point.eigenvalues

    def draw(ax: Any) -> None:
        right = point.growing
        for chosen, color in ((~right, BLUE), (right, RED)):
            ax.plot(
                np.real(values)[chosen], np.imag(values)[chosen], "o", ms=4, color=color, alpha=0.7
            )
        ax.axvline(0, color=ink(), lw=0.8)
        ax.set(xlabel="real part", ylabel="imaginary part")

    return Figure(
        draw,
        "Eigenvalues in the complex plane: those to the right of the line grow, those off the real "
        "axis turn.",
    )
