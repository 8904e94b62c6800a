"""A run directory on disk: every file is written completely or not at all."""
