"""Linear algebra that knows an operator by its products alone."""
