"""Chapter 5, Transformer: how sequences are written, learned and measured."""
