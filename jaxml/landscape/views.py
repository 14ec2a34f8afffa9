"""What an inspection shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREY, RED, ink, signed_log
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.geometry.views import surface_figures, trajectory_figures
from jaxml.landscape.inspection import Inspection, Step
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
    ends = result.ends
    if ends is not None and result.top:
        tiles["largest eigenvalue"] = stated_end(ends, -1).removeprefix("= ")
    if ends is not None and result.lowest:
        tiles["lowest eigenvalue"] = stated_end(ends, 0).removeprefix("= ")
    if result.products:
        tiles["Hessian-vector products"] = f"{sum(result.products.values()):,}"
    numbers = {
        name: value
        for name, value in vars(result).items()
        if value is not None and name not in ("surface", "surface_kind", "layers", "series")
    }
    if result.layers is not None:
        numbers["layers"] = [
            {"name": layer.name, "size": layer.size, **finding(layer.ends).numbers}
            for layer in result.layers
        ]
    if result.series is not None:
        numbers["series"] = [
            {"step": at.step, "loss": at.loss, "gradient_norm": at.gradient_norm}
            | dict(finding(at.ends).numbers)
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
            {"layer": layer.name, "parameters": layer.size, "largest": layer.ends.values[-1]}
            | {"lowest": layer.ends.values[0], "converged": bool(layer.ends.converged.all())}
            for layer in result.layers or []
        ],
    )


def _verdict(result: Inspection) -> str:
    """What is known of the kind of the point: of its lowest eigenvalue, then of its largest."""
    where = f"loss {result.loss:.4g}, gradient norm {result.gradient_norm:.2g}"
    ends = result.ends
    if result.index is not None and result.index.negative.low:
        return f"not a minimum: {result.index.negative} negative eigenvalues; {where}; next: escape"
    if ends is not None and result.lowest:
        # a Ritz value below zero proves a negative eigenvalue, converged or not
        value = ends.values[0]
        off = ends.bounds[0] if ends.converged[0] else ends.rounding
        if value < -off:
            return f"not a minimum: λ_min {stated_end(ends, 0)}; {where}; next: escape"
        if ends.converged[0] and value > off:
            return (
                f"the loss curves upwards in all directions: λ_min {stated_end(ends, 0)}; {where}"
            )
        return f"whether it is a minimum is not decided: λ_min {stated_end(ends, 0)}; {where}"
    if ends is not None and result.top:
        return f"λ_max {stated_end(ends, -1)}; {where}"
    return where


def _sections(result: Inspection) -> Iterator[Section]:
    if result.series:
        text = "Each search begins from the eigenvectors of the checkpoint before."
        if left := sum(not step.ends.converged.all() for step in result.series):
            text += f" At {left} of {len(result.series)} not all eigenvalues converged."
        yield Section("Along the training", text, series_figures(result.series))
    if result.index is not None:
        shown = finding(result.index)
        yield Section("Index", f"{shown.verdict}: {shown.text[0]}.")
    if result.ends is not None:
        section = finding(result.ends).sections[0]
        yield section._replace(title="Eigenvalues at both ends")
    if result.density is not None:
        shown = finding(result.density)
        yield Section("All eigenvalues", f"{shown.text[0]}.", shown.figures)
    if result.sharpness is not None:
        shown = finding(result.sharpness)
        yield shown.sections[0]._replace(title="Sharpness", text=f"{shown.verdict}.")
    if result.layers is not None:
        rows = []
        for layer in result.layers:
            values, done = layer.ends.values, bool(layer.ends.converged.all())
            extremes = f"{values[-1]:.4g}", f"{values[0]:.3g}"
            rows.append((layer.name, f"{layer.size:,}", *extremes, "" if done else "not converged"))
        yield Section(
            "Layer by layer",
            "Of each layer's own block of the Hessian, the other layers held fixed.",
            table=Table(("layer", "parameters", "largest eigenvalue", "lowest", ""), rows),
        )
    if result.surface is not None:
        shown = finding(result.surface)
        if result.trajectory is not None:
            yield Section(
                "The plane of the trajectory",
                f"Is the picture right? {finding(result.trajectory).text[0]}.",
                trajectory_figures(result.trajectory, result.surface),
            )
        else:
            text = f"{_PLANES[result.surface_kind or 'random']}: {shown.verdict}."
            yield Section("The loss on a plane", text, surface_figures(result.surface))
    rows = [
        (name, f"{seconds:,.1f}", f"{result.products[name]:,}" if name in result.products else "")
        for name, seconds in result.seconds.items()
    ]
    yield Section("What it took", table=Table(("part", "seconds", "products"), rows))


def series_figures(steps: Sequence[Step]) -> list[Figure]:
    """The eigenvalues at both ends, and the loss, along a training."""
    at = [step.step for step in steps]
    values = np.array([step.ends.values for step in steps])
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
