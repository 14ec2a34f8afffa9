"""Corpora as lists: hypotheses, and for each the references that it may equal."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from jaxml.core.checks import require

Tokens = Sequence[Hashable]
"""Words, letters, phonemes or numbers; no string, which would be its letters."""


def check_corpus(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    """Refuse what is no corpus.

    Args:
        hypotheses: one sequence of tokens each; it may be empty.
        references: for each hypothesis one or more such sequences, not empty.

    Raises:
        ValueError: for anything else.
    """
    require(len(hypotheses) > 0, "at least one hypothesis", "none")
    count = len(references)
    require(count == len(hypotheses), f"references of {len(hypotheses)} hypotheses", count)
    for i, (hypothesis, own) in enumerate(zip(hypotheses, references, strict=True)):
        at = f"at {i}"
        require(_is_tokens(hypothesis), f"a list of tokens {at}", repr(hypothesis))
        several = _is_tokens(own) and len(own) > 0
        require(several, f"a list of one or more references {at}", repr(own))
        for reference in own:
            filled = _is_tokens(reference) and len(reference) > 0
            require(filled, f"a list of tokens as reference {at}, not empty", repr(reference))


def _is_tokens(given: object) -> bool:
    return isinstance(given, Sequence | np.ndarray) and not isinstance(given, str | bytes)
