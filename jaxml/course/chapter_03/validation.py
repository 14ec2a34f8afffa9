"""What a choice on few examples is worth."""

from __future__ import annotations

import numpy as np

from jaxml import data, studies
from jaxml.core.finding import Finding, Section
from jaxml.course import pictures
from jaxml.course.experiment import Effort


def bad_samples(effort: Effort = "quick") -> Finding:
    """How often a validation set misleads: counted, and Hoeffding's bound."""
    digits = data.load("digits").everything()
    two = digits["y"] < 2  # one number an example, two kinds, a threshold: as the lecture's edges
    ink, kind = digits["x"][two].mean(1), digits["y"][two] == 1
    cuts = np.quantile(ink, np.linspace(0.01, 0.99, 100))
    wrong = (ink[None] < cuts[:, None]) != kind[None]
    epsilon, sizes = 0.1, [25, 50, 100, 200, 400, 800]
    samples = 500 if effort == "quick" else 20_000
    found = {n: studies.bad_samples(wrong, n, epsilon, samples=samples) for n in sizes}
    needed = studies.examples_needed(len(cuts), epsilon, 0.05)
    enough = studies.bad_samples(wrong, needed, epsilon, samples=samples)
    holds = all(f.value <= f.bound for f in found.values()) and enough.value <= 0.05
    figure = pictures.curves(
        {
            "counted": (sizes, [f.value or np.nan for f in found.values()]),
            "Hoeffding's bound": (sizes, [f.bound for f in found.values()]),
        },
        "The share of bad samples against their size, where there are any: it falls, always below "
        "the bound.",
        style="o-", xlabel="examples N", ylabel="P(bad)", xscale="log", yscale="log",
        ylim=(0.3 / samples, 2),
    )  # fmt: skip
    return Finding(
        name="bad-samples",
        question="How many examples does a validation set need?",
        verdict="Some of 100 thresholds is off by more than 0.1 on "
        + ", ".join(f"{f.value:.1%} of the samples of {n}" for n, f in list(found.items())[1:5])
        + f"; with the {needed} that the bound asks for, on {enough.value:.1%}.",
        sections=[Section("Counted and bounded", figures=[figure])],
        numbers={"examples": sizes, "frequency": [f.value for f in found.values()],
                 "bound": [f.bound for f in found.values()], "needed": needed,
                 "frequency_there": enough.value},
        expected="the frequency never exceeds 2|H|exp(−2Nε²), and N ≥ log(2|H|/δ)/2ε² is enough",
        holds=bool(holds),
    )  # fmt: skip


def edge_threshold(effort: Effort = "quick") -> Finding:
    """Who drew an emoji, by the number of its edges: thresholds chosen on few examples."""
    size = 32 if effort == "quick" else 64
    rows = data.load("emoji", size=size, validation=0, test=0).train
    edges, google = edge_count(rows["x"]), rows["y"] == 0
    cuts = np.arange(size * size + 1)
    wrong = (edges[None] >= cuts[:, None]) != google[None]
    error = wrong.mean(1)
    epsilon, samples = 0.1, 100 if effort == "quick" else 1000
    sizes = [50, 100, 200, 500]
    bad = {n: studies.bad_samples(wrong, n, epsilon, samples=samples) for n in sizes}
    needed = studies.examples_needed(len(cuts), epsilon, 0.1)
    chosen = {}
    for count in (4, 64, len(cuts)):
        few = wrong[np.linspace(0, len(cuts) - 1, count + 2).astype(int)[1:-1]]
        few = wrong if count == len(cuts) else few
        chosen[count] = _chosen(few, 60, samples)
    holds = all(f.value <= f.bound for f in bad.values()) and all(
        seen < true for seen, true in chosen.values()
    )
    figures = [
        pictures.curves(
            {
                "simulated": (sizes, [f.value for f in bad.values()]),
                "Hoeffding's bound": (sizes, [f.bound for f in bad.values()]),
            },
            "P(bad) against the number of examples: simulated it falls to 0, and the bound stays "
            "at 1 for long.",
            style="o-", xlabel="examples N", ylabel="P(a sample is bad)", ylim=(-0.03, 1.05),
        ),
        pictures.bars(
            {
                "on the 60 it was chosen by": {f"{n:,}": pair[0] for n, pair in chosen.items()},
                "on all": {f"{n:,}": pair[1] for n, pair in chosen.items()},
            },
            "The error of the chosen threshold for three numbers of thresholds: on the examples it "
            "was chosen by lower than on all, and the gap grows.",
            xlabel="thresholds |H|", ylabel="error",
        ),
    ]  # fmt: skip
    best = int(error.argmin())
    return Finding(
        name="edge-threshold",
        question="How many emoji tell by the number of edges which artist drew one?",
        verdict=f"The best threshold ({cuts[best]:,} edge pixels) errs on {error[best]:.1%} of all "
        f"{len(google):,}. Chosen by 60 of them among {len(cuts):,} thresholds, one looks like "
        f"{chosen[len(cuts)][0]:.1%} and errs on {chosen[len(cuts)][1]:.1%}; samples of 50 are bad "
        f"{bad[50].value:.0%} of the time, of 500 {bad[500].value:.1%}.",
        sections=[Section("Bad samples", figures=figures)],
        numbers={
            "best_error": float(error[best]), "best_threshold": int(cuts[best]), "examples": sizes,
            "frequency": [f.value for f in bad.values()], "bound": [f.bound for f in bad.values()],
            "needed": needed, "thresholds": list(chosen),
            "error_seen": [pair[0] for pair in chosen.values()],
            "error_on_all": [pair[1] for pair in chosen.values()],
        },
        expected="the frequency never exceeds the bound, and the chosen threshold errs more often "
        "on all than where it was chosen",
        holds=bool(holds),
    )  # fmt: skip


def edge_count(images: np.ndarray) -> np.ndarray:
    """Pixels at which Sobel's gradient of the brightness exceeds 0.3, for each `(N, H, W, 3)`."""
    grey = images @ np.array([0.299, 0.587, 0.114], np.float32)
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = grey.shape[1:]

    def at(down, right):
        return padded[:, down : down + height, right : right + width]

    across = sum(w * (at(i, 2) - at(i, 0)) for i, w in enumerate((1, 2, 1)))
    down = sum(w * (at(2, j) - at(0, j)) for j, w in enumerate((1, 2, 1)))
    return (np.hypot(across, down) > 0.3).sum((1, 2))


def _chosen(wrong: np.ndarray, examples: int, samples: int) -> tuple[float, float]:
    """The error of the best hypothesis on a sample, there and on all; means over samples."""
    random, everywhere = np.random.default_rng(0), wrong.mean(1)
    seen, true = 0.0, 0.0
    for _ in range(samples):
        there = wrong[:, random.integers(0, wrong.shape[1], examples)].mean(1)
        best = there.argmin()
        seen, true = seen + there[best], true + everywhere[best]
    return float(seen / samples), float(true / samples)
