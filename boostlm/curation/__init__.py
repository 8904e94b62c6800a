"""The method: pure JAX over prompts, for any learner. Knows no language model."""
