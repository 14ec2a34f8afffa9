"""The shape of a loss along directions, planes and paths."""
