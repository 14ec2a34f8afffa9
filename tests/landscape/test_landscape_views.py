"""Every result of landscape: its verdict is what its numbers say, and it can be shown and kept."""

import dataclasses

import jax
import numpy as np
import pytest
from results import check_shown_and_kept

from jaxml import landscape
from jaxml.core.finding import finding
from jaxml.landscape.spectra.density import Density

PATH = {"loss": np.array([3.0, 1.0, 0.5]), "gradient_norm": np.array([2.0, 1.0, 1e-9])}
PARAMS = {"w": np.arange(3.0), "layers": [np.ones((2, 2), np.float32)]}


def analysis(values, kind, *, within=0.0, descent=None, certified=None):
    values = np.array(values)
    counts = landscape.Counts(
        int((values < -within).sum()),
        int((abs(values) <= within).sum()),
        int((values > within).sum()),
    )
    return landscape.Analysis(
        params=PARAMS, loss=1.5, gradient_norm=1e-9, gradient_tolerance=1e-6, eigenvalues=values,
        eigenvectors=PARAMS, index=counts.negative, counts=counts,
        minimum_ratio=counts.positive / len(values), tolerance=within or 1e-12,
        scaled_eigenvalues=None, length=1.0, distance=1e-10, refined=PARAMS, kind=kind,
        descent=descent,
    )  # fmt: skip


def pairs(values, converged=True):
    values = np.array(values)
    off = np.full(len(values), 1e-4)
    done = np.full(len(values), converged)
    return landscape.Eigenpairs(
        values, np.zeros((len(values), 0)), off, off, done, 12, float(abs(values).max()), 1e-6
    )


def search(converged=True, flat=False):
    return landscape.Search(PARAMS, 0.5, 1e-9, converged, flat, 1e-5, 2, PATH)


