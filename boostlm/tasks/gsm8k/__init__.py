"""GSM8K: where its rows come from, its prompts and references, its verifier."""
