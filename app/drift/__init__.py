"""Drift: which series and segments have become worse, since when and by how much, and what was done about it."""
