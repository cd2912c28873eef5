"""Embeddings that are made from other embeddings."""
