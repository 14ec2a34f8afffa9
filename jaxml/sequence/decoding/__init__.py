"""Sequences from a network, token by token."""
