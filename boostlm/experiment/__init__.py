"""Seeds, arms and rounds: an experiment from its config to its last row of metrics."""
