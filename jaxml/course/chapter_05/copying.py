"""Words that a network never wrote, and can copy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxml import nn, sequence, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import keys
from jaxml.core.words import counted
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling, schedules

UNKNOWN, BEGIN, END, FIRST = 1, 2, 3, 4
GREEK = "αβγδεζηθικλμνξοπρστυ"
KNOWN, RARE, NEW = (FIRST, 24), (24, 224), (224, 244)
"""Letters, numbers and Greek letters; the last are in no sequence to train with."""

VOCABULARY, WORDS = KNOWN[1], NEW[1]
SETS = {"letters": KNOWN, "numbers": RARE, "Greek letters": NEW}
WITH, WITHOUT = "with copying", "without"


def copying(effort: Effort = "quick") -> Finding:
    """Sequences to be reversed, of symbols that were never targets, with and without copying."""
    quick = effort == "quick"
    longest, rows, steps, seeds = (6, 2000, 120, 1) if quick else (12, 20_000, 300, 3)
    random = np.random.default_rng(0)
    train = sequences(random, rows, longest, [KNOWN, RARE])
    tests = {name: sequences(random, rows // 20, longest, [of]) for name, of in SETS.items()}
    options: dict[str, Any] = {"width": 32 if quick else 64, "attention": "location"}
    marks: dict[str, Any] = {"begin": BEGIN, "end": END, "maximum_length": longest + 1}
    outside: dict[str, Any] = {"extra": longest, "unknown": UNKNOWN}
    networks = {
        WITH: sequence.pointer_generator(
            nn.recurrent_seq2seq(VOCABULARY, VOCABULARY + 1, **options), VOCABULARY, **outside
        ),
        WITHOUT: nn.recurrent_seq2seq(WORDS, WORDS, **options),
    }
    optimizer = optimizers.adam(schedules.warmup_cosine(1e-2 if quick else 5e-3, steps, 0.05))
    right: dict[str, dict[str, list[float]]] = {name: {of: [] for of in SETS} for name in networks}
    for name, network in networks.items():
        cut = name == WITH

        def numbered(data: Any, cut: bool = cut) -> Any:
            return sequence.extended(data, VOCABULARY, **outside)[0] if cut else data

        algorithm = sequence.teacher_forcing(network, optimizer, begin=BEGIN)
        split = sequence.with_end(numbered(train), END)
        run = training.fit_many(
            algorithm, split, sampling.epochs(64), keys=keys(seeds), steps=steps, chunk=steps
        )
        for seed in range(seeds):
            params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], run.state.params)
            for of, test in tests.items():
                data = numbered(test)
                out = sequence.decode(network, params, data, attention=True, **marks)
                found = out.sequences()
                known = [y[:n].tolist() for y, n in zip(data["y"], data["y_length"], strict=True)]
                share = np.mean([a == b for a, b in zip(found, known, strict=True)])
                right[name][of].append(float(share))
                if cut and seed == 0 and of == "Greek letters":
                    figure = _pointed(out, test, data)
    new = {name: of["Greek letters"] for name, of in right.items()}
    least, most = min(new[WITH]), max(new[WITHOUT])
    limits = (0.5, 0.05) if quick else (0.99, 0.05)
    return Finding(
        name="copying",
        question="Can a network write a word that it never saw?",
        verdict=f"Of sequences of {longest // 2} to {longest} Greek letters, none of which it saw "
        f"before, a network that may copy reverses {least:.1%} rightly, one that may not "
        f"{most:.1%}; of the numbers that both were trained with {min(right[WITH]['numbers']):.1%} "
        f"and {min(right[WITHOUT]['numbers']):.1%} ({counted(seeds, 'seed')}, that which speaks "
        "most against copying).",
        text=(
            f"Both are LSTMs with location-sensitive attention, trained for {steps} updates on "
            f"{rows:,} sequences of 20 letters and of 200 numbers. The one that copies has the "
            "letters alone in its vocabulary: all else it reads as one unknown word, and can put "
            "out only by pointing at where it stands. The other one has an embedding and an output "
            "for each symbol, for the Greek letters too.",
        ),
        sections=[
            Section(
                "Sequences that are reversed without an error",
                figures=[figure],  # pyright: ignore[reportPossiblyUnboundVariable]
                table=Table(
                    ("network", *SETS),
                    [
                        (name, *(" ".join(f"{share:.1%}" for share in of[kind]) for kind in SETS))
                        for name, of in right.items()
                    ],
                ),
            )
        ],
        numbers={"right": right},
        expected=f"of the Greek letters at least {limits[0]:.0%} are right with copying, at most "
        f"{limits[1]:.0%} without, with every seed",
        holds=least >= limits[0] and most <= limits[1],
    )


def sequences(
    random: np.random.Generator, rows: int, longest: int, kinds: list[tuple[int, int]]
) -> dict[str, np.ndarray]:
    """Sequences of symbols of some kinds, each as likely, and the same from their ends."""
    length = random.integers(longest // 2, longest + 1, rows)
    kind = random.integers(0, len(kinds), (rows, longest))
    drawn = np.stack([random.integers(*of, (rows, longest)) for of in kinds])
    inside = np.arange(longest) < length[:, None]
    x = np.where(inside, np.take_along_axis(drawn, kind[None], axis=0)[0], 0)
    behind = np.where(inside, length[:, None] - 1 - np.arange(longest), 0)
    y = np.where(inside, np.take_along_axis(x, behind, axis=1), 0)
    return {"x": x, "x_length": length, "y": y, "y_length": length}


def _pointed(out: sequence.decoding.Decoded, named: Any, data: Any) -> Figure:
    """Where each symbol put out for the first sequence was found."""
    source = [GREEK[i - NEW[0]] for i in named["x"][0, : named["x_length"][0]]]
    own = {int(a): b for a, b in zip(data["x"][0], source, strict=False)}
    count = int(out.lengths[0])
    written = [own.get(int(i), "end" if i == END else "?") for i in out.tokens[0, :count]]
    looks = out.attention[0, :count, -1, : len(source)]

    def draw(ax: Any) -> None:
        ax.imshow(looks, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        ax.grid(visible=False)
        ax.set_xticks(range(len(source)), source)
        ax.set_yticks(range(count), written)
        ax.set(xlabel="source", ylabel="put out")

    return Figure(draw, "Where each Greek letter put out was found in the source, from its end on.")
