"""Memory, time and cost of a config on an absent TPU, by ahead-of-time compilation."""
