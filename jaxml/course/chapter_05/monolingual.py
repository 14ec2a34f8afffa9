"""What targets without a source are good for."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from jaxml import data, nn, sequence, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.chapter_05.pronunciation import pronunciations, spelling_key
from jaxml.course.experiment import Effort
from jaxml.sequence import metrics
from jaxml.training import optimizers, sampling, schedules

LONGEST = 10
"""Letters and phonemes of the words that are taken."""

ALONE, MADE = "pairs alone", "with back-translation"


def back_translation(effort: Effort = "quick") -> Finding:
    """Words to phonemes from few pairs and from many pronunciations without a spelling."""
    quick = effort == "quick"
    pairs, others, steps, seeds = (200, 200, 40, 2) if quick else (5000, 15_000, 800, 3)
    dictionary = data.load("cmudict", stress=False)
    letters, phonemes = (dictionary.meta[f"{n}_vocabulary"] for n in ("input", "target"))
    train, test = (short(dictionary.splits[name]) for name in ("train", "test"))
    test = {name: values[: 200 if quick else 1000] for name, values in test.items()}
    known = pronunciations("test")
    references = [known[spelling_key(np.pad(x, (0, 28 - LONGEST)))] for x in test["x"]]
    reader, speller = (
        _Learner(*sizes, steps, quick)
        for sizes in ((len(letters), len(phonemes)), (len(phonemes), len(letters)))
    )
    wrong: dict[str, list[float]] = {ALONE: [], MADE: []}
    edits: dict[str, list[float]] = {name: [] for name in wrong}
    examples: list[list[str]] = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(train["x"]))
        paired, silent = (
            {name: values[order[rows]] for name, values in train.items()}
            for rows in (slice(pairs), slice(pairs, pairs + others))
        )
        turned = {a: paired[b] for a, b in
                  zip(("x", "x_length", "y", "y_length"), ("y", "y_length", "x", "x_length"),
                      strict=True)}  # fmt: skip
        made = sequence.back_translation(
            speller.network, speller.trained(turned, seed), paired,
            {"y": silent["y"], "y_length": silent["y_length"]},
            **{**speller.marks, "maximum_length": LONGEST, "minimum_length": 2},
        )  # fmt: skip
        examples = examples or _spelled(made, silent, pairs, letters, phonemes)
        # as many rows, so that one program serves both
        again = {name: rows[np.arange(pairs + others) % pairs] for name, rows in paired.items()}
        for name, rows in ((ALONE, again), (MADE, made)):
            params = reader.trained(rows, seed)
            found = sequence.decode(reader.network, params, test, **reader.marks).sequences()
            wrong[name].append(metrics.sequence_error_rate(found, references))
            edits[name].append(metrics.error_rate(found, references))
    right = {name: 1 - np.array(values) for name, values in wrong.items()}
    gain = right[MADE] - right[ALONE]
    more = int((gain > 0).sum())
    least = stats.t.ppf(0.975, seeds - 1)  # of a 95 % interval, in standard errors

    def shown(values: Any) -> str:
        return f"{np.mean(values):.1%} ± {least * stats.sem(values):.1%}"

    figure = pictures.bars(
        {
            name: {f"seed {seed}": float(value) for seed, value in enumerate(values)}
            for name, values in right.items()
        },
        "Two bars for each seed: the share of words right from the pairs alone, and with "
        "back-translation.",
        ylabel="test words right",
    )  # fmt: skip
    return Finding(
        name="back-translation",
        question="Do pronunciations without a spelling help to learn to pronounce?",
        verdict=f"From {pairs:,} words with their spelling a Transformer pronounces "
        f"{right[ALONE].mean():.1%} of {len(references):,} words right that it never saw, with "
        f"{others:,} pronunciations more, whose spelling another network made up, "
        f"{right[MADE].mean():.1%}: back-translation gains {100 * gain.mean():.1f} "
        f"± {100 * least * stats.sem(gain):.1f} points, and is more right with "
        f"{more} of {counted(seeds, 'seed')}.",
        text=(
            f"Words of at most {LONGEST} letters and phonemes. The network that spells is trained "
            "on the same pairs, turned, and takes the likeliest letter each time. All networks are "
            f"alike and make {steps:,} updates. ± is half a 95 % interval over the seeds, each "
            "with pairs of its own.",
        ),
        sections=[
            Section(
                "Words of the test",
                figures=[figure],
                table=Table(
                    ("training", "words right", "phonemes wrong"),
                    [(name, shown(right[name]), shown(edits[name])) for name in right],
                ),
            ),
            Section(
                "What was made up",
                table=Table(("pronunciation", "made up", "dictionary"), examples),
            ),
        ],
        numbers={"words_right": right, "phonemes_wrong": edits, "gain": gain, "more": more},
        expected="back-translation gains at every seed"
        if not quick
        else "in a few steps nothing is told: the run ends",
        holds=quick or more == seeds,
    )


class _Learner:
    """A Transformer from sequences to sequences, and how it is trained: compiled once a shape."""

    def __init__(self, inputs: int, outputs: int, steps: int, quick: bool) -> None:
        self._steps = steps
        self.marks: dict[str, Any] = {
            "begin": outputs, "end": outputs + 1, "maximum_length": LONGEST + 1,
        }  # fmt: skip
        self.network = nn.transformer(
            inputs, outputs + 2, width=16 if quick else 64, layers=1,
            hidden=32 if quick else 128, dropout=0.1,
        )  # fmt: skip
        rate = schedules.warmup_cosine(1e-2 if quick else 2e-3, steps)
        self._algorithm = sequence.teacher_forcing(
            self.network, optimizers.adam(rate), begin=outputs, label_smoothing=0.1
        )

    def trained(self, rows: Any, seed: int) -> Any:
        return training.fit(
            self._algorithm, sequence.with_end(rows, self.marks["end"]), sampling.epochs(64),
            key=key(seed), steps=self._steps, chunk=self._steps,
        ).state.params  # fmt: skip


def short(rows: Any) -> dict[str, np.ndarray]:
    """Words of at most `LONGEST` letters and phonemes."""
    fits = np.maximum(rows["x_length"], rows["y_length"]) <= LONGEST
    return {
        name: values[fits][:, :LONGEST] if values.ndim == 2 else values[fits]
        for name, values in rows.items()
    }


def _spelled(made: Any, silent: Any, pairs: int, letters: Any, phonemes: Any) -> list[list[str]]:
    """Of the first pronunciations: the phonemes, the letters made up, the dictionary's."""
    return [
        [
            " ".join(phonemes[k] for k in silent["y"][i] if k),
            *("".join(letters[k] for k in x[i] if k) for x in (made["x"][pairs:], silent["x"])),
        ]
        for i in range(10)
    ]
