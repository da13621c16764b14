"""Proof that the rules do what they say: synthetic faults, an oracle in Python, and real servers."""
