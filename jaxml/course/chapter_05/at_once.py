"""What a network that puts out all tokens at once makes of several right answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml import nn, sequence, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.sequence import metrics
from jaxml.training import optimizers, sampling, schedules

WORDS, PHRASES = 8, 20
BEGIN, END = 2 * WORDS + 1, 2 * WORDS + 2
"""Word i of the source is i or WORDS + i in the target: a dialect of two, the same throughout."""

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
ONE, ALL, TAUGHT = "token by token", "all at once", "all at once, distilled"


def all_at_once(effort: Effort = "quick") -> Finding:
    """Sentences with two equally likely translations, word by word and all words at once."""
    quick = effort == "quick"
    longest, rows, steps, layers = (4, 800, 150, 1) if quick else (6, 8000, 1200, 2)
    random = np.random.default_rng(0)
    book = _book(random, longest)
    train, test = _pairs(random, book, rows), _pairs(random, book, rows)
    sizes: dict[str, Any] = {"width": 32, "layers": layers, "hidden": 64}
    optimizer = optimizers.adam(schedules.warmup_cosine(1e-2 if quick else 3e-3, steps, 0.05))
    marks: dict[str, Any] = {"begin": BEGIN, "end": END, "maximum_length": longest + 1}
    options: dict[str, Any] = {"key": key(0), "steps": steps, "chunk": steps}

    teacher = nn.transformer(WORDS + 1, END + 1, **sizes)
    algorithm = sequence.teacher_forcing(teacher, optimizer, begin=BEGIN)
    forced = sequence.with_end(train, END)
    run = training.fit(algorithm, forced, sampling.epochs(64), **options)
    taught = run.state.params
    drawn = {
        ONE: sequence.decode(
            teacher, taught, test, sequence.decoding.sample, key=key(1), **marks
        ).sequences()
    }
    best = sequence.decode(teacher, taught, test, **marks).sequences()
    likeliest = {ONE: best}
    network = nn.non_autoregressive_transformer(WORDS + 1, END + 1, longest=2 * longest, **sizes)
    algorithm = sequence.non_autoregressive(network, optimizer)
    distilled = sequence.distilled(teacher, taught, train, size=2, **marks)
    asked: dict[float, float] = {}
    for name, split in ((ALL, train), (TAUGHT, distilled)):
        params = training.fit(algorithm, split, sampling.epochs(64), **options).state.params
        drawn[name] = sequence.decode_at_once(network, params, test, key=key(1)).sequences()
        plain = sequence.decode_at_once(network, params, test)
        likeliest[name] = plain.sequences()
        if name == TAUGHT:
            for scale in SCALES:
                scaled = sequence.decode_at_once(network, params, test, scale=scale).lengths
                known = np.maximum(np.round(scale * np.asarray(test["x_length"])), 1)
                asked[scale] = float(np.mean(scaled == known))

    valid = {name: by_length(found, test) for name, found in drawn.items()}
    shares = {name: share_valid(found, test) for name, found in drawn.items()}
    lengths = list(range(1, longest + 1))
    two = {name: of[1] for name, of in valid.items()}
    known = [2.0 ** (1 - n) for n in lengths]
    off = max(abs(a - b) for a, b in zip(valid[ALL], known, strict=True))
    references = [[list(way) for way in ways(x[:n])]
                  for x, n in zip(test["x"], test["x_length"], strict=True)]  # fmt: skip
    bleu = {name: metrics.bleu(found, references) for name, found in drawn.items()}
    greedy = {name: share_valid(found, test) for name, found in likeliest.items()}
    limits = (0.15, 0.6) if quick else (0.05, 0.98)
    right = min(asked.values())
    figure = pictures.curves(
        {name: (lengths, of) for name, of in valid.items()}
        | {"closed form, 2^(1 − n)": (lengths, known)},
        "The share of drawn translations that are of one dialect: all at once it halves with each "
        "word, as the closed form says; token by token and after distillation it stays near 1.",
        style={ONE: "o-", ALL: "s", TAUGHT: "^--", "closed form, 2^(1 − n)": ":"},
        xlabel="words of the sentence", ylabel="drawn translations that are right",
        ylim=(0, 1.05), xticks=lengths,
    )  # fmt: skip
    return Finding(
        name="non-autoregressive",
        question="Can a network put out all words at once, where several answers are right?",
        verdict=f"Of sentences of two words with two equally likely translations a network that "
        f"puts out both words at once draws a right one in {two[ALL]:.1%}, after distillation in "
        f"{two[TAUGHT]:.1%}, one that goes word by word in {two[ONE]:.1%}; of {longest} words in "
        f"{valid[ALL][-1]:.1%}, {valid[TAUGHT][-1]:.1%} and {valid[ONE][-1]:.1%}. The BLEU of what "
        f"is drawn is {bleu[ALL]:.0f}, {bleu[TAUGHT]:.0f} and {bleu[ONE]:.0f}. With its length "
        f"scaled by {SCALES[0]:g} to {SCALES[-1]:g} at least {right:.1%} are of that length.",
        text=(
            f"A phrase book has {PHRASES} sentences of each length from 1 to {longest}, of {WORDS} "
            "words. They are translated word by word into one of two dialects, each as likely and "
            "drawn anew each time. Who knows what was put out before can go on in the same "
            "dialect; who puts out all at once and has learned the chance of each word is right in "
            "2^(1 − n) of n words. Distillation: the translations to learn are those that a "
            "Transformer, token by token, finds by a beam of two. Its choice between two equals "
            "can be learned of each sentence, but not be guessed of one never seen.",
            "The likeliest words are right in "
            + ", ".join(f"{greedy[name]:.1%} ({name})" for name in greedy)
            + f". {rows:,} sentences, {steps} updates, one seed.",
        ),
        sections=[
            Section(
                "What is drawn",
                figures=[figure],
                table=Table(
                    ("network", "right", "BLEU", "likeliest words right"),
                    [
                        (n, f"{shares[n]:.1%}", f"{bleu[n]:.1f}", f"{greedy[n]:.1%}")
                        for n in shares
                    ],
                ),
            ),
            Section(
                "The length asked for, after distillation",
                table=Table(
                    ("length scaled by", "of that length"),
                    [(f"{scale:g}", f"{share:.1%}") for scale, share in asked.items()],
                ),
            ),
        ],
        numbers={"valid": valid, "known": known, "bleu": bleu, "likeliest": greedy,
                 "length_as_asked": asked},
        expected=f"all at once at most {limits[0]:g} from the closed form at each length; after "
        f"distillation and token by token at least {limits[1]:.0%} right; {limits[1]:.0%} of the "
        "lengths as asked",
        holds=bool(off <= limits[0] and right >= limits[1]
                   and min(shares[TAUGHT], shares[ONE]) >= limits[1]),
    )  # fmt: skip


def _book(random: np.random.Generator, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Sentences, as many of each length, and their lengths."""
    length = np.repeat(np.arange(1, longest + 1), PHRASES)
    x = random.integers(1, WORDS + 1, (len(length), longest))
    return np.where(np.arange(longest) < length[:, None], x, 0), length


