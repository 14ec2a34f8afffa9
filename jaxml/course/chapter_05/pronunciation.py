"""Words to phonemes, by a Transformer and by a recurrent network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxml import data, nn, sequence
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.course import pictures
from jaxml.course.chapter_05 import common
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding, metrics

LONGEST = 29  # phonemes of a word, with the end
SHOWN = "thoroughly"


def pronunciation(effort: Effort = "quick") -> Finding:
    """The dictionary of Carnegie Mellon without stress: errors on words never seen."""
    quick = effort == "quick"
    sizes = {"width": 16, "layers": 1, "hidden": 32} if quick else {"layers": 3, "hidden": 256}
    make = functools.partial(nn.transformer, dropout=0.1, **sizes)
    return _pronunciation(effort, "pronunciation", "a Transformer", make, 1e-2 if quick else 1e-3)


def pronunciation_by_lstm(effort: Effort = "quick") -> Finding:
    """The same by a recurrent network with attention."""
    quick = effort == "quick"
    make = functools.partial(nn.recurrent_seq2seq, width=24 if quick else 128, dropout=0.1)
    name = "pronunciation-by-lstm"
    return _pronunciation(effort, name, "an LSTM with attention", make, 1e-2 if quick else 2e-3)


def _pronunciation(
    effort: Effort, name: str, model: str, make: Callable[..., nn.Seq2Seq], peak: float
) -> Finding:
    quick = effort == "quick"
    dictionary = data.load("cmudict", stress=False)
    letters, phonemes = (dictionary.meta[f"{n}_vocabulary"] for n in ("input", "target"))
    begin, end = len(phonemes), len(phonemes) + 1
    marks: dict[str, Any] = {"begin": begin, "end": end, "maximum_length": LONGEST}
    counts = (2000, 200, 200) if quick else (None, 1000, None)
    parts = zip(("train", "validation", "test"), counts, strict=True)
    train, validation, test = (
        {key: rows[:count] for key, rows in dictionary.splits[name].items()}
        for name, count in parts
    )
    train = sequence.with_end(train, end)
    network = make(len(letters), len(phonemes) + 2)
    known = pronunciations("validation")
    expected = [known[spelling_key(x)] for x in validation["x"]]

    def score(params: Any) -> float:
        found = sequence.decode(network, params, validation, **marks)
        return metrics.sequence_error_rate(found.sequences(), expected)

    epochs = 8 if quick else 20
    params, seen = common.trained(
        network, train, score, begin=begin, edges=(29,) if quick else (7, 9, 12, LONGEST),
        tokens=2900 if quick else 1024, epochs=epochs, rate=peak, looks=2 if quick else 10,
    )  # fmt: skip

    known = pronunciations("test")
    references = [known[spelling_key(x)] for x in test["x"]]
    searches: dict[str, dict[str, Any]] = {"greedy": {}, "beam of 5": {"size": 5}}
    words_wrong, phonemes_wrong, found = {}, {}, {}
    for search, options in searches.items():
        decode = decoding.beam if options else decoding.greedy
        out = sequence.decode(network, params, test, decode, **marks, **options)
        found[search] = [one[0] if options else one for one in out.sequences()]
        words_wrong[search] = metrics.sequence_error_rate(found[search], references)
        phonemes_wrong[search] = metrics.error_rate(found[search], references)
    wrong = words_wrong["beam of 5"]
    limits = (1.0, 0.8) if quick else (0.33, 0.08)
    margin = 1.96 * np.sqrt(wrong * (1 - wrong) / len(references))

    attention = _attention(network, params, letters, phonemes, marks)
    spelled = lambda row, names: [names[i] for i in row]  # noqa: E731
    examples = [
        ["".join(spelled(x[:n], letters)), " ".join(spelled(ours, phonemes)),
         " / ".join(" ".join(spelled(one, phonemes)) for one in right)]
        for x, n, ours, right in zip(
            test["x"], test["x_length"], found["beam of 5"], references, strict=True
        )
    ][:12]  # fmt: skip
    return Finding(
        name=name,
        question=f"How many English words that it never saw does {model} pronounce right?",
        verdict=f"Of {len(references):,} words that it never saw it gets "
        f"{1 - wrong:.1%} right with a beam of 5, {1 - words_wrong['greedy']:.1%} when it takes "
        f"the likeliest phoneme each time: a word error of {wrong:.1%} "
        f"(± {margin:.1%} by the number of words) and a phoneme error of "
        f"{phonemes_wrong['beam of 5']:.1%}.",
        text=[
            f"{len(train['x']):,} words to train, each with its first pronunciation, without "
            "stress; a word is right if it is one of the dictionary's own pronunciations. "
            f"{epochs} epochs, one seed; nothing was chosen on the test words. On the same "
            "dictionary, of other random tenths, a Transformer of three layers of width 256 had "
            "30.2 % of the words wrong, Phonetisaurus 33.9 % (the README of g2p-seq2seq).",
        ],
        sections=[
            Section(
                "Errors on words never seen",
                figures=[
                    pictures.curves(
                        {"validation words": (list(seen), list(seen.values()))},
                        "The share of wrong words falls with the epochs.",
                        style="o-",
                        xlabel="epoch",
                        ylabel="words wrong (greedy)",
                        ylim=(0, 1),
                    )
                ],
                table=Table(
                    ["search", "words wrong", "phonemes wrong"],
                    [[n, f"{words_wrong[n]:.1%}", f"{phonemes_wrong[n]:.1%}"] for n in found],
                ),
            ),
            Section("Which letters each phoneme looks at", figures=[attention]),
            Section(
                "The first words of the test",
                table=Table(["word", "the network's", "the dictionary's"], examples),
            ),
        ],
        numbers={
            "words_wrong": words_wrong,
            "phonemes_wrong": phonemes_wrong,
            "margin": float(margin),
            "validation": {f"{epoch:g}": value for epoch, value in seen.items()},
            "test_words": len(references),
        },
        expected=f"at most {100 * limits[0]:.0f} % of the words and {100 * limits[1]:.0f} % of the "
        "phonemes are wrong",
        holds=bool(wrong <= limits[0] and phonemes_wrong["greedy"] <= limits[1]),
    )


def spelling_key(x: np.ndarray) -> bytes:
    """A word's letters and their padding, as a key of `pronunciations`."""
    return x.astype(np.uint8).tobytes()


