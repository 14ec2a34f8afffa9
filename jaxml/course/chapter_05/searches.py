"""How a sequence is found in what a network says of the next token."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import chisquare

from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.chapter_05 import toy
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding

ENDS: dict[str, Any] = {"begin": toy.BEGIN, "end": toy.END, "maximum_length": 5}
SHORT, LONG = (toy.A, toy.END), (toy.B, toy.C, toy.D, toy.E, toy.END)


def searches(effort: Effort = "quick") -> Finding:
    """Greedy, beam and sampled decoding of a table of three sequences."""
    table = toy.table_of(toy.SEQUENCES, toy.VOCABULARY)
    known = {toy.spelled(sequence): p for sequence, p in toy.SEQUENCES.items()}
    greedy = decoding.greedy(toy.step, table, toy.start(1), **ENDS)
    rows = [("greedy", toy.spelled(greedy.tokens[0]), float(np.exp(greedy.scores[0])))]
    for size in (1, 2):
        found = decoding.beam(toy.step, table, toy.start(1), **ENDS, size=size)
        rows.append(
            (f"beam of {size}", toy.spelled(found.tokens[0, 0]), float(np.exp(found.scores[0, 0])))
        )
    count = 2000 if effort == "quick" else 100_000
    shares, chances = {}, {}
    for temperature in (1.0, 0.5, 0.1):
        drawn = decoding.sample(
            toy.step, table, toy.start(count), **ENDS, key=key(0), temperature=temperature
        )
        words = [toy.spelled(tokens) for tokens in np.asarray(drawn.tokens)]
        counts = np.array([words.count(word) for word in known])
        expected = np.array(_sharpened(temperature)) * count
        shares[f"temperature {temperature:g}"] = dict(zip(known, counts / count, strict=True))
        often = expected >= 5  # a χ² of fewer is none
        chances[temperature] = float(chisquare(
            counts[often], expected[often] * counts[often].sum() / expected[often].sum()
        ).pvalue)  # fmt: skip
    crossing, flips = _penalties()
    right = rows[0][1:] != rows[2][1:] and np.isclose(rows[0][2], 0.3) and rows[2][1] == "abc"
    holds = (
        right and np.isclose(rows[2][2], 0.4) and rows[0][1:] == rows[1][1:]
        and min(chances.values()) > 1e-3 and flips[0] <= crossing <= flips[1]
    )  # fmt: skip
    figure = pictures.bars(
        {"the table": known} | shares,
        "Shares of abc, dec and dfc: at temperature 1 as in the table; the colder, the rarer abc.",
        xlabel="sequence", ylabel="share of the samples",
    )  # fmt: skip
    return Finding(
        name="decoding",
        question="Which sequence is the likeliest, and how is it found?",
        verdict=f"The greedy choice begins with d and ends with {rows[0][1]}, of probability "
        f"{rows[0][2]:.2f}; two beginnings kept are enough for {rows[2][1]}, of {rows[2][2]:.2f}. "
        f"Of {count:,} samples {shares['temperature 1']['abc']:.1%} are abc, at temperature 0.1 "
        f"{shares['temperature 0.1']['abc']:.1%}: colder is nearer to the greedy choice, not to "
        "the likeliest sequence. A length penalty prefers a sequence of five tokens (.45) to one "
        f"of two (.55) from α = {flips[1]:.2f} on; by the formula, from {crossing:.3f}.",
        text=(
            "The network is a table: abc has probability .4, dec and dfc have .3 each, so that d "
            "is the likelier first letter.",
        ),
        sections=[
            Section(
                "Searched",
                table=Table(
                    ("decoding", "sequence", "probability"),
                    [(name, word, f"{p:.2f}") for name, word, p in rows],
                ),
            ),
            Section("Drawn", figures=[figure]),
        ],
        numbers={
            "searched": rows, "shares": shares, "chi_squared_p": list(chances.values()),
            "penalty": {"crossing": crossing, "flips_between": flips},
        },
        expected="greedy and a beam of one find a sequence of .3, a beam of two the one of .4; "
        "samples are of the table (χ²); the length penalty turns at the formula's α",
        holds=bool(holds),
    )  # fmt: skip


def _sharpened(temperature: float) -> list[float]:
    """The probabilities of abc, dec and dfc at a temperature: each choice is sharpened alone."""
    first, other = 0.4 ** (1 / temperature), 0.6 ** (1 / temperature)
    abc = first / (first + other)
    return [abc, (1 - abc) / 2, (1 - abc) / 2]


def _penalties() -> tuple[float, list[float]]:
    """The α from which the longer of two sequences ranks first, by formula and by search."""
    table = toy.table_of({SHORT: 0.55, LONG: 0.45}, toy.VOCABULARY)
    grid = np.arange(0, 1.6, 0.05)
    lengths = [
        int(decoding.beam(toy.step, table, toy.start(1), **ENDS, size=2, length_penalty=alpha)
            .lengths[0, 0])
        for alpha in grid
    ]  # fmt: skip
    turn = lengths.index(len(LONG))
    ratio = (5 + len(LONG)) / (5 + len(SHORT))
    crossing = np.log(np.log(0.45) / np.log(0.55)) / np.log(ratio)
    return float(crossing), [float(grid[turn - 1]), float(grid[turn])]
