"""Networks and losses of the trained recommenders."""
