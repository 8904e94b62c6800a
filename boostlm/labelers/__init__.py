"""Outside sources of responses."""
