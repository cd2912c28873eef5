"""Splits and vectors in the formats of other frameworks, and scripts that bring their lists back."""
