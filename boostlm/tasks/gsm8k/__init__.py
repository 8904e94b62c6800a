"""GSM8K: the row source, the prompts and references."""
