"""What a config takes on a TPU that is not there, by ahead-of-time compilation."""
