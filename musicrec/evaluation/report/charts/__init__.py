"""Plots inside the report: positions computed here, drawn by templates in the page's own colours."""
