"""What a telephone exchange says, by three speakers in three languages."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require, require_choice
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.loaders.number_words import coded, spelled
from jaxml.data.sources import Arrays, debian_archives
from jaxml.data.splits import generator, require_nonnegative
from jaxml.data.splits import split as split_rows
from jaxml.data.wav_files import padded, read_wav

RATE = 8000
"""Samples a second."""

VOICES = {
    "allison-en": ("asterisk-core-sounds-en-wav", "en_US_f_Allison"),
    "allison-es": ("asterisk-core-sounds-es-wav", "es_MX_f_Allison"),
    "carlo-it": ("asterisk-core-sounds-it-wav", "it_IT_m_Carlo"),
    "menardi-it": ("asterisk-prompt-it-menardi-wav", "it_IT_f_Menardi"),
}
"""Who reads in which language: the package, and the folder in it."""

SPEAKERS = ("allison", "carlo", "menardi")
LANGUAGES = ("en", "es", "it")

NO_SPEECH = (
    "ascending-2tone", "beep", "beeperr", "confbridge-join", "confbridge-leave",
    "descending-2tone", "tt-monkeys", *(f"silence/{i}" for i in range(1, 11)),
)  # fmt: skip
"""Tones, silence and monkeys, the same in each language."""


def _tens(small: str, tens: str) -> dict[int, str]:
    """0 to 20, 30, 40, ..., 90 in words."""
    words = [*small.split(), *tens.split()]
    return dict(zip([*range(21), *range(30, 100, 10)], words, strict=True))


_SPANISH = _tens(
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciséis diecisiete dieciocho diecinueve veinte",
    "treinta cuarenta cincuenta sesenta setenta ochenta noventa",
)
_TWENTIES = (
    "veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho "
    "veintinueve"
)
_SPANISH |= dict(enumerate(_TWENTIES.split(), 21))
_ITALIAN = _tens(
    "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici "
    "quindici sedici diciassette diciotto diciannove venti",
    "trenta quaranta cinquanta sessanta settanta ottanta novanta",
)
# before uno and otto the last vowel goes
_ITALIAN |= {n + i: _ITALIAN[n][:-1] + _ITALIAN[i] for n in range(20, 100, 10) for i in (1, 8)}
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_DAYS = {
    "en": "sunday monday tuesday wednesday thursday friday saturday",
    "es": "domingo lunes martes miércoles jueves viernes sábado",
    "it": "domenica lunedì martedì mercoledì giovedì venerdì sabato",
}
_MONTHS = {
    "en": "january february march april may june july august september october november december",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
}
_OTHERS = {
    "en": "hundred thousand million billion today tomorrow yesterday",
    "es": "",
    "it": "",
}


def _said(language: str) -> dict[str, str]:
    """Name of a clip -> what is said in it, for those that are named by it."""
    numbers = {
        "en": {n: spelled(n) if n else "zero" for n in _SPANISH if n <= 20 or n >= 30},
        "es": _SPANISH,
        "it": _ITALIAN,
    }[language]
    said = {f"digits/{n}": text for n, text in numbers.items()}
    said |= {f"digits/day-{i}": day for i, day in enumerate(_DAYS[language].split())}
    said |= {f"digits/mon-{i}": month for i, month in enumerate(_MONTHS[language].split())}
    said |= {f"letters/{letter}": letter for letter in "abcdefghijklmnopqrstuvwxyz"}
    said |= {f"digits/{word}": word for word in _OTHERS[language].split()}
    if language == "en":
        said |= {f"digits/h-{i}": text for i, text in enumerate(_ORDINALS.split(), 1)}
        tens = {n: f"{numbers[n][:-1]}ieth" for n in range(30, 100, 10)}
        said |= {f"digits/h-{n}": text for n, text in tens.items()}
        large = ("hundred", "thousand", "million", "billion")
        said |= {f"digits/h-{word}": f"{word}th" for word in large}
    return said


SAID = {language: _said(language) for language in LANGUAGES}
"""Language -> name of a clip -> its text, where the name tells it."""

TEXT_VOCABULARY = ("", *sorted(set().union(*(t for said in SAID.values() for t in said.values()))))


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from Debian packages with a folder of WAV files each.

    Raises:
        ValueError: as `read_wav`, naming the file.
    """
    clips, voices, names = [], [], []
    for voice, ((_, folder), content) in enumerate(zip(VOICES.values(), contents, strict=True)):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = {m.name.partition(f"/{folder}/")[2]: m for m in archive if m.isfile()}
            for name in sorted(name for name in files if name.endswith(".wav")):
                file = archive.extractfile(files[name])
                assert file is not None  # it is a file
                try:
                    clips.append(read_wav(file.read(), rate=RATE))
                except ValueError as error:
                    raise ValueError(f"{folder}/{name}: {error}") from error
                voices.append(voice)
                names.append(name.removesuffix(".wav"))
    return {
        "samples": np.concatenate(clips),
        "length": np.array([len(clip) for clip in clips], np.int32),
        "voice": np.array(voices, np.int32),
        "names": np.frombuffer("\n".join(names).encode(), np.uint8),
    }


