"""Stored results of tiny runs: a change that moves code must not change a number."""