def pronunciations(split: str) -> dict[bytes, list[list[int]]]:
    """Spelling -> all of its pronunciations."""
    rows = data.load("cmudict", stress=False, every_pronunciation=True).splits[split]
    known: dict[bytes, list[list[int]]] = {}
    for x, y, n in zip(rows["x"], rows["y"], rows["y_length"], strict=True):
        known.setdefault(spelling_key(x), []).append(y[:n].tolist())
    return known


def _attention(network: Any, params: Any, letters: Any, phonemes: Any, marks: Any) -> Figure:
    """Where the last layer looks in one word, the mean over its heads."""
    x = np.array([[letters.index(letter) for letter in SHOWN]])
    out = sequence.decode(network, params, {"x": x}, attention=True, **marks)
    count = int(out.lengths[0])
    names = [phonemes[i] if i < len(phonemes) else "end" for i in out.tokens[0, :count]]
    looks = out.attention[0, :count, -1]

    def draw(ax: Any) -> None:
        ax.imshow(looks, cmap="Blues", vmin=0, aspect="auto")
        ax.grid(visible=False)
        ax.set_xticks(range(len(SHOWN)), list(SHOWN))
        ax.set_yticks(range(count), names)
        ax.set(xlabel="letter", ylabel="phoneme")

    return Figure(draw, f"The attention of each phoneme to the letters of {SHOWN!r}.")
