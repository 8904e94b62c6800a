"""What is trained on: prompts, references, verifiers and the tokenizer."""
