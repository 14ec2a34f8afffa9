"""Speech to text: words that people and a synthesizer say, letter by letter."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxml import data, nn, sequence
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.course import pictures, sounds
from jaxml.course.chapter_05 import common
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding, metrics, tokens

VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f5", "Andrea", "Annie", "belinda",
    "steph", "linda", "anika", "john", "max", "rob", "travis", "victor", "Marco", "david", "iven",
    "klatt2", "klatt4", "norbert", "sandro", "Lee",
)  # fmt: skip
"""Of the voices to train on."""

VALIDATED, TESTED = ("Alicia", "Henrique"), ("f4", "m7")
"""Variants that are heard in the validation alone, and in the test alone."""

SPEEDS = (0.9, 1.0, 1.1)
"""At which what people said is played in training."""

LONGEST = 64
"""Rows of a recording to train on: two and a half seconds."""

SAMPLES = 20_480
"""Of so many rows."""

GUIDED = 1.0
"""How much far attention costs, see `sequence.guided_attention`."""

PERSON, MADE = "a person never heard", "synthetic voices never heard"


class Speech(NamedTuple):
    """Recordings as waveforms, and what is said in them."""

    clips: list[np.ndarray]
    texts: list[str]

    def some(self, rows: Any) -> Speech:
        """Those of these numbers."""
        return Speech([self.clips[i] for i in rows], [self.texts[i] for i in rows])

    def __add__(self, other: Any) -> Speech:
        """Both, one after the other."""
        return Speech([*self.clips, *other.clips], [*self.texts, *other.texts])


def recognition(effort: Effort = "quick") -> Finding:
    """An LSTM with location-sensitive attention writes what it hears."""
    quick = effort == "quick"
    random = np.random.default_rng(0)
    prompts = data.load("asterisk_prompts", longest=1.5, validation=0, test=0)
    carlo, menardi = (_person(prompts, speaker) for speaker in ("carlo", "menardi"))
    words = sorted({*carlo.texts})
    made = _synthetic(
        random, words[:20] if quick else words, VARIANTS[:3] if quick else VARIANTS,
        single=3 if quick else 12, pairs=20 if quick else 600,
    )  # fmt: skip
    validation = _synthetic(random, words, VALIDATED, pairs=20 if quick else 100)
    held_out = {
        MADE: _synthetic(
            random, words, TESTED, single=0 if quick else 2, pairs=20 if quick else 150
        ),
        PERSON: menardi,
    }
    spoken = _pairs(random, carlo, 2 * len(words))
    for speed in SPEEDS:
        spoken += Speech([_played(clip, speed) for clip in carlo.clips], carlo.texts)
    letters = tokens.characters(made.texts)
    train = _to_train(letters, made + spoken + spoken)
    network = nn.recurrent_seq2seq(
        sounds.COLUMNS, letters.size, tokens=False, attention="location",
        width=24 if quick else 96, dropout=0.0 if quick else 0.2,
    )  # fmt: skip
    marks: dict[str, Any] = {
        "begin": tokens.BEGIN, "end": tokens.END,
        "maximum_length": max(len(text) for text in made.texts) + 1,
    }  # fmt: skip

    def written(params: Any, speech: Speech, **options: Any) -> list[str]:
        decode = decoding.beam if options else decoding.greedy
        out = sequence.decode(network, params, _heard(speech), decode, **marks, **options)
        best = [one[0] if options else one for one in out.sequences()]
        return [letters.decode([t for t in one if t >= tokens.UNKNOWN]) for one in best]

    def score(params: Any) -> float:
        return _wrong(written(params, validation), validation.texts)["letters"]

    params, seen = common.trained(
        network, train, score, begin=tokens.BEGIN, edges=1 if quick else 3, tokens=2400,
        epochs=2 if quick else 30, rate=1e-2 if quick else 3e-3, looks=1 if quick else 10,
        technique=functools.partial(sequence.guided_attention, strength=GUIDED),
    )  # fmt: skip
    floor = _Nearest(made + spoken)
    found: dict[str, dict[str, dict[str, float]]] = {}
    examples = []
    for name, speech in held_out.items():
        ours = written(params, speech) if quick else written(params, speech, size=5)
        near = floor.texts(speech)
        found[name] = {
            "beam of 5": _wrong(ours, speech.texts),
            "nearest recording": _wrong(near, speech.texts),
        }
        if not quick:
            found[name]["greedy"] = _wrong(written(params, speech), speech.texts)
        examples += [[name, *row] for row in zip(speech.texts, ours, near, strict=True)][:6]
    wrong = {
        name: {way: kinds["words"] for way, kinds in ways.items()} for name, ways in found.items()
    }
    best = {name: ways["beam of 5"] for name, ways in wrong.items()}
    near = {name: ways["nearest recording"] for name, ways in wrong.items()}
    limits = (1.5, 1.5) if quick else (0.25, 0.5)
    holds = best[MADE] <= limits[0] and best[PERSON] <= limits[1]
    holds = holds and (quick or all(best[name] < near[name] for name in best))
    told = " ".join(
        f"Of {name} {best[name]:.0%} of {len(' '.join(held_out[name].texts).split())} words are "
        f"wrong (the nearest recording: {near[name]:.0%})."
        for name in held_out
    )
    pair = _pairs(np.random.default_rng(1), menardi, 1)
    return Finding(
        name="speech-recognition",
        question="Does a network write down what it hears, and of whom?",
        verdict=told,
        text=[
            f"{len(train['x']):,} recordings to train, of Italian numbers, days and months, alone "
            f"and in pairs. {len(made.texts):,} of them are SYNTHETIC, read by espeak-ng in "
            f"{len(VARIANTS)} variants of its voice; the others are made of {len(words)} clips of "
            "one man, Carlo, each alone, faster and slower, and in pairs, twice over. The person "
            f"never heard is a woman, Menardi, who says the same {len(words)} words one by one. "
            f"{sounds.BANDS} bands of frequencies, each in deviations from its mean over the "
            "recording; a row of the source is 40 ms. Attention far from the diagonal costs. The "
            "nearest recording is that of the training, stretched to one length, with the least "
            "squared difference.",
        ],
        sections=[
            Section(
                "Errors on what was never heard",
                figures=[
                    pictures.curves(
                        {"synthetic voices": (list(seen), list(seen.values()))},
                        "The share of wrong letters of the validation falls with the epochs.",
                        style="o-", xlabel="epoch", ylabel="letters wrong (greedy)",
                    )
                ],
                table=Table(
                    ("of", "recordings", "written by", "words wrong", "letters wrong"),
                    [
                        [name, str(len(held_out[name].texts)), way, f"{w['words']:.1%}",
                         f"{w['letters']:.1%}"]
                        for name, ways in found.items()
                        for way, w in ways.items()
                    ],
                ),
            ),
            Section(
                "Where each letter of two clips of Menardi looks",
                figures=[_map(network, params, letters, pair, marks)],
            ),
            Section(
                "The first of each",
                table=Table(("of", "said", "the network's", "the nearest recording's"), examples),
            ),
        ],
        numbers={
            "wrong": found,
            "validation": {f"{epoch:g}": value for epoch, value in seen.items()},
            "recordings": {"synthetic": len(made.texts), "a person's": len(spoken.texts)},
        },
        expected=f"at most {limits[0]:.0%} of the words of synthetic voices never heard are wrong "
        f"and at most {limits[1]:.0%} of those of a person"
        + ("" if quick else ", each less than of the nearest recording"),
        holds=bool(holds),
    )  # fmt: skip


def _person(prompts: data.Dataset, speaker: str) -> Speech:
    """The clips of one of those who read Italian whose text is a word."""
    rows, vocabulary = prompts.train, prompts.meta["text_vocabulary"]
    own = rows["speaker"] == prompts.meta["speakers"].index(speaker)
    chosen = np.flatnonzero(own & (rows["text_length"] > 1))  # no letters
    return Speech(
        [rows["x"][i, : rows["x_length"][i]] for i in chosen],
        tokens.joined(rows["text"][chosen], rows["text_length"][chosen], vocabulary),
    )


def _synthetic(
    random: np.random.Generator,
    words: list[str],
    variants: Sequence[str],
    *,
    single: int = 0,
    pairs: int = 0,
) -> Speech:
    """Each word so many times and so many pairs of words, by voices drawn at random."""
    texts = words * single + [" ".join(random.choice(words, 2)) for _ in range(pairs)]
    found = data.synthetic_speech(
        texts,
        [f"it+{random.choice(variants)}" for _ in texts],
        words_per_minute=random.integers(110, 190, len(texts)).tolist(),
        pitch=random.integers(20, 80, len(texts)).tolist(),
    )
    return Speech([x[:n] for x, n in zip(found["x"], found["x_length"], strict=True)], texts)


def _pairs(random: np.random.Generator, speech: Speech, count: int) -> Speech:
    """Two clips, one after the other."""
    rows = [random.choice(len(speech.texts), 2) for _ in range(count)]
    return Speech(
        [np.concatenate([speech.clips[i] for i in own]) for own in rows],
        [" ".join(speech.texts[i] for i in own) for own in rows],
    )


def _played(clip: np.ndarray, speed: float) -> np.ndarray:
    """Faster or slower, and so higher or lower."""
    places = np.arange(0, len(clip) - 1, speed)
    return np.interp(places, np.arange(len(clip)), clip).astype(np.float32)


def _heard(speech: Speech) -> dict[str, np.ndarray]:
    """What the network reads; padded so that few shapes are compiled."""
    lengths = np.array([len(clip) for clip in speech.clips], np.int32)
    most = lengths.max() + -lengths.max() % SAMPLES
    waveforms = np.zeros((len(lengths), most), np.float32)
    waveforms[np.arange(most) < lengths[:, None]] = np.concatenate(speech.clips)
    frames, counts = sounds.filter_bank(waveforms, lengths)
    found = sounds.stacked(sounds.without_colour(frames, counts), counts)
    rows = found["x"].shape[1]
    return {**found, "x": np.pad(found["x"], ((0, 0), (0, -rows % LONGEST), (0, 0)))}


def _to_train(letters: tokens.Tokenizer, speech: Speech) -> dict[str, Any]:
    """Those that are not too long."""
    found = {**_heard(speech), **letters.arrays(speech.texts, "y")}
    short = found["x_length"] <= LONGEST
    found = sequence.with_end({name: rows[short] for name, rows in found.items()}, tokens.END)
    return {**found, "x": found["x"][:, :LONGEST]}


def _wrong(hypotheses: list[str], texts: list[str]) -> dict[str, float]:
    """Edits over the words, and over the letters, of the right texts."""
    return {
        "words": metrics.error_rate([h.split() for h in hypotheses], [[t.split()] for t in texts]),
        "letters": metrics.error_rate([list(h) for h in hypotheses], [[list(t)] for t in texts]),
    }


class _Nearest:
    """Writes what is said in the recording that is most alike."""

    def __init__(self, known: Speech) -> None:
        self.known, self.columns = known.texts, self._columns(known)

    def texts(self, speech: Speech) -> list[str]:
        columns = self._columns(speech)
        squares = (self.columns**2).sum(1) - 2 * columns @ self.columns.T
        return [self.known[i] for i in squares.argmin(1)]

    @staticmethod
    def _columns(speech: Speech) -> np.ndarray:
        """Each recording stretched to 16 rows."""
        heard = _heard(speech)
        places = (np.arange(16) + 0.5) / 16 * heard["x_length"][:, None]
        rows = heard["x"][np.arange(len(places))[:, None], places.astype(int)]
        return rows.reshape(len(places), -1)


def _map(
    network: Any, params: Any, letters: tokens.Tokenizer, speech: Speech, marks: dict[str, Any]
) -> Figure:
    """Where each letter that is written looks."""
    heard = _heard(speech)
    out = sequence.decode(network, params, heard, attention=True, **marks)
    written = letters.decode([t for t in out.sequences()[0] if t >= tokens.UNKNOWN])
    looks = np.asarray(out.attention)[0, : len(written), -1, : heard["x_length"][0]]
    seconds = sounds.SECONDS * looks.shape[1]

    def draw(ax: Any) -> None:
        ax.imshow(looks, cmap="Blues", vmin=0, aspect="auto",
                  extent=(0, seconds, len(written) - 0.5, -0.5))  # fmt: skip
        ax.grid(visible=False)
        ax.set_yticks(range(len(written)), written, fontsize=6)
        ax.set(xlabel="seconds", ylabel="letter written", title=f"said: {speech.texts[0]}")

    return Figure(draw, f"The attention of each letter to the sound of {speech.texts[0]!r}.")
