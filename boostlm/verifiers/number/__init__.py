"""Reads the number that a worked solution ends with."""
