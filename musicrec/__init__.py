"""musicrec tells which pretrained audio representation makes the best music recommender, and how sure we are."""

__version__ = "0.1.0"
