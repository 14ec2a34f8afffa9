"""How far a sequence of tokens is from the right one."""