ASTERISK_PROMPTS = Fetched(
    meta={
        "name": "asterisk_prompts",
        "task": "classification",
        "classes": 3,
        "description": "prompts of a telephone exchange, one voice in English and Spanish, two in "
        "Italian",
        "source": "Asterisk core sounds 1.6.1, by Allison Smith and Carlo Flora; Italian voices "
        "of 2011 by Marco Menardi and Paola Dal Zot (http://www.voip.ammdomus.it)",
        "licence": "CC BY-SA 3.0",
        "citation": None,
    },
    counts={"train": 1102, "validation": 138, "test": 138},
    sha256="080312fa6880f946304a02bf9b0b5dd74b3fbbe6229e72c68e96baa6e96c9467",
    sources=(debian_archives([package for package, _ in VOICES.values()], read, size=79_079_744),),
)


def asterisk_prompts(
    *,
    target: str = "speaker",
    longest: float = 2.0,
    validation: float = 0.1,
    test: float | str = 0.1,
    seed: int = 0,
) -> Dataset:
    """Short prompts, to tell who speaks or in which language; fetched when first needed.

    Allison reads English and Spanish, Carlo and Menardi Italian: with a voice held out whole, the
    speaker is to be told in a language never heard of her, or the language of a speaker never
    heard. Tones and silence are left out. Some names of clips tell what is said.

    Args:
        target: what `y` is, "speaker" or "language".
        longest: seconds; longer clips are left out.
        validation: fraction of the clips, of each voice in proportion, in [0, 1); 0 makes no such
            split.
        test: likewise; or the voice whose clips are the test, one of "allison-en", "allison-es",
            "carlo-it" and "menardi-it", in which case the validation is of the others.
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` float32 `(N, n)`, 8,000 samples a second from -1 to 1, zero behind each end, and
        `x_length` int32 `(N,)`. `speaker` and `language` int32 `(N,)`, of `meta["speakers"]` and
        `meta["languages"]`, and `y`, one of the two. `clip` int32 `(N,)`: clips of one number have
        one name, `meta["clips"][i]`, and say the same, each in its language. `text` int32
        `(N, t)` and `text_length` `(N,)`: what is said as characters of
        `meta["text_vocabulary"]`, padded with 0; for numbers, ordinals (in English), days, months
        and letters, and of length 0 for all others.

    Raises:
        ValueError: if an option is not as described, or the set cannot be fetched or cached.
    """
    require_choice("target", target, ("speaker", "language"))
    require(require_nonnegative("longest", longest) > 0, "longest above 0", longest)
    if isinstance(test, str):
        require_choice("test", test, tuple(VOICES))
    rng = generator(seed)
    arrays, _ = fetch(ASTERISK_PROMPTS)
    rows, voice, clips = _rows(arrays, longest)
    rows["y"] = rows[target]
    numbers = np.arange(len(voice))
    held_out = np.zeros(len(voice), bool)
    if isinstance(test, str):
        held_out = voice == list(VOICES).index(test)
    parts = split_rows(
        {"x": numbers[~held_out]},
        validation=validation,
        test=0.0 if isinstance(test, str) else test,
        rng=rng,
        labels=voice[~held_out],
    )
    last = {"x": numbers[held_out]} if isinstance(test, str) else parts[2]

    def taken(part: Split | None) -> Split | None:
        return None if part is None else {name: values[part["x"]] for name, values in rows.items()}

    train = taken(parts[0])
    assert train is not None  # split leaves one row at least
    meta: dict[str, Any] = {
        **ASTERISK_PROMPTS.meta,
        "class_names": SPEAKERS if target == "speaker" else LANGUAGES,
        "speakers": SPEAKERS,
        "languages": LANGUAGES,
        "clips": clips,
        "text_vocabulary": TEXT_VOCABULARY,
    }
    return Dataset(train, taken(parts[1]), taken(last), meta)


def _rows(arrays: Arrays, longest: float) -> tuple[Split, np.ndarray, tuple[str, ...]]:
    """The clips of speech that are short enough, the voice of each, and their names."""
    names = np.array(arrays["names"].tobytes().decode().split("\n"))
    ends = np.cumsum(arrays["length"])
    chosen = np.flatnonzero(arrays["length"] <= longest * RATE)
    chosen = chosen[~np.isin(names[chosen], NO_SPEECH)]
    require(len(chosen) > 0, "clips as short as longest", f"{longest} s")
    starts = ends - arrays["length"]
    x, x_length = padded([arrays["samples"][starts[i] : ends[i]] for i in chosen])
    voice = arrays["voice"][chosen]
    clips, clip = np.unique(names[chosen], return_inverse=True)
    who, what = zip(*(name.split("-") for name in VOICES), strict=True)
    language = np.array([LANGUAGES.index(one) for one in what], np.int32)[voice]
    texts = [
        SAID[LANGUAGES[own]].get(name, "")
        for own, name in zip(language, names[chosen], strict=True)
    ]
    text, text_length = coded(texts, TEXT_VOCABULARY)
    most = max(len(text) for said in SAID.values() for text in said.values())
    return (
        {
            "x": x,
            "x_length": x_length,
            "speaker": np.array([SPEAKERS.index(one) for one in who], np.int32)[voice],
            "language": language,
            "clip": clip.astype(np.int32),
            "text": np.pad(text, ((0, 0), (0, most - text.shape[1]))),
            "text_length": text_length,
        },
        voice,
        tuple(clips.tolist()),
    )
