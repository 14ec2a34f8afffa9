"""Attention that follows the source: left to itself, guided, and monotonic by its making."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxml import data, nn, sequence, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import keys
from jaxml.core.words import counted
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding
from jaxml.training import optimizers, sampling, schedules

WAYS = ("left to itself", "guided", "monotonic")
LONGEST = 115  # letters of a number of 9 digits, with the end


def guided_attention(effort: Effort = "quick") -> Finding:
    """Numbers in digits to their names, letter by letter: where three kinds of attention look."""
    quick = effort == "quick"
    numbers = data.load("number_words", n=600 if quick else 10_000)
    digits, letters = (numbers.meta[f"{of}_vocabulary"] for of in ("input", "target"))
    begin, end = len(letters), len(letters) + 1
    steps, seeds = (60, 1) if quick else (1000, 2)
    longest = numbers.train["y"].shape[1] + 1
    marks: dict[str, Any] = {"begin": begin, "end": end, "attention": True}
    train = sequence.with_end(numbers.train, end)
    optimizer = optimizers.adam(schedules.warmup_cosine(1e-2 if quick else 5e-3, steps, 0.05))
    held_out = {"6 digits": numbers.splits["test"]}
    if not quick:
        held_out["9 digits"] = numbers.splits["longer"]
    names = WAYS[:2] if quick else WAYS
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    looks: dict[str, Figure] = {}
    for name in names:
        kind = "monotonic" if name == WAYS[2] else "additive"
        network = nn.recurrent_seq2seq(
            len(digits), len(letters) + 2, width=16 if quick else 48, attention=kind
        )
        algorithm = sequence.guided_attention(
            network, optimizer, begin=begin, strength=float(name == WAYS[1])
        )
        run = training.fit_many(
            algorithm, train, sampling.epochs(64), keys=keys(seeds), steps=steps, chunk=steps
        )
        found[name] = {of: {} for of in held_out}
        for seed in range(seeds):
            params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], run.state.params)
            for of, rows in held_out.items():
                most = longest if of == "6 digits" else LONGEST
                out = sequence.decode(network, params, rows, maximum_length=most, **marks)
                for measure, value in measured(out, rows).items():
                    found[name][of].setdefault(measure, []).append(value)
                if seed == 0 and of == "6 digits":
                    looks[name] = _map(out, rows, digits, letters, name)
    known = {name: of["6 digits"] for name, of in found.items()}
    far = {name: np.array(of["off_diagonal"]) for name, of in known.items()}
    skipped = {name: np.array(of["skipped"], int) for name, of in known.items()}
    right = {name: np.array(of["right"]) for name, of in known.items()}
    lower = (far[WAYS[1]] < far[WAYS[0]]).all()
    count = len(held_out["6 digits"]["x"])
    longer = "" if quick else (
        " Of numbers of 7 to 9 digits, longer than any to train with, "
        + ", ".join(f"{np.mean(found[n]['9 digits']['right']):.1%} ({n})" for n in names)
        + " are right."
    )  # fmt: skip
    return Finding(
        name="guided-attention",
        question="Does a network that writes look at all of what it reads, in its order?",
        verdict=f"Left to itself an LSTM that writes numbers in words has {far[WAYS[0]].mean():.0%}"
        f" of its attention off the diagonal, with a penalty on that {far[WAYS[1]].mean():.0%}. "
        f"Of the digits but 0 of {count:,} numbers never seen the first never looks most at "
        f"{', '.join(map(str, skipped[WAYS[0]]))}, the second at "
        f"{', '.join(map(str, skipped[WAYS[1]]))} ({counted(seeds, 'seed')}); "
        f"{right[WAYS[0]].mean():.1%} and {right[WAYS[1]].mean():.1%} of the numbers are right."
        + longer,
        text=(
            f"{len(train['x']):,} numbers of 1 to 6 digits to train, {steps} updates of 64. Off "
            "the diagonal means far from it: attention counts by 1 − exp(−(n/N − t/T)²/2g²), with "
            "g = 0.2 and digit n of N, letter t of T. A digit is skipped if no letter looks more "
            "at it than at every other one. Zeros are left out, which English does not say. "
            "Monotonic attention is trained by its expectation, and decodes by choosing one digit, "
            "or none, for each letter.",
        ),
        sections=[
            Section(
                "On numbers never seen",
                table=Table(
                    ("attention", "digits", "off the diagonal", "digits skipped", "right"),
                    [
                        (
                            name, "1 to 6" if of == "6 digits" else "7 to 9",
                            " ".join(f"{v:.1%}" for v in values["off_diagonal"]),
                            " ".join(str(int(v)) for v in values["skipped"]),
                            " ".join(f"{v:.1%}" for v in values["right"]),
                        )
                        for name, kinds in found.items()
                        for of, values in kinds.items()
                    ],
                ),
            ),
            Section("Where each letter of a number looks", figures=list(looks.values())),
        ],
        numbers={"found": found, "test_numbers": count},
        expected="with every seed guided attention is less off the diagonal than that which is "
        "left to itself" + ("" if quick else ", and skips no digit of the numbers never seen"),
        holds=bool(lower and (quick or not skipped[WAYS[1]].any())),
    )  # fmt: skip


def measured(out: decoding.Decoded, rows: Any) -> dict[str, float]:
    """Of what was decoded: attention off the diagonal, digits skipped, and numbers that are right.

    A digit other than 0 is skipped if no letter before the end looks most at it.
    """
    looks = out.attention[:, :, -1]
    written = np.arange(looks.shape[1]) < (out.lengths - out.finished)[:, None]
    far = np.asarray(sequence.off_diagonal(looks, rows["x_length"], out.lengths))
    most = (looks.argmax(-1)[..., None] == np.arange(looks.shape[2])) & (looks > 0)
    seen = (most & written[..., None]).any(1)
    known = [y[:n].tolist() for y, n in zip(rows["y"], rows["y_length"], strict=True)]
    return {
        "off_diagonal": float(far.sum() / out.lengths.sum()),
        "skipped": int(((rows["x"] > 1) & ~seen).sum()),
        "right": float(np.mean([a == b for a, b in zip(out.sequences(), known, strict=True)])),
    }


def _map(
    out: decoding.Decoded, rows: Any, digits: Sequence[str], letters: Sequence[str], name: str
) -> Figure:
    """Where the letters of the first number of six digits look."""
    at = int(np.flatnonzero(rows["x_length"] == 6)[0])
    number = [digits[i] for i in rows["x"][at, :6]]
    written = [letters[i] if i < len(letters) else "?" for i in out.sequences()[at]]
    looks = out.attention[at, : len(written), -1, :6]

    def draw(ax: Any) -> None:
        ax.imshow(looks.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        ax.grid(visible=False)
        ax.set_xticks(range(len(written)), written, fontsize=5)
        ax.set_yticks(range(6), number)
        ax.set(xlabel="letter", ylabel="digit", title=name)

    return Figure(draw, f"Attention {name}: the digit that each letter looks at.", height=0.4)
