"""The stress of each vowel of a word, by an encoder with an output for each phoneme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.types import Model
from jaxml.course import pictures
from jaxml.course.chapter_04.sequences import given
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics, optimizers, sampling, schedules

Rows = dict[str, np.ndarray]

LEVELS = ("none", "primary", "secondary")
MOST = 6  # vowels; words with more are counted with these


def stress(effort: Effort = "quick") -> Finding:
    """Phonemes in, the stress of each vowel out, on words never seen."""
    quick = effort == "quick"
    marked, plain = data.load("cmudict"), data.load("cmudict", stress=False)
    letters, phonemes = (plain.meta[f"{of}_vocabulary"] for of in ("input", "target"))
    counts = (10_000, 1000, 1000) if quick else (None, None, None)
    train, validation, test = (
        _rows(marked, plain, split, count)
        for split, count in zip(("train", "validation", "test"), counts, strict=True)
    )
    edges, tokens, epochs = ((28,), 2800, 2) if quick else ((6, 8, 11, 28), 1024, 7)
    buckets = sampling.buckets(train["x_length"], edges, tokens)
    steps = epochs * buckets.steps_per_epoch
    model = nn.transformer_encoder(
        len(phonemes),
        len(LEVELS),
        tokens=True,
        positions="rotary",
        width=32 if quick else 128,
        layers=1 if quick else 3,
        hidden=64 if quick else 256,
        dropout=0.0 if quick else 0.05,
    )
    rate = schedules.warmup_cosine(1e-2 if quick else 2e-3, steps, 0.05)
    algorithm = training.supervised(
        model, losses.softmax_cross_entropy, optimizers.adam(rate, b2=0.98), inputs=given
    )
    seen: list[dict[str, float]] = []
    learned = {name: rows for name, rows in train.items() if name != "letters"}
    run = training.fit(
        buckets.cut(algorithm), learned, buckets, key=jax.random.key(0), steps=steps,
        chunk=steps // (1 if quick else epochs),
        hooks=[lambda chunk: seen.append(scores(_by(model, chunk.state, validation), validation))],
    )  # fmt: skip

    network = "encoder"
    predicted = {
        "first vowel": first_vowel(test),
        "table": by_table(train, test),
        network: _by(model, run.state, test),
    }
    found = {name: scores(stresses, test) for name, stresses in predicted.items()}
    vowels = test["mask"].sum(1)
    sizes = np.bincount(np.minimum(vowels, MOST), minlength=MOST + 1)[1:]
    by_count = {
        name: [
            float(_right(stresses, test)[np.minimum(vowels, MOST) == n].mean())
            for n in np.flatnonzero(sizes) + 1
        ]
        for name, stresses in predicted.items()
    }
    names = [f"{n}{' or more' if n == MOST else ''}" for n in np.flatnonzero(sizes) + 1]
    reached, words = found[network], len(test["x"])
    margin = 1.96 * np.sqrt(reached["words"] * (1 - reached["words"]) / words)
    limits = {} if quick else {"vowels": 0.92, "words": 0.85}
    rules = ("first vowel",) if quick else ("first vowel", "table")
    shown = np.flatnonzero(vowels >= 3)[:12]
    return Finding(
        name="stress",
        question="Where does an English word carry its stress?",
        verdict=f"Of {words:,} words that it never saw an encoder has the stress of all vowels "
        f"right in {reached['words']:.1%} (± {margin:.1%} by the number of words), and of the "
        f"vowels {reached['vowels']:.1%}. "
        + "; ".join(
            f"{rule}: {found[name]['words']:.1%} of the words, {found[name]['vowels']:.1%} of the "
            "vowels"
            for rule, name in (
                ("Stress on the first vowel alone", "first vowel"),
                ("a table by vowel, place and number of vowels", "table"),
            )
        )
        + ".",
        text=[
            "Each phoneme has an output, none, primary or secondary stress; the loss is the mean "
            f"over the vowels of a batch, as a mask leaves the consonants out. "
            f"{len(train['x']):,} words to train, each with its first pronunciation, {epochs} "
            "epochs, one seed. Positions, dropout and the size of a batch were chosen on the "
            "validation words, nothing on the test words."
        ],
        sections=[
            Section(
                "By the number of vowels",
                figures=[
                    pictures.bars(
                        {name: dict(zip(names, of, strict=True)) for name, of in by_count.items()},
                        "Bars of three methods for each number of vowels: the share of words that "
                        "have the stress of all vowels right.",
                        xlabel="vowels of the word", ylabel="words right", ylim=(0, 1),
                        yticks=[0, 0.2, 0.4, 0.6, 0.8, 1],
                    )
                ],
                table=Table(
                    ["method", "vowels right", "words right"],
                    [[n, f"{of['vowels']:.1%}", f"{of['words']:.1%}"] for n, of in found.items()],
                ),
            ),
            Section(
                "The first words of the test with three vowels or more",
                table=Table(
                    ["word", "the encoder's", "the dictionary's"],
                    [
                        [
                            "".join(letters[k] for k in test["letters"][i]),
                            *(_spoken(test, of, phonemes, i)
                              for of in (predicted[network], test["y"])),
                        ]
                        for i in shown
                    ],
                ),
            ),
        ],
        numbers={
            "right": found, "words_right_by_vowels": by_count, "margin": float(margin),
            "validation": seen, "test_words": words,
        },
        expected="the encoder has more vowels and words right than stress on the first vowel alone"
        if quick
        else f"the encoder has at least {100 * limits['vowels']:.0f} % of the vowels and "
        f"{100 * limits['words']:.0f} % of the words right, more than either rule",
        holds=all(reached[of] >= limit for of, limit in limits.items())
        and all(reached[of] > found[rule][of] for rule in rules for of in reached),
    )  # fmt: skip


def _rows(marked: data.Dataset, plain: data.Dataset, split: str, count: int | None) -> Rows:
    """Phonemes without stress, the stress of each, a mask of the vowels; of words with a vowel."""
    symbols = marked.meta["target_vocabulary"]
    level = np.array([int(s[-1]) if s.endswith(("0", "1", "2")) else -1 for s in symbols])
    words, spoken = marked.splits[split], plain.splits[split]
    y = level[words["y"]]
    kept = np.flatnonzero((y >= 0).any(1))[:count]
    return {
        "x": spoken["y"][kept],
        "x_length": spoken["y_length"][kept],
        "y": np.maximum(y, 0).astype(np.int32)[kept],
        "mask": (y >= 0)[kept],
        "letters": words["x"][kept],
    }


def first_vowel(rows: Rows) -> np.ndarray:
    """Primary stress on the first vowel, none elsewhere."""
    return (rows["mask"] & (rows["mask"].cumsum(1) == 1)).astype(int)


def by_table(train: Rows, rows: Rows) -> np.ndarray:
    """The most frequent stress of the vowel, at its place among as many vowels, in training.

    Where none such was seen, as `first_vowel`.
    """
    size = rows["x"].shape[1] + 1
    seen = np.zeros((int(train["x"].max()) + 1, size, size, len(LEVELS)), int)
    np.add.at(seen, (*_cells(train), train["y"][train["mask"]]), 1)
    found, of_vowels = first_vowel(rows), seen[_cells(rows)]
    found[rows["mask"]] = np.where(of_vowels.any(-1), of_vowels.argmax(-1), found[rows["mask"]])
    return found


def _cells(rows: Rows) -> tuple[np.ndarray, ...]:
    """Of each vowel what it is, its place among the word's, and how many those are."""
    mask = rows["mask"]
    several = np.broadcast_to(mask.sum(1)[:, None], mask.shape)
    return rows["x"][mask], mask.cumsum(1)[mask], several[mask]


def scores(stresses: np.ndarray, rows: Rows) -> dict[str, float]:
    """The share of vowels that are right, and that of words all of whose vowels are."""
    mask = rows["mask"]
    return {
        "vowels": float((stresses == rows["y"])[mask].mean()),
        "words": float(_right(stresses, rows).mean()),
    }


def _right(stresses: np.ndarray, rows: Rows) -> np.ndarray:
    return ((stresses == rows["y"]) | ~rows["mask"]).all(1)


def _by(model: Model, state: Any, rows: Rows) -> np.ndarray:
    """The stress with the largest output at each position."""
    largest = metrics.Corpus(lambda outputs, batch: outputs.argmax(-1), np.asarray)  # noqa: ARG005
    seen = {name: rows[name] for name in ("x", "x_length")}
    return training.evaluate(model, state, seen, {"stress": largest}, inputs=given)["stress"]


def _spoken(rows: Rows, stresses: np.ndarray, phonemes: Sequence[str], i: int) -> str:
    """A word's phonemes, the vowels with their stress."""
    word = zip(rows["x"][i], stresses[i], rows["mask"][i], strict=True)
    return " ".join(phonemes[int(x)] + (str(y) if vowel else "") for x, y, vowel in word).strip()
