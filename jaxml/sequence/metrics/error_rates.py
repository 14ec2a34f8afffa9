"""Shares of errors in sequences: word, character and phoneme error rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxml.sequence.metrics.corpora import Tokens, check_corpus
from jaxml.sequence.metrics.edit_distances import edit_distance


def error_rate(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """Edits to the nearest reference, over the tokens of these references.

    Of words it is the word error rate of speech recognition, of letters the character error rate,
    of phonemes the phoneme error rate.

    Args:
        hypotheses: lists of tokens, such as `line.split()`; they may be empty.
        references: for each hypothesis the list of those that are right. The error is that against
            the nearest, of equally near ones the longest.

    Returns:
        From 0, above 1 where there are more edits than tokens.

    Raises:
        ValueError: for a hypothesis without references, an empty reference, or strings in the place
            of lists.

    Example:
        >>> error_rate(["a cat sat".split()], [["the cat sat".split(), "a dog sat on".split()]])
        0.3333333333333333
    """
    check_corpus(hypotheses, references)
    pairs = [
        (i, hypothesis, reference)
        for i, (hypothesis, own) in enumerate(zip(hypotheses, references, strict=True))
        for reference in own
    ]
    of, first, second = zip(*pairs, strict=True)
    numbers: dict = {}
    tokens, lengths = _padded(first, numbers)
    others, other_lengths = _padded(second, numbers)
    edits = np.asarray(edit_distance(tokens, lengths, others, other_lengths))[: len(pairs)]
    other_lengths = other_lengths[: len(pairs)]
    order = np.lexsort((-other_lengths, edits, of))
    _, starts = np.unique(np.asarray(of)[order], return_index=True)
    nearest = order[starts]
    return float(edits[nearest].sum() / other_lengths[nearest].sum())


def sequence_error_rate(
    hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> float:
    """The share of hypotheses that equal none of their references.

    Of spoken sentences it is the sentence error rate; of the phonemes of words what is called the
    word error rate of pronouncing.

    Args:
        hypotheses: as in `error_rate`.
        references: likewise.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: as `error_rate`.

    Example:
        >>> sequence_error_rate([["T", "UW"], ["AH"]], [[["T", "AH"], ["T", "UW"]], [["EY"]]])
        0.5
    """
    check_corpus(hypotheses, references)
    right = [
        list(hypothesis) in [list(reference) for reference in own]
        for hypothesis, own in zip(hypotheses, references, strict=True)
    ]
    return 1 - sum(right) / len(right)


def _padded(sequences: Sequence[Tokens], numbers: dict) -> tuple[np.ndarray, np.ndarray]:
    """Numbers for tokens, `(rows, m)`, and lengths; both sizes are powers of two.

    So few shapes are compiled. Rows that are added are of length 0.

    Args:
        sequences: of tokens.
        numbers: token -> number, to which new ones are added.
    """
    above = lambda size: 1 << max(size - 1, 0).bit_length()  # noqa: E731
    rows = above(len(sequences))
    lengths = np.zeros(rows, np.int32)
    lengths[: len(sequences)] = [len(sequence) for sequence in sequences]
    padded = np.zeros((rows, above(int(lengths.max()))), np.int32)
    for row, sequence in zip(padded, sequences, strict=False):
        row[: len(sequence)] = [numbers.setdefault(token, len(numbers)) for token in sequence]
    return padded, lengths
