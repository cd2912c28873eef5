"""Compares pretrained audio representations in music recommenders, with confidence intervals."""

__version__ = "0.1.0"
