"""Many configurations in one compiled program."""
