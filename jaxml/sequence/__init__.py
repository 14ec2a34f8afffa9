"""Sequences from sequences: training, decoding and measuring what was decoded."""