def _pairs(random: np.random.Generator, book: Any, rows: int) -> dict[str, np.ndarray]:
    """Sentences of the book, and translations into a dialect each."""
    chosen = random.integers(0, len(book[1]), rows)
    x, length = (column[chosen] for column in book)
    y = np.where(x > 0, x + WORDS * random.integers(0, 2, (rows, 1)), 0)
    return {"x": x, "x_length": length, "y": y, "y_length": length}


def ways(x: np.ndarray) -> list[tuple[int, ...]]:
    """Both translations of a sentence.

    >>> ways(np.array([1, 3]))
    [(1, 3), (9, 11)]
    """
    return [tuple((x + WORDS * dialect).tolist()) for dialect in range(2)]


def share_valid(found: list[list[int]], rows: Any) -> float:
    """How many are a translation of their sentence."""
    return float(np.mean(_valid(found, rows)))


def by_length(found: list[list[int]], rows: Any) -> list[float]:
    """The same for each length of the sentence."""
    right, length = _valid(found, rows), rows["x_length"]
    return [float(right[length == n].mean()) for n in range(1, rows["x"].shape[1] + 1)]


def _valid(found: list[list[int]], rows: Any) -> np.ndarray:
    sentences = zip(found, rows["x"], rows["x_length"], strict=True)
    return np.array([tuple(one) in ways(x[:n]) for one, x, n in sentences])
