"""Verses of the Bible from Spanish into English, by a Transformer."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jaxml import nn
from jaxml.core.finding import Finding
from jaxml.course.chapter_05 import common, verses
from jaxml.course.chapter_05.verses import BEAM, RANDOM
from jaxml.course.experiment import Effort
from jaxml.sequence import metrics, tokens

EPOCHS = 4
RATE = 2.5e-3
LOOK_UP = "nearest verse's"


def translation(effort: Effort = "quick") -> Finding:
    """The World English Bible from the Reina-Valera: BLEU, and who looks at whom."""
    quick = effort == "quick"
    epochs = 2 if quick else EPOCHS
    parts = verses.load("es-en", quick)
    train, validation, held_out, names = parts
    tokenizer = tokens.bpe([*train.sources, *train.targets], 400 if quick else 4000)
    network = nn.transformer(
        tokenizer.size,
        tokenizer.size,
        width=16 if quick else 128,
        layers=1 if quick else 3,
        hidden=32 if quick else 256,
    )

    def score(params: Any) -> float:
        return verses.bleu(verses.written(network, params, tokenizer, validation), validation)

    params, seen = common.trained(
        network, verses.to_train(tokenizer, train), score, begin=tokens.BEGIN,
        edges=1 if quick else 3, tokens=768, epochs=epochs,
        rate=1e-2 if quick else RATE, warm_up=0.1, looks=1 if quick else 5,
    )  # fmt: skip
    written, bleu = verses.translated(
        network, params, tokenizer, held_out,
        {LOOK_UP: functools.partial(_nearest, train), "the Spanish": lambda own: own.sources},
    )  # fmt: skip
    aligned = verses.alignment(
        network, params, tokenizer, parts, "Which Spanish each English word looks at"
    )
    random, missed = held_out[RANDOM], aligned.missed
    ours, look_up = (bleu[RANDOM][way] for way in (BEAM, LOOK_UP))
    wanted, share = (0.0, 3.0) if quick else (22.0, 0.5)
    return Finding(
        name="machine-translation",
        question="What does a Transformer make of verses of the Bible that it never saw?",
        verdict=f"On {len(random.sources):,} random verses its English has a BLEU of {ours:.1f}, "
        f"the English of the most similar verse it trained on {look_up:.1f}. Where it writes a "
        f"word it looks at another one than the Spanish word for it in {missed['attention']:.0%} "
        f"of {aligned.links:,} cases; so does the diagonal in {missed['diagonal']:.0%}.",
        text=[
            f"{len(train.sources):,} verses to train, {epochs} epochs, one seed, one vocabulary of "
            f"{tokenizer.size:,} pairs of bytes for both languages. No verse of {', '.join(names)} "
            "is trained on; the random verses are of the other books. The Bible repeats itself: "
            "the nearest verse, by the words of the Spanish (tf-idf), is what a look-up gives. "
            f"BLEU by sacrebleu, {metrics.text_bleu(['a'], [['a']]).signature}.",
        ],
        sections=[
            verses.scores(seen, bleu),
            aligned.section,
            verses.examples(random, written[RANDOM][BEAM], "Spanish"),
        ],
        numbers={
            "bleu": bleu,
            "missed": missed,
            "missed_by_layer_on_validation": aligned.by_layer,
            "links": aligned.links,
            "validation": {f"{epoch:.2f}": value for epoch, value in seen.items()},
            "verses": {name: len(own.sources) for name, own in held_out.items()},
        },
        expected=f"on random verses a BLEU of at least {wanted:.0f} and above the look-up's, and "
        f"at most {share:g} times as many links missed as by the diagonal",
        holds=bool(
            ours >= wanted
            and (quick or ours > look_up)
            and missed["attention"] <= share * missed["diagonal"]
        ),
    )


def _nearest(train: verses.Verses, asked_for: verses.Verses) -> list[str]:
    """The translation of the verse to train on whose Spanish has the most words in common."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - slow to import

    words = TfidfVectorizer()
    known, asked = words.fit_transform(train.sources), words.transform(asked_for.sources)
    nearest = np.asarray((asked @ known.T).argmax(1)).ravel()
    return [train.targets[i] for i in nearest]
