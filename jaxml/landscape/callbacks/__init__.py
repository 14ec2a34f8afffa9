"""The landscape seen, and used, while a training runs."""
