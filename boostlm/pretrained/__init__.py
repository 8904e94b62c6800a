"""Weights and tokenizers of pretrained models: reading, converting, writing."""
