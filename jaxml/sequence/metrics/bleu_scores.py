"""BLEU: n-grams in common with a reference, for sequences that are not too short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.sequence.arrays import require_lengths, require_tokens
from jaxml.sequence.metrics.corpora import Tokens, check_corpus

ORDER = 4
"""The longest n-grams that are counted."""


class TextBleu(NamedTuple):
    """What `text_bleu` returns.

    Attributes:
        score: from 0 to 100.
        signature: what another must do to compare: references, case, tokenisation, smoothing and
            the version of sacrebleu.
    """

    score: float
    signature: str


def bleu(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """The BLEU of a corpus of tokens.

    Args:
        hypotheses: lists of tokens; they may be empty.
        references: for each hypothesis the list of its references.

    Returns:
        From 0 to 100: the geometric mean of the precisions of 1- to 4-grams, summed over the
        corpus and smoothed as in sacrebleu (each next one without a match counts half a match, a
        quarter, …), times the brevity penalty by the reference lengths that are nearest. 0 if
        nothing matches or no hypothesis has four tokens.

    Raises:
        ValueError: as `error_rate`.

    Reference:
        Papineni et al. (2002), ACL; smoothing 3 of Chen and Cherry (2014), WMT; as sacrebleu
        (Post 2018, arXiv:1804.08771) with `tokenize="none"`.

    Example:
        >>> the = "the cat sat on the mat".split()
        >>> round(bleu(["the cat sat on a mat".split()], [[the]]), 2)
        53.73
    """
    check_corpus(hypotheses, references)
    matches, totals = np.zeros(ORDER), np.zeros(ORDER)
    length = reference_length = 0
    for hypothesis, own in zip(hypotheses, references, strict=True):
        length += len(hypothesis)
        reference_length += min((abs(len(r) - len(hypothesis)), len(r)) for r in own)[1]
        for n in range(1, ORDER + 1):
            counts = _ngrams(hypothesis, n)
            most = Counter()
            for reference in own:
                most |= _ngrams(reference, n)
            matches[n - 1] += (counts & most).total()
            totals[n - 1] += counts.total()
    if totals[-1] == 0:
        return 0.0
    return float(_score(np, matches, totals, length, reference_length))


def sentence_bleu(
    hypotheses: Any,
    lengths: Any,
    references: Any,
    reference_lengths: Any,
) -> Float[Array, " rows"]:
    """The BLEU of each row by itself, compiled: a reward to learn from.

    Args:
        hypotheses: tokens, padded.
        lengths: how many tokens of each hypothesis count.
        references: tokens, padded.
        reference_lengths: how many tokens of each reference count.

    Returns:
        From 0 to 100, as sacrebleu's `sentence_bleu`: smoothed as `bleu`, over the orders that the
        hypothesis is long enough for. 0 if it is empty or nothing matches.

    Raises:
        ValueError: as `edit_distance`.

    Example:
        >>> sentence_bleu([[5, 6, 7, 8], [5, 6, 9, 8]], [4, 4], [[5, 6, 7, 8]] * 2, [4, 4]).round(2)
        Array([100.  ,  35.36], dtype=float32)
    """
    hypotheses = require_tokens("hypotheses", hypotheses)
    rows, m = hypotheses.shape
    references = require_tokens("references", references, rows=rows)
    lengths = require_lengths("lengths", lengths, rows, m)
    n = references.shape[1]
    reference_lengths = require_lengths("reference_lengths", reference_lengths, rows, n)
    return _sentence_bleu(hypotheses, lengths, references, reference_lengths)


@jax.jit
def _sentence_bleu(hypotheses, lengths, references, reference_lengths):
    def equal(others, other_lengths):
        """Where a token of the hypothesis is one of another sequence's, `(rows, m, n)`."""
        there = [
            jnp.arange(tokens.shape[1]) < size[:, None]
            for tokens, size in ((hypotheses, lengths), (others, other_lengths))
        ]
        same = hypotheses[:, :, None] == others[:, None]
        return same & there[0][:, :, None] & there[1][:, None]

    def occurrences(same):
        """How often the 1-, 2-, …-gram at each position is in the other sequence."""
        grams = same
        for n in range(1, ORDER + 1):
            yield grams.sum(2)
            grams = grams[:, :-1, :-1] & same[:, n:, n:]

    own = occurrences(equal(hypotheses, lengths))
    # each of k equal n-grams of the hypothesis has a k-th of their matches
    matches = [
        (jnp.minimum(k, found) / jnp.maximum(k, 1)).sum(1).round()
        for k, found in zip(own, occurrences(equal(references, reference_lengths)), strict=True)
    ]
    totals = jnp.maximum(lengths[:, None] - jnp.arange(ORDER), 0)
    score = jax.vmap(lambda *counts: _score(jnp, *counts))
    return score(jnp.stack(matches, 1), totals, lengths, reference_lengths)


def text_bleu(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> TextBleu:
    """The BLEU of a corpus of texts, by sacrebleu, to be compared with published ones.

    Args:
        hypotheses: texts as a person would write them, one a line.
        references: for each hypothesis the list of its references, of equal counts.
        tokenize: sacrebleu's name of how words are told apart.
        lowercase: whether case does not count.

    Raises:
        ValueError: if the package sacrebleu is not installed (`jaxml[translation]`), a hypothesis
            has no references, or the counts of references differ.

    Reference:
        Post (2018), arXiv:1804.08771.

    Example:
        >>> found = text_bleu(["The cat sat."], [["The cat sat."]])
        >>> round(found.score, 2), found.signature.split("|version")[0]
        (100.0, 'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp')
    """
    try:
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - of an extra
    except ImportError:
        expected = "expected the package sacrebleu (pip install 'jaxml[translation]')"
        raise ValueError(f"{expected}, got none") from None
    require(len(hypotheses) > 0, "at least one hypothesis", "none")
    count = len(references)
    require(count == len(hypotheses), f"references of {len(hypotheses)} hypotheses", count)
    for i, own in enumerate(references):
        several = not isinstance(own, str) and len(own) > 0
        require(several, f"a list of one or more references at {i}", repr(own))
        filled = all(isinstance(text, str) and text.strip() for text in own)
        require(filled, f"texts as references at {i}, not empty", repr(own))
        require(len(own) == len(references[0]), "equally many references everywhere", len(own))
    require(all(isinstance(text, str) for text in hypotheses), "texts as hypotheses", hypotheses)
    metric = BLEU(tokenize=tokenize, lowercase=lowercase)
    score = metric.corpus_score(
        list(hypotheses), [list(column) for column in zip(*references, strict=True)]
    )
    return TextBleu(float(score.score), str(metric.get_signature()))


def _ngrams(tokens: Tokens, n: int) -> Counter:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _score(xp: Any, matches: Any, totals: Any, length: Any, reference_length: Any) -> Any:
    """From 0 to 100, by counts of each order; over the orders of which there are n-grams."""
    there, missed = totals > 0, (totals > 0) & (matches == 0)
    found = xp.where(missed, 0.5 ** xp.cumsum(missed), matches)
    logs = xp.where(there, xp.log(xp.where(there, found / xp.maximum(totals, 1), 1)), 0)
    mean = logs.sum() / xp.maximum(there.sum(), 1)
    brevity = xp.minimum(0, 1 - reference_length / xp.maximum(length, 1))
    return xp.where(matches.sum() > 0, 100 * xp.exp(mean + brevity), 0)
