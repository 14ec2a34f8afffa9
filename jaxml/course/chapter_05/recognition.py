"""Speech to text: words that people and a synthesizer say, letter by letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxml import data, nn, sequence
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.course import pictures, sounds
from jaxml.course.chapter_05 import common
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding, metrics, tokens

VOICES = {"en": "en-us", "es": "es-419", "it": "it"}
"""Language -> espeak-ng's name of it, as Allison, Carlo and Menardi speak it."""

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

LONGEST = 96
"""Rows of a recording to train on: almost four seconds."""

SAMPLES = 30_720
"""Of so many rows."""

FAR = "words that she was not heard to say, Allison"
NEW = "a person never heard, Menardi"
MADE = "synthetic voices never heard"


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
    people, tests = _people(random, quick)
    words = {of: sorted({*clips.texts}) for of, clips in people.items()}
    words["it"] = words["carlo-it"]
    known = {
        "en": sorted({*words["allison-en"], *tests["allison-en"].texts}),
        "es": sorted({*words["allison-es"], *tests["allison-es"].texts}),
        "it": words["carlo-it"],
    }
    made = _synthetic(random, known, VARIANTS[:3] if quick else VARIANTS, 60 if quick else 1500,
                      single=1 if quick else 6)  # fmt: skip
    validation = _synthetic(random, known, VALIDATED, 20 if quick else 100)
    held_out = {
        MADE: _synthetic(random, known, TESTED, 20 if quick else 300),
        FAR: tests["allison-en"] + tests["allison-es"],
        NEW: tests["menardi-it"],
    }
    spoken = Speech([], [])
    for clips in people.values():
        spoken += _strings(random, clips, 0 if quick else 2 * len(clips.texts))
        for speed in SPEEDS[1:2] if quick else (*SPEEDS, *SPEEDS):
            spoken += Speech([_played(clip, speed) for clip in clips.clips], clips.texts)
    letters = tokens.characters(made.texts)
    train = _to_train(letters, made + spoken)
    network = nn.recurrent_seq2seq(
        sounds.COLUMNS, letters.size, tokens=False, attention="location",
        width=24 if quick else 128, layers=1 if quick else 2, dropout=0.0 if quick else 0.2,
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
        network, train, score, begin=tokens.BEGIN, edges=1 if quick else 4, tokens=2400,
        epochs=2 if quick else 30, rate=1e-2 if quick else 2e-3, looks=1 if quick else 10,
    )  # fmt: skip
    floor = _Nearest(made + spoken)
    found: dict[str, dict[str, dict[str, float]]] = {}
    examples = []
    for name, speech in held_out.items():
        ours = written(params, speech, size=5)
        near = floor.texts(speech)
        found[name] = {
            "beam of 5": _wrong(ours, speech.texts),
            "nearest recording": _wrong(near, speech.texts),
        }
        if not quick:
            found[name]["greedy"] = _wrong(written(params, speech), speech.texts)
        examples += [(name, *row) for row in zip(speech.texts, ours, near, strict=True)][:6]
    wrong = {
        name: {way: kinds["words"] for way, kinds in ways.items()} for name, ways in found.items()
    }
    best = {name: ways["beam of 5"] for name, ways in wrong.items()}
    near = {name: ways["nearest recording"] for name, ways in wrong.items()}
    limits = (1.5, 1.5) if quick else (0.25, 0.5)
    holds = best[MADE] <= limits[0] and max(best[FAR], best[NEW]) <= limits[1]
    holds = holds and (quick or all(best[name] < near[name] for name in best))
    told = " ".join(
        f"Of {name} {best[name]:.0%} of {len(' '.join(held_out[name].texts).split())} words are "
        f"wrong (the nearest recording: {near[name]:.0%})."
        for name in held_out
    )
    pair = _strings(np.random.default_rng(1), tests["menardi-it"], 1, least=3)
    return Finding(
        name="speech-recognition",
        question="Does a network write down what it hears, and of whom?",
        verdict=told,
        text=[
            f"{len(train['x']):,} recordings to train, of numbers, ordinals, days and months in "
            f"English, Spanish and Italian. {len(made.texts):,} of them are SYNTHETIC, read by "
            f"espeak-ng in {len(VARIANTS)} variants of its voices; the others are "
            f"{sum(len(clips.texts) for clips in people.values())} clips of Allison (English, "
            "Spanish) and Carlo (Italian), alone and in strings of two or three, also played "
            "faster and slower. A quarter of Allison's words is held out: of these the network "
            "knows the spelling and how the synthesizer says them. Menardi is not heard in "
            "training. 40 bands of frequencies, each in deviations from its mean over the "
            "recording; a row of the source is 40 ms. The nearest recording is that of the "
            "training, stretched to one length, with the least squared difference.",
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
                        (name, len(held_out[name].texts), way, f"{w['words']:.1%}",
                         f"{w['letters']:.1%}")
                        for name, ways in found.items()
                        for way, w in ways.items()
                    ],
                ),
            ),
            Section(
                "Where each letter of three clips of Menardi looks",
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
            "recordings": {"synthetic": len(made.texts), "people": len(spoken.texts)},
        },
        expected=f"at most {limits[0]:.0%} of the words of synthetic voices never heard are wrong "
        f"and at most {limits[1]:.0%} of those that people say"
        + ("" if quick else ", each less than of the nearest recording"),
        holds=bool(holds),
    )  # fmt: skip


