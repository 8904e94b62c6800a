"""The host side of a run: stages, checkpoints, ledger, progress."""
