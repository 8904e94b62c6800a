"""Statistics of a run, on the host: numpy in, numbers out, nothing read or written."""
