"""Splits of plays into training and held-out pairs, one module per kind; `registry.SPLITS` lists them."""
