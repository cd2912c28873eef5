"""The audio networks themselves, without weights."""
