"""Listening log to plays to splits, the datasets made of them, and the demo world."""
