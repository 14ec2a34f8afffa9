"""How many links between the words of two sentences are not the right ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxml.core.checks import require

Link = tuple[int, int]
"""Of a word of one sentence to a word of the other, by their numbers."""


def alignment_error_rate(
    links: Sequence[Collection[Link]],
    sure: Sequence[Collection[Link]],
    possible: Sequence[Collection[Link]] | None = None,
) -> float:
    """1 − (|A∩S| + |A∩P|) / (|A| + |S|), over all sentences together.

    Args:
        links: A, those that were found, a collection for each sentence.
        sure: S, those that are right.
        possible: P, those that may be, besides the sure ones; none by default.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: for other numbers of sentences than there are in `links`, or no link at all.

    Reference:
        Och and Ney (2003), Computational Linguistics 29:19-51, equation 23.

    Example:
        >>> alignment_error_rate([{(0, 0), (1, 2)}], [{(0, 0)}], [{(1, 1)}])
        0.33333333333333337
    """
    possible = [()] * len(sure) if possible is None else possible
    for name, given in (("sure", sure), ("possible", possible)):
        require(len(given) == len(links), f"{name} links of {len(links)} sentences", len(given))
    right = total = 0
    for own, known, others in zip(links, sure, possible, strict=True):
        found, must, may = {*own}, {*known}, {*known, *others}
        right += len(found & must) + len(found & may)
        total += len(found) + len(must)
    require(total > 0, "a link that was found or is sure", "none")
    return 1 - right / total
