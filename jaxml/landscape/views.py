"""What an inspection shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREY, RED, ink, signed_log
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.geometry.views import surface_figures, trajectory_figures
from jaxml.landscape.inspection_result import Inspection, Step
from jaxml.landscape.spectra.views import stated_end

_PLANES = {
    "random": "Two random directions, each filter as long as the network's (Li et al. 2018)",
    "eigenvectors": "Along the eigenvectors of the two largest |λ|, in units of the parameters' "
    "length",
}


@finding.register
def _(result: Inspection) -> Finding:
    tiles = {
        "parameters": f"{result.size:,}",
        "loss": f"{result.loss:.6g}",
        "gradient norm": f"{result.gradient_norm:.2g}",
    }
    pairs = result.eigenpairs
    if pairs is not None and result.top:
        tiles["largest eigenvalue"] = stated_end(pairs, -1).removeprefix("= ")
    if pairs is not None and result.lowest:
        tiles["lowest eigenvalue"] = stated_end(pairs, 0).removeprefix("= ")
    if result.products:
        tiles["Hessian-vector products"] = f"{sum(result.products.values()):,}"
    numbers = {
        name: value
        for name, value in vars(result).items()
        if value is not None and name not in ("surface", "surface_kind", "layers", "series")
    }
    if result.layers is not None:
        numbers["layers"] = [
            {"name": layer.name, "size": layer.size, **finding(layer.eigenpairs).numbers}
            for layer in result.layers
        ]
    if result.series is not None:
        numbers["series"] = [
            {"step": at.step, "loss": at.loss, "gradient_norm": at.gradient_norm}
            | dict(finding(at.eigenpairs).numbers)
            for at in result.series
        ]
    if result.surface is not None:
        numbers["surface"] = {"kind": result.surface_kind, **finding(result.surface).numbers}
    return Finding(
        name="one point of a loss surface",
        question="How does the loss curve here?",
        verdict=_verdict(result),
        text=[f"{result.plan}."],
        tiles=tiles,
        sections=list(_sections(result)),
        numbers=numbers,
        records=[
            {"layer": layer.name, "parameters": layer.size, "largest": layer.eigenpairs.values[-1]}
            | {
                "lowest": layer.eigenpairs.values[0],
                "converged": bool(layer.eigenpairs.converged.all()),
            }
            for layer in result.layers or []
        ],
    )


def _verdict(result: Inspection) -> str:
    """What is known of the kind of the point: of its lowest eigenvalue, then of its largest."""
    where = f"loss {result.loss:.4g}, gradient norm {result.gradient_norm:.2g}"
    pairs = result.eigenpairs
    if result.index is not None and result.index.negative.low:
        return f"not a minimum: {result.index.negative} negative eigenvalues; {where}; next: escape"
    if pairs is not None and result.lowest:
        # a Ritz value below zero proves a negative eigenvalue, converged or not
        value = pairs.values[0]
        off = pairs.bounds[0] if pairs.converged[0] else pairs.rounding
        if value < -off:
            return f"not a minimum: λ_min {stated_end(pairs, 0)}; {where}; next: escape"
        if pairs.converged[0] and value > off:
            return (
                f"the loss curves upwards in all directions: λ_min {stated_end(pairs, 0)}; {where}"
            )
        return f"whether it is a minimum is not decided: λ_min {stated_end(pairs, 0)}; {where}"
    if pairs is not None and result.top:
        return f"λ_max {stated_end(pairs, -1)}; {where}"
    return where


def _sections(result: Inspection) -> Iterator[Section]:
    """What every part found, in the order in which they were done."""
    if result.series:
        text = "Each search begins from the eigenvectors of the checkpoint before."
        if left := sum(not step.eigenpairs.converged.all() for step in result.series):
            text += f" At {left} of {len(result.series)} not all eigenvalues converged."
        yield Section("Along the training", text, series_figures(result.series))
    for part in dict.fromkeys((*result.seconds, *_OF_PART)):
        if getattr(result, part) is not None:
            yield _OF_PART[part](result)
    rows = [
        (name, f"{seconds:,.1f}", f"{result.products[name]:,}" if name in result.products else "")
        for name, seconds in result.seconds.items()
    ]
    text = "".join(f"Left out: {part}, {why}. " for part, why in result.left_out.items()).rstrip()
    yield Section("What it took", text, table=Table(("part", "seconds", "products"), rows))


def _index(result: Any) -> Section:
    shown = finding(result.index)
    return Section("Index", f"{shown.verdict}: {shown.text[0]}.")


def _eigenpairs(result: Any) -> Section:
    return finding(result.eigenpairs).sections[0]._replace(title="Extreme eigenvalues")


def _density(result: Any) -> Section:
    shown = finding(result.density)
    return Section("All eigenvalues", f"{shown.text[0]}.", shown.figures)


def _sharpness(result: Any) -> Section:
    shown = finding(result.sharpness)
    return shown.sections[0]._replace(title="Sharpness", text=f"{shown.verdict}.")


def _layers(result: Any) -> Section:
    rows = []
    for layer in result.layers:
        values, done = layer.eigenpairs.values, bool(layer.eigenpairs.converged.all())
        extremes = f"{values[-1]:.4g}", f"{values[0]:.3g}"
        rows.append((layer.name, f"{layer.size:,}", *extremes, "" if done else "not converged"))
    return Section(
        "Layer by layer",
        "Of each layer's own block of the Hessian, the other layers held fixed.",
        table=Table(("layer", "parameters", "largest eigenvalue", "lowest", ""), rows),
    )


def _surface(result: Any) -> Section:
    if result.trajectory is not None:
        return Section(
            "The plane of the trajectory",
            f"Is the picture right? {finding(result.trajectory).text[0]}.",
            trajectory_figures(result.trajectory, result.surface),
        )
    text = f"{_PLANES[result.surface_kind or 'random']}: {finding(result.surface).verdict}."
    return Section("The loss on a plane", text, surface_figures(result.surface))


_OF_PART: dict[str, Callable[[Any], Section]] = {
    "index": _index,
    "eigenpairs": _eigenpairs,
    "density": _density,
    "sharpness": _sharpness,
    "layers": _layers,
    "surface": _surface,
}
"""Part -> its section, in the order of those that were not done to their end."""


def series_figures(steps: Sequence[Step]) -> list[Figure]:
    """The extreme eigenvalues, and the loss, along a training."""
    at = [step.step for step in steps]
    values = np.array([step.eigenpairs.values for step in steps])
    losses = [step.loss for step in steps]
    norms = [step.gradient_norm for step in steps]

    def ends(ax: Any) -> None:
        top = values.shape[1] - 1
        names = {top: "largest", 0: "lowest"} if top else {0: "eigenvalue"}
        for k, column in enumerate(values.T):
            color = RED if column[-1] < 0 else BLUE
            ax.plot(at, column, "o-", ms=3, lw=1.2, color=color, alpha=1 if k in names else 0.4,
                    label=names.get(k))  # fmt: skip
        ax.axhline(0, color=ink(), lw=0.8)
        signed_log(ax, max(1e-3 * float(abs(values).max()), 1e-12))
        ax.set(xlabel="step", ylabel="eigenvalue")
        ax.legend(frameon=False)

    def loss(ax: Any) -> None:
        ax.plot(at, losses, "o-", ms=3, color=BLUE, label="loss")
        ax.plot(at, norms, "s--", ms=3, color=GREY, label="gradient norm")
        ax.set(xlabel="step", ylabel="loss, gradient norm", yscale="log")
        ax.legend(frameon=False)

    span = f"from step {at[0]:,} to {at[-1]:,}"
    largest = f"{values[0, -1]:.3g} to {values[-1, -1]:.3g}"
    lowest = f"{values[0, 0]:.3g} to {values[-1, 0]:.3g}"
    return [
        Figure(ends, f"The largest eigenvalue goes from {largest}, the lowest {lowest}, {span}."),
        Figure(loss, f"The loss goes from {losses[0]:.3g} to {losses[-1]:.3g}, {span}."),
    ]