SHARP = landscape.Sharpness(
    5.0, 4.0, 1e-9, True, 12.0, 1.0, 9.0, 15.0, 0.2, *[landscape.Rise(0.3, 0.2)] * 2
)
DENSITY = Density(np.array([[-1.0, 0.0, 2.0, 3.0]]), np.full((1, 4), 0.25), 4, 4, True, 1e-6)
SURFACE = landscape.Surface(
    (np.linspace(-1, 1, 3), np.linspace(-1, 1, 3)),
    np.arange(9.0)[::-1].reshape(3, 3),
    np.ones((3, 3), bool),
)
TRAJECTORY = landscape.Trajectory(
    PARAMS, PARAMS, np.array([0.9, 0.05]), np.array([[2.0, 0], [1, 1], [0, 0]]),
    np.array([0.5, 0.1, 0]), np.array([4.0, 2, 1]), np.array([3.0, 2, 1]),
)  # fmt: skip
INSPECTION = landscape.Inspection(
    9, "float32", 1.0, 0.5, 1e-3, 100, eigenpairs=pairs([-0.5, 4.0]), top=1, lowest=1,
    sharpness=SHARP, density=DENSITY, surface=SURFACE, surface_kind="random",
    seconds={"eigenpairs": 1.0},
    layers=[landscape.LayerEigenpairs("dense", 4, pairs([-0.5, 4.0]))],
    series=[landscape.Step(10 * i, 2.0 - i, 1.0, pairs([-0.5, 4.0 + i])) for i in range(2)],
)  # fmt: skip
FOLLOWED = landscape.Followed(
    np.array([3.0, 1.0]), np.ones(2), np.array([[-1.0, 2], [1, 2]]), np.array([1, 0]),
    np.array([0.5, 1]), np.full(2, 1e-9),
)  # fmt: skip
SADDLE = landscape.SaddleSearch(
    PARAMS, 0.5, 1e-9, 1, True, PARAMS, np.array([-2.0]), 2, 4, 3, 0, PATH, None,
    analysis([-2.0, 3.0], "saddle"),
)  # fmt: skip
INTERVAL = landscape.Interval
RESULTS = {
    "minimum": (analysis([0.5, 2.0], "minimum"), "a minimum (certified): λ_min = 0.5 ± 1e-12"),
    "saddle": (
        analysis([-0.0037, 2.0], "saddle"),
        "not a minimum but a saddle (certified): λ_min = -0.0037 ± 1e-12, index 1 of 2; next: "
        "escape",
    ),
    "uncertain saddle": (
        analysis([-2.0, 1e-9, 2.0], "saddle", within=1e-8),
        "not a minimum but a saddle: λ_min = -2 ± 1e-08, index 1 to 2 of 3; next: escape",
    ),
    "degenerate": (
        analysis([0.0, 2.0], "degenerate", within=1e-8),
        "a degenerate critical point, no descent found: 1 of 2 eigenvalues cannot be "
        "distinguished from zero",
    ),
    "monkey saddle": (
        analysis([0.0, 2.0], "degenerate", within=1e-8, descent=PARAMS),
        "not a minimum: the loss falls in a direction that was found",
    ),
    "undecided": (analysis([0.0, 2.0], "undecided", within=1e-3), "undecided in float64: 1 of 2"),
    "not critical": (
        dataclasses.replace(analysis([0.5, 2.0], "not critical"), gradient_norm=0.25),
        "not a critical point: gradient norm 0.25, critical up to 1e-06; next: find_minimum",
    ),
    "search": (search(), "converged to a critical point; next: analyze"),
    "flat": (search(converged=False, flat=True), "not a critical point but gradient-flat"),
    "searches": (
        jax.tree.map(lambda *leaves: np.stack(leaves), search(), search(False, True)),
        "1 of 2 searches converged to critical points, 1 ended at gradient-flat points",
    ),
    "saddle search": (SADDLE, "not a minimum but a saddle (certified): λ_min = -2 ± 1e-12"),
    "descent": (landscape.Descent(PARAMS, 0.5, 1e-9, PATH, 7), "loss 3 → 0.5 in 2 steps"),
    "escape": (
        landscape.Escape(PARAMS, 0.5, 1e-9, PARAMS, -0.25, PATH),
        "the loss falls from 3 to 1 along the direction, at a distance of 0.25, and to 0.5",
    ),
    "exploration": (
        landscape.Exploration(
            analysis([-1.0, 2.0], "saddle"),
            [landscape.Found(search(), analysis([0.5, 2.0], "minimum")),
             landscape.Found(search(False, True), None)],
            [analysis([0.5, 2.0], "minimum")], {}, [analysis([0.5, 2.0], "minimum")],
            {"method": "newton"},
        ),
        "not a minimum but a saddle (certified): λ_min = -1 ± 1e-12, index 1 of 2; next: escape. "
        "Critical points around it: 1 × minimum; lowest minimum 1.5",
    ),
    "eigenpairs": (
        pairs([-1.0, 3.0]),
        "eigenvalues: largest of those sought = 3 ± 0.0001, lowest = -1 ± 0.0001",
    ),
    "unconverged": (
        pairs([-1.0, 3.0], converged=False),
        "eigenvalues: largest of those sought ≥ 3, not converged, lowest ≤ -1, not converged",
    ),
    "index": (
        landscape.SpectrumCounts(
            INTERVAL(2, 3), INTERVAL(0, 1), INTERVAL(5, 6), 1e-6, 4.0, "stochastic", "probes", 9, 9
        ),
        "not a minimum if critical: 2 to 3 negative eigenvalues",
    ),
    "positive": (
        landscape.SpectrumCounts(
            *[INTERVAL(0, 0)] * 2, INTERVAL(9, 9), 1e-6, 4.0, "dense", "all", 0, 9
        ),
        "a minimum if critical: all eigenvalues are positive",
    ),
    "estimate": (
        landscape.Estimate(12.0, 1.0, 40, 0.0, 9.0, 15.0),
        "12 (9 to 15 at 95%) (40 products)",
    ),
    "estimates": (
        landscape.Estimate(np.ones(3), np.full(3, 0.1), 40, 0.0, np.zeros(3), np.full(3, 2.0)),
        "3 values, each ± 1 at most at 95%",
    ),
    "density": (
        DENSITY,
        "25 % of 4 eigenvalues within ±1.0e-06 of 0, 25 % below, 50 % above; range -1 to 3",
    ),
    "followed": (
        FOLLOWED,
        "index 0 to 1 of 2 over 2 points, 0 at the lowest loss (1); lowest eigenvalue of all -1",
    ),
    "sharpness": (
        SHARP,
        "λ_max = 4 at a loss of 5; gradient descent is stable up to η = 0.5",
    ),
    "surface": (SURFACE, "loss 0 to 8; the lowest at (1, 1)"),
    "trajectory": (TRAJECTORY, "the plane holds 95.0 % of the path's variance; its losses are off"),
    "connection": (
        landscape.Connection(
            PARAMS | {"w": np.ones((1, 3))}, np.linspace(0, 1, 3), np.array([1.0, 3, 1]),
            np.array([1.0, 1.5, 1]),
        ),
        "barrier 2 on the straight line, 0.5 on a curve with",
    ),
    "inspection": (
        INSPECTION,
        "not a minimum: λ_min = -0.5 ± 0.0001; loss 1, gradient norm 0.5; next: escape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_shown_and_kept(name, tmp_path):
    check_shown_and_kept(*RESULTS[name], tmp_path)


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        (pairs([-0.5, 4.0], converged=False), "not a minimum: λ_min ≤ -0.5, not converged"),
        (pairs([0.5, 4.0]), "the loss curves upwards in all directions: λ_min = 0.5 ± 0.0001"),
        (pairs([0.5, 4.0], converged=False), "whether it is a minimum is not decided: λ_min ≤"),
        (pairs([5e-5, 4.0]), "whether it is a minimum is not decided: λ_min = 5e-05 ± 0.0001"),
    ],
)
def test_an_inspection_claims_what_its_eigenvalues_prove(ends, verdict):
    found = dataclasses.replace(INSPECTION, eigenpairs=ends)
    assert finding(found).verdict.startswith(verdict)


def test_a_surface_so_far_says_so():
    done = np.zeros((3, 3), bool)
    done[:2] = True
    losses = np.where(done, SURFACE.losses, np.nan)
    so_far = dataclasses.replace(SURFACE, losses=losses, done=done)
    assert finding(so_far).verdict == "loss 3 to 8; the lowest at (0, 1); 6 of 9 points done"
    broken = dataclasses.replace(SURFACE, losses=np.where(done, np.inf, SURFACE.losses))
    assert finding(broken).verdict.endswith("6 of 9 losses are not finite")