def _people(
    random: np.random.Generator, quick: bool
) -> tuple[dict[str, Speech], dict[str, Speech]]:
    """Voice -> clips whose words are known, to train on and to test."""
    prompts = data.load("asterisk_prompts", longest=2.0, validation=0, test=0)
    rows, vocabulary = prompts.train, np.array(prompts.meta["text_vocabulary"], object)
    speakers, languages = prompts.meta["speakers"], prompts.meta["languages"]
    train, test = {}, {}
    for voice in ("allison-en", "allison-es", "carlo-it", "menardi-it"):
        who, what = voice.split("-")
        own = (rows["speaker"] == speakers.index(who)) & (rows["language"] == languages.index(what))
        chosen = random.permutation(np.flatnonzero(own & (rows["text_length"] > 1)))
        chosen = chosen[:24] if quick else chosen
        every = Speech(
            [rows["x"][i, : rows["x_length"][i]] for i in chosen],
            ["".join(vocabulary[rows["text"][i, : rows["text_length"][i]]]) for i in chosen],
        )
        cut = {"allison": len(chosen) // 4, "carlo": 0, "menardi": len(chosen)}[who]
        test[voice], train[voice] = every.some(range(cut)), every.some(range(cut, len(chosen)))
    train.pop("menardi-it")
    return train, test


def _synthetic(
    random: np.random.Generator,
    words: dict[str, list[str]],
    variants: Sequence[str],
    phrases: int,
    single: int = 0,
) -> Speech:
    """Phrases of one to three words, and each word so many times, by voices drawn at random."""
    said = [(of, word) for of, own in words.items() for word in own] * single
    for _ in range(phrases):
        of = str(random.choice(list(words)))
        said.append((of, " ".join(random.choice(words[of], random.integers(1, 4)))))
    texts = [text for _, text in said]
    found = data.synthetic_speech(
        texts,
        [f"{VOICES[of]}+{random.choice(variants)}" for of, _ in said],
        words_per_minute=random.integers(110, 190, len(said)).tolist(),
        pitch=random.integers(20, 80, len(said)).tolist(),
    )
    clips = [x[:n] for x, n in zip(found["x"], found["x_length"], strict=True)]
    return Speech(clips, texts)


def _strings(random: np.random.Generator, speech: Speech, count: int, least: int = 2) -> Speech:
    """Two or three clips of one voice, one after the other."""
    rows = [random.choice(len(speech.texts), random.integers(least, 4)) for _ in range(count)]
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
    out = sequence.decode(network, params, _heard(speech), attention=True, **marks)
    written = letters.decode(out.sequences()[0])
    looks = np.asarray(out.attention)[0, : len(written), -1]
    seconds = sounds.SECONDS * looks.shape[1]

    def draw(ax: Any) -> None:
        ax.imshow(looks, cmap="Blues", vmin=0, aspect="auto",
                  extent=(0, seconds, len(written) - 0.5, -0.5))  # fmt: skip
        ax.grid(visible=False)
        ax.set_yticks(range(len(written)), written, fontsize=6)
        ax.set(xlabel="seconds", ylabel="letter written", title=f"said: {speech.texts[0]}")

    return Figure(draw, f"The attention of each letter to the sound of {speech.texts[0]!r}.")
