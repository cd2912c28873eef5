"""Plots of the report: means, significance, data and training curves."""
