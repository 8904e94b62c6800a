"""Weights and tokenizers of pretrained models, in and out."""
