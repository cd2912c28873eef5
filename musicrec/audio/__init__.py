"""Decoding, resampling and spectrograms."""
