"""Metrics on ranked ids, confidence intervals and comparison tables."""
