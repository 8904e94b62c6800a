"""Pure device code: no files, no clocks, no text. Public names are in `boostlm`."""
