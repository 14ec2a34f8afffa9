"""Sequences from sequences: training, decoding and measuring what was decoded."""

from jaxml.sequence import decoding, metrics

__all__ = ["decoding", "metrics"]
