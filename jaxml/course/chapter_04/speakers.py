"""Other layers and another softmax for telling speakers apart."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jaxml import nn
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.chapter_04.sequences import (
    SMOOTHED,
    accuracies,
    cross_validated,
    outputs_on,
    recordings,
    trained_on,
)
from jaxml.course.experiment import Effort
from jaxml.training import losses

FEATURES = 16
"""Columns of the embedding whose cosines are taken."""


def conformer_and_margin(effort: Effort = "quick") -> Finding:
    """The encoder with a plain softmax, with cosines and a margin, and with convolutions."""
    quick = effort == "quick"
    train, test = recordings()
    seeds, steps = (1, 40) if quick else (5, 900)
    width, layers = (32, 1) if quick else (64, 2)
    size: dict[str, Any] = {"output": "pooled", "width": width, "layers": layers, "dropout": 0.2}
    plain = nn.transformer_encoder(12, 9, **size)
    cosines = nn.cosine_classifier(nn.transformer_encoder(12, FEATURES, **size), FEATURES, 9)
    # half the hidden width: a layer has two of them
    near = nn.conformer(12, 9, hidden=2 * width, kernel=7, **size)
    margins = {
        m: functools.partial(losses.additive_margin_softmax, margin=m) for m in (0.0, 0.35, 0.1)
    }

    # network -> setting -> model, deviation of the noise, loss
    networks = {
        "softmax": {"noise 0": (plain, 0.0, SMOOTHED)},  # as in speaker-by-attention
        "cosines, margin": {f"margin {m:g}": (cosines, 0.0, margins[m]) for m in (0.35, 0.1)},
        "cosines, no margin": {"margin 0": (cosines, 0.0, margins[0.0])},
        "Conformer": {f"noise {s:g}": (near, s, SMOOTHED) for s in (0.0, 0.3)},
    }
    if quick:  # which speaker-by-attention trains already
        networks.pop("softmax")
    validated, chosen, tested, gaps = {}, {}, {}, {}
    for name, settings in networks.items():
        if len(settings) > 1 and not quick:
            validated[name] = {
                setting: cross_validated(model, train, noise, steps, loss)
                for setting, (model, noise, loss) in settings.items()
            }
        of = validated.get(name, dict.fromkeys(settings, 0.0))
        chosen[name] = max(of, key=of.__getitem__)  # the first of the best
        model, noise, loss = settings[chosen[name]]
        outputs = outputs_on(model, trained_on(model, train, noise, seeds, steps, loss), test)
        tested[name] = accuracies(outputs, test)
        if model is cosines:
            gaps[name] = [float(each) for each in _gaps(outputs, test["y"]).mean(1)]
    reached = {name: float(np.mean(each)) for name, each in tested.items()}
    apart = {name: float(np.mean(each)) for name, each in gaps.items()}
    wider = apart["cosines, margin"] > apart["cosines, no margin"]
    least = 0.5 if quick else 0.98
    holds = all(reached[name] >= least for name in ("cosines, margin", "Conformer")) and wider
    table = Table(
        ("network", "setting", "test", "each seed", "cosine ahead of the next"),
        [
            (name, chosen[name], f"{reached[name]:.1%}", ", ".join(f"{a:.1%}" for a in each),
             f"{apart[name]:.2f}" if name in apart else "")
            for name, each in tested.items()
        ],
    )  # fmt: skip
    figure = pictures.bars(
        {name.replace(", ", ",\n"): 1 - value for name, value in reached.items()},
        "The share of the test that each of the four networks gets wrong.",
        ylabel="test error",
    )
    return Finding(
        name="speaker-heads",
        question="Does a margin between speakers help, or convolution beside attention?",
        verdict=f"Of {len(test['y'])} recordings by nine men "
        + ("" if quick else f"a plain softmax names the speaker of {reached['softmax']:.1%}, ")
        + f"cosines with a margin that of {reached['cosines, margin']:.1%}, a Conformer that of "
        f"{reached['Conformer']:.1%} ({counted(seeds, 'seed')}). The speaker's cosine is ahead of "
        f"the next by {apart['cosines, margin']:.2f} on average with the margin, by "
        f"{apart['cosines, no margin']:.2f} without.",
        sections=[Section("On the test", figures=[figure], table=table)],
        numbers={"test": tested, "validation": validated, "chosen": chosen, "ahead": gaps},
        expected=f"the margin and the Conformer name {least:.0%} of the speakers, and with the "
        "margin the speaker's cosine is further ahead of the others",
        holds=bool(holds),
    )


def _gaps(cosines: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """By how much the cosine of who speaks exceeds the greatest of the others'."""
    own = np.eye(cosines.shape[-1], dtype=bool)[speakers]
    others = np.where(own, -np.inf, cosines).max(-1)
    return np.where(own, cosines, -np.inf).max(-1) - others
