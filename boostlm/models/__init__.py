"""Pretrained models: their configs, and conversion from and to other formats."""
