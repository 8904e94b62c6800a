"""Labelers: outside sources of responses."""
