"""Tasks that are exact and have no end: what is learned of short sequences, and of longer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxml import nn, sequence, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence import tokens
from jaxml.training import optimizers, sampling, schedules

LONGEST = 10
"""Symbols of the sources to train with; those of the test have up to twice as many."""

RANGES = {
    f"{low} to {high}": (low, high) for low, high in ((3, LONGEST), (LONGEST + 1, 2 * LONGEST))
}
WITHIN, BEYOND = RANGES
LEAST, MOST = 0.95, 0.5
"""So many sequences shall be right that are no longer, and so many that are longer."""

LETTERS = "abcdefghij"
LEVELS = {"+": 1, "-": 1, "*": 2, "/": 2}
"""Operators; those of the higher level bind first, of one level those on the left."""

TOKENIZER = tokens.characters([*LETTERS, *LEVELS, "()"])
MARKS: dict[str, Any] = {
    "begin": tokens.BEGIN, "end": tokens.END, "maximum_length": 2 * LONGEST + 1,
}  # fmt: skip


def longer_sequences(effort: Effort = "quick") -> Finding:
    """Copying, reversing and parsing, learned of sequences up to a length and asked of longer."""
    quick = effort == "quick"
    rows, asked, steps = (640, 40, 30) if quick else (20_000, 500, 800)
    size = TOKENIZER.size
    sizes: dict[str, Any] = {
        "width": 16 if quick else 64, "layers": 1 if quick else 2, "hidden": 32 if quick else 128,
    }  # fmt: skip
    networks = {
        "Transformer, sinusoids": nn.transformer(size, size, **sizes),
        "Transformer, rotary": nn.transformer(size, size, positions="rotary", **sizes),
        "LSTM": nn.recurrent_seq2seq(size, size, width=sizes["width"], attention="location"),
    }
    if quick:
        networks = dict([*networks.items()][:1])
    optimizer = optimizers.adam(schedules.warmup_cosine(5e-3 if quick else 2e-3, steps, 0.1))
    random = np.random.default_rng(0)
    drawn = {
        task: [
            [draw(random, *between) for _ in range(count)]
            for between, count in zip((RANGES[WITHIN], *RANGES.values()), (rows, asked, asked),
                                      strict=True)
        ]
        for task, (draw, _) in TASKS.items()
    }  # fmt: skip
    right: dict[str, dict[str, np.ndarray]] = {task: {} for task in TASKS}
    for name, network in networks.items():
        algorithm = sequence.teacher_forcing(network, optimizer, begin=tokens.BEGIN)
        for task, (_, answer) in TASKS.items():
            train, *tests = drawn[task]
            run = training.fit(
                algorithm, sequence.with_end(_pairs(train, answer, LONGEST), tokens.END),
                sampling.epochs(64), key=key(0), steps=steps, chunk=steps,
            )  # fmt: skip
            right[task][name] = _right(network, run.state.params, [*tests[0], *tests[1]], answer)
    shares = {
        task: {
            name: dict(zip(RANGES, (found[:asked].mean(), found[asked:].mean()), strict=True))
            for name, found in of.items()
        }
        for task, of in right.items()
    }
    transformers = {
        between: [
            own[between] for of in shares.values() for name, own in of.items() if name != "LSTM"
        ]
        for between in RANGES
    }
    least, most = min(transformers[WITHIN]), max(transformers[BEYOND])
    limits = (0.0, 1.0) if quick else (LEAST, MOST)
    beyond = ", ".join(
        f"{max(own[BEYOND] for own in of.values()):.0%} ({task})" for task, of in shares.items()
    )
    return Finding(
        name="longer-sequences",
        question="Does a network that has learned a rule follow it in longer sequences?",
        verdict=f"Trained on up to {LONGEST} symbols, Transformers do at least {least:.1%} of such "
        f"sequences rightly, whatever the task; of sequences of {BEYOND} symbols at most "
        f"{most:.1%}. There the best of all networks does {beyond}.",
        text=(
            f"Sequences of letters are to be copied or reversed; formulas like (a+b)*c are to be "
            f"parsed, that is to be written as ab+c*, the operators behind what they apply to. All "
            f"can be made in any number and length, and there is one right answer. {steps:,} "
            f"updates of 64 of {rows:,} sequences of {WITHIN} symbols, one seed; greedy decoding. "
            "The LSTM looks by location-sensitive attention.",
        ),
        sections=[
            Section(
                "Sequences that come out without an error",
                figures=[_picture(task, drawn[task], right[task]) for task in TASKS],
                table=Table(
                    ("network", *(f"{task}, {between}" for task in TASKS for between in RANGES)),
                    [
                        (name, *(f"{shares[task][name][between]:.1%}"
                                 for task in TASKS for between in RANGES))
                        for name in networks
                    ],
                ),
            )
        ],
        numbers={"right": shares},
        expected=f"each Transformer does at least {limits[0]:.0%} of sequences of {WITHIN} symbols "
        f"rightly and at most {limits[1]:.0%} of those of {BEYOND}, whatever the task",
        holds=bool(least >= limits[0] and most <= limits[1]),
    )  # fmt: skip


def letters(random: np.random.Generator, low: int, high: int) -> str:
    """A text of so many letters, each as likely."""
    return "".join(random.choice([*LETTERS], random.integers(low, high + 1)))


def formula(random: np.random.Generator, low: int, high: int) -> str:
    """A formula of so many symbols, with the brackets that it needs."""
    while True:
        text, _ = _drawn(random, int(random.integers(2, (high + 1) // 2 + 1)))
        if low <= len(text) <= high:
            return text


def _drawn(random: np.random.Generator, leaves: int) -> tuple[str, int]:
    """A formula of so many letters, and the level of its last operator."""
    if leaves == 1:
        return str(random.choice([*LETTERS])), max(LEVELS.values()) + 1
    split = int(random.integers(1, leaves))
    (left, before), (right, after) = (_drawn(random, n) for n in (split, leaves - split))
    operator = str(random.choice([*LEVELS]))
    level = LEVELS[operator]
    left = left if before >= level else f"({left})"
    right = right if after > level else f"({right})"
    return f"{left}{operator}{right}", level


def postfix(text: str) -> str:
    """A formula with its operators behind what they apply to, and without brackets.

    >>> postfix("(a+b)*c"), postfix("a-b*c-d")
    ('ab+c*', 'abc*-d-')
    """
    out, waiting = "", ""
    for symbol in text:
        if symbol == "(":
            waiting += symbol
        elif symbol == ")":
            before, _, inside = waiting.rpartition("(")
            out, waiting = out + inside[::-1], before
        elif symbol in LEVELS:
            while waiting and LEVELS.get(waiting[-1], 0) >= LEVELS[symbol]:
                out, waiting = out + waiting[-1], waiting[:-1]
            waiting += symbol
        else:
            out += symbol
    return out + waiting[::-1]


TASKS: dict[str, tuple[Callable[..., str], Callable[[str], str]]] = {
    "copy": (letters, lambda text: text),
    "reverse": (letters, lambda text: text[::-1]),
    "parse": (formula, postfix),
}
"""What draws a source, and its one right answer."""


def _pairs(texts: list[str], answer: Callable[[str], str], size: int) -> dict[str, np.ndarray]:
    """Sources and answers, padded to a size: one program serves all tasks."""
    found = TOKENIZER.arrays(texts) | TOKENIZER.arrays([answer(text) for text in texts], "y")
    return {
        name: np.pad(rows, ((0, 0), (0, size - rows.shape[1]))) if rows.ndim == 2 else rows
        for name, rows in found.items()
    }


def _right(
    network: Seq2Seq, params: Any, texts: list[str], answer: Callable[[str], str]
) -> np.ndarray:
    """Which texts are answered rightly."""
    found = sequence.decode(network, params, _pairs(texts, answer, 2 * LONGEST), **MARKS)
    known = [TOKENIZER.encode(answer(text)) for text in texts]
    return np.array([one == other for one, other in zip(found.sequences(), known, strict=True)])


def _picture(task: str, drawn: Sequence[list[str]], right: dict[str, np.ndarray]) -> Figure:
    """The share of right answers against the length."""
    _, *tests = drawn
    lengths = np.array([len(text) for texts in tests for text in texts])
    lines = {
        name: (np.unique(lengths), [found[lengths == n].mean() for n in np.unique(lengths)])
        for name, found in right.items()
    }
    return pictures.curves(
        lines, f"To {task}: the share of right answers against the symbols of the source; "
        f"those to train with have up to {LONGEST}.",
        style="o-", xlabel=f"symbols of the source ({task})", ylabel="right", ylim=(-0.05, 1.05),
    )  # fmt: skip
