"""Tasks: prompts, references, verifiers and tokenizer texts."""
