"""Verifiers: whether a response gives the answer that its reference states."""
