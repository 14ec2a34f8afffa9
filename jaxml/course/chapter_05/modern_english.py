"""The English of 1611 into that of today, by a Transformer that may copy."""

from __future__ import annotations

import functools
from typing import Any

from jaxml import nn, sequence
from jaxml.core.finding import Finding
from jaxml.course.chapter_05 import common, verses
from jaxml.course.chapter_05.verses import BEAM, BOOKS, RANDOM
from jaxml.course.experiment import Effort
from jaxml.sequence import metrics, tokens

EPOCHS = 2
RATE = 2.5e-3
STRENGTH = 1.0
"""Of the penalty on attention far from the diagonal."""

AS_IT_IS = "left as it is"


def modern_english(effort: Effort = "quick") -> Finding:
    """The World English Bible from the King James Version: BLEU, and who looks at whom."""
    quick = effort == "quick"
    epochs = 2 if quick else EPOCHS
    parts = verses.load("kjv-web", quick)
    train, validation, held_out, names = parts
    tokenizer = tokens.bpe([*train.sources, *train.targets], 400 if quick else 2000)
    network = sequence.pointer_generator(
        nn.transformer(
            tokenizer.size,
            tokenizer.size + 1,
            width=16 if quick else 128,
            layers=1 if quick else 2,
            hidden=32 if quick else 256,
        ),
        tokenizer.size,
        extra=0,
        unknown=tokens.UNKNOWN,
    )

    def score(params: Any) -> float:
        return verses.bleu(verses.written(network, params, tokenizer, validation), validation)

    params, seen = common.trained(
        network, verses.to_train(tokenizer, train), score, begin=tokens.BEGIN,
        edges=1 if quick else 3, tokens=768, epochs=epochs,
        rate=1e-2 if quick else RATE, warm_up=0.1, looks=1 if quick else 4,
        technique=functools.partial(sequence.guided_attention, strength=STRENGTH),
    )  # fmt: skip
    written, bleu = verses.translated(
        network, params, tokenizer, held_out, {AS_IT_IS: lambda own: own.sources}
    )
    aligned = verses.alignment(
        network, params, tokenizer, parts, "Which word of 1611 each word of today looks at"
    )
    missed = aligned.missed
    gains = {place: own[BEAM] - own[AS_IT_IS] for place, own in bleu.items()}
    wanted, share = (-100.0, 3.0) if quick else (5.0, 0.5)
    return Finding(
        name="modern-english",
        question="Does a network that may copy change what has changed, and leave the rest?",
        verdict=f"On {len(held_out[RANDOM].sources):,} random verses its English of today has a "
        f"BLEU of {bleu[RANDOM][BEAM]:.1f}, that of 1611 {bleu[RANDOM][AS_IT_IS]:.1f}; on books "
        f"it never saw {bleu[BOOKS][BEAM]:.1f} and {bleu[BOOKS][AS_IT_IS]:.1f}. Where it writes a "
        f"word it looks at another one than that of 1611 in {missed['attention']:.0%} of "
        f"{aligned.links:,} cases; so does the diagonal in {missed['diagonal']:.0%}.",
        text=[
            f"{len(train.sources):,} verses of the King James Version to train, {epochs} epochs, "
            f"one seed, one vocabulary of {tokenizer.size:,} pairs of bytes. For each token the "
            "network says how much of its probability is copied: that goes where the last layer of "
            "its decoder looks. Attention far from the diagonal is penalised in training. No verse "
            f"of {', '.join(names)} is trained on; the random verses are of the other books. "
            f"BLEU by sacrebleu, {metrics.text_bleu(['a'], [['a']]).signature}.",
        ],
        sections=[
            verses.scores(seen, bleu),
            aligned.section,
            verses.examples(held_out[RANDOM], written[RANDOM][BEAM], "King James Version"),
        ],
        numbers={
            "bleu": bleu,
            "gain": gains,
            "missed": missed,
            "missed_by_layer_on_validation": aligned.by_layer,
            "links": aligned.links,
            "validation": {f"{epoch:.2f}": value for epoch, value in seen.items()},
            "verses": {name: len(own.sources) for name, own in held_out.items()},
        },
        expected=f"a BLEU at least {wanted:g} above that of the text left as it is, on random "
        f"verses and on books held out, and at most {share:g} times as many links missed as by "
        "the diagonal",
        holds=bool(
            min(gains.values()) >= wanted and missed["attention"] <= share * missed["diagonal"]
        ),
    )
