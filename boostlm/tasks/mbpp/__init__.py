"""MBPP: where its problems come from, its prompts and references, its verifier."""
