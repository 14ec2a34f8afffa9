"""Sequences from sequences: training, decoding and measuring what was decoded."""

from jaxml.sequence import decoding, metrics
from jaxml.sequence.self_critical import reinforce

__all__ = ["decoding", "metrics", "reinforce"]
