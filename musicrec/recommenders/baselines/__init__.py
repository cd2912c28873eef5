"""Recommenders that use no audio: the bar that audio has to pass."""
