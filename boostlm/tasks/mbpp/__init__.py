"""MBPP: the problem source, the prompts and references, and the verifier."""
