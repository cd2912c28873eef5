"""Comparison tables, plots, the HTML report and the listening page."""
