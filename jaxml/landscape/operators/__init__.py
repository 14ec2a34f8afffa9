"""Curvature matrices of a loss: as operators, and as matrices."""
