"""Sequences from a network, token by token.

The network is a step, `(params, tokens, cache) -> (logits, cache, attention)`: it is fed one token
a row, `(rows,)`, and scores the next, `(rows, vocabulary)`. The cache is any pytree of arrays whose
first axis is that of the rows, a position among them too; so is what it attends to, or `None`. A
step is compiled once for each shape and recognised by its identity: hand in the same function again
rather than a new one that does the same.
"""

from jaxml.sequence.decoding.beam_search import beam
from jaxml.sequence.decoding.greedy_search import greedy
from jaxml.sequence.decoding.results import Decoded
from jaxml.sequence.decoding.sampling import sample
from jaxml.sequence.decoding.scoring import log_probabilities

__all__ = ["Decoded", "beam", "greedy", "log_probabilities", "sample"]
